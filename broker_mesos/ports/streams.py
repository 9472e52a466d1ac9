"""The Streams port: bounded logs of what has happened, for operators. Nothing that is decided depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

EVENTS = "events"
"""The stream of events; see ``core/api/events.py``."""


def history_stream(series: str) -> str:
    """The name of the stream with a series of the history, such as ``10s``."""
    return f"history:{series}"


class Entry(NamedTuple):
    """An entry of a stream. Ids have the form ``<milliseconds>-<number>`` and rise."""

    entry_id: str
    body: bytes


class Streams(Protocol):
    """Bounded logs by name. Every method raises StoreUnavailable within its time limit."""

    async def open(self, timeout: float) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...

    async def append(self, stream: str, bodies: Sequence[bytes], limit: int) -> list[str]:
        """Append entries; of all entries about the latest ``limit`` are kept. Returns the ids of the new ones."""
        ...

    async def read(
        self, stream: str, *, after: str = "", before: str = "", limit: int, latest: bool = False
    ) -> list[Entry]:
        """At most ``limit`` entries between two ids, both exclusive, in order: the earliest of them, or the latest.
        An id may have no number; an empty one is no bound."""
        ...
