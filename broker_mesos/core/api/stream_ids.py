"""The ids of entries in the streams of a cluster: ``<milliseconds>-<number>``, as Redis makes them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints

PATTERN = r"^([0-9]{1,15}(-[0-9]{1,15})?)?$"
"""The form of an id in a request; empty for none."""
StreamId = Annotated[str, StringConstraints(pattern=PATTERN)]

_ID = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")


def id_key(entry_id: str) -> tuple[int, int]:
    """The numbers of an id, by which ids are ordered. Raises ValueError for a text that is none."""
    found = _ID.fullmatch(entry_id)
    if found is None:
        raise ValueError(f"{entry_id[:60]!r} is no id of a stream")
    return int(found[1]), int(found[2] or 0)
