"""Pages of long lists: the order of each list, and cursors that name a position in it.

A cursor contains the sort key of the last entry of a page, so that it stays valid when entries are added or removed.
The entries of every list have unique keys. When a task ends, its position changes: it moves behind those that run, so
that it may be on two pages; it is on no page only if its cell has removed it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from broker_mesos.errors import InvalidInput

SortKey = tuple[Any, ...]
"""The sort key of an entry. Agents: (hostname, agent id). Frameworks: (framework id,). Offers: (cell, offer id). Tasks:
(whether it has ended, -seconds since the epoch when it was created, task id)."""

MAX_CURSOR = 2_048
"""The longest cursor, in characters."""

_KEYS: dict[str, TypeAdapter[SortKey]] = {
    "agents": TypeAdapter(tuple[str, str]),
    "frameworks": TypeAdapter(tuple[str]),
    "offers": TypeAdapter(tuple[int, str]),
    "tasks": TypeAdapter(tuple[bool, float, str]),
}


def encode(part: str, key: SortKey) -> str:
    """The cursor for the page that follows the entry with this key."""
    text = part.encode() + b":" + _KEYS[part].dump_json(key)
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def decode(parts: Sequence[str], cursor: str) -> SortKey | None:
    """The sort key in a cursor for the one requested part; None if there is no cursor. Raises InvalidInput."""
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
