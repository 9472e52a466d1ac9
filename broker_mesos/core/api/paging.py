"""Pages of long lists: the order of each list, and cursors that name a place in it.

A cursor holds the sort key of the last entry of a page, so that it stays right when entries come and go. The
entries of every list have unique keys. Of tasks, the order changes when one of them ends: it moves behind
those that run, and so may be on two pages, but is on none only if its cell has forgotten it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from broker_mesos.errors import InvalidInput

SortKey = tuple[Any, ...]
"""Agents: (hostname, agent id). Frameworks: (framework id,). Offers: (cell, offer id). Tasks: (whether it has
ended, -seconds since the epoch when it was created, task id)."""

MAX_CURSOR = 2_048
"""Characters."""

_KEYS: dict[str, TypeAdapter[SortKey]] = {
    "agents": TypeAdapter(tuple[str, str]),
    "frameworks": TypeAdapter(tuple[str]),
    "offers": TypeAdapter(tuple[int, str]),
    "tasks": TypeAdapter(tuple[bool, float, str]),
}


def encode(part: str, key: SortKey) -> str:
    """The cursor behind an entry of a list."""
    text = part.encode() + b":" + _KEYS[part].dump_json(key)
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def decode(parts: Sequence[str], cursor: str) -> SortKey | None:
    """The key in a cursor for the one part that is asked for; None if there is no cursor. Raises InvalidInput."""
    if not cursor:
        return None
    if len(parts) != 1 or parts[0] not in _KEYS:
        raise InvalidInput(f"after goes with one of {', '.join(_KEYS)} at a time")
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        part, _, key = text.partition(b":")
        if part.decode() == parts[0]:
            return _KEYS[parts[0]].validate_json(key)
    except (binascii.Error, UnicodeError, ValidationError, ValueError):
        pass
    raise InvalidInput(f"after is not a cursor of a list of {parts[0]}: give the one of the page before, or none")
