"""The latest decisions of a cell, each with the cause of it: a ring buffer in the memory of the owner.

It explains afterwards why something happened, as ``story()`` of dask's scheduler does. It is not stored: the records
in the store are the truth, and a new owner begins with an empty log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from broker_mesos.core.cell.causes import QUIET, describe
from broker_mesos.core.cell.inputs import Input

MAX_CAUSES = 10_000
"""The largest number of causes that are kept."""
MAX_EFFECTS = 20_000
"""The largest number of effects that are kept; an id that a cause names counts as one."""
MAX_EFFECT_BYTES = 640
"""Size of the largest effect, in bytes: a tuple of a kind, a task id and another id. It is counted for each of them,
since that costs nothing; most take a third of it."""
MAX_BYTES = (MAX_CAUSES + MAX_EFFECTS) * MAX_EFFECT_BYTES
"""The largest size of all that is kept, in bytes."""

Effect = tuple[str, ...]
"""The kind of an effect, and the ids that it concerns."""


class Entry(NamedTuple):
    """A cause and its effects."""

    number: int
    at: float
    """Seconds since the epoch, by the owner's clock."""
    cause: str
    sender: str
    """The framework or agent that sent the cause; empty if none did."""
    ids: tuple[str, ...]
    """The other ids that the cause names."""
    effects: list[Effect]
    dropped: int
    """Number of effects that are not kept."""

    def concerns(self, ident: str) -> bool:
        """Whether the cause or an effect names an id."""
        return ident == self.sender or ident in self.ids or any(ident in effect for effect in self.effects)

    def about(self, ident: str) -> list[Effect]:
        """The effects that concern an id: all of them if it sent the cause, or if none names it."""
        named = [] if ident == self.sender else [effect for effect in self.effects if ident in effect]
        return named or self.effects


class DecisionLog:
    """The ring buffer. Whatever is recorded belongs to the cause that ``begin`` has named last."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, float, str, str, tuple[str, ...], list[Effect], int]] = deque()
        """The fields of the entries. They are plain tuples, which are made in a fifth of the time: an entry is made
        for each message, and seldom read."""
        self._size = 0
        self._number = 0
        self._at = 0.0
        self._cause: Input | str = ""
        self._effects: list[Effect] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Number of effects and ids of causes that are kept."""
        return self._size

    @property
    def since(self) -> float | None:
        """Time of the earliest entry, in seconds since the epoch; None if there is none."""
        return self._entries[0][1] if self._entries else None

    def set_time(self, at: float) -> None:
        """Set the time of what follows, in seconds since the epoch."""
        self._at = at

    def begin(self, cause: Input | str) -> None:
        """Name the cause of what follows: an input, or a periodic check of the cell. A cause of a ``QUIET`` class is
        kept only if it has effects."""
        if self._effects or type(self._cause) not in QUIET:
            self._keep()
        self._cause = cause

    def record(self, *effect: str) -> None:
        """Record an effect: its kind, then the ids that it concerns."""
        self._effects.append(effect)

    def close(self) -> None:
        """Keep the cause that was named last, with its effects. What follows has no cause until the next one."""
        self.begin("")

    def _keep(self) -> None:
        effects, (cause, sender, ids) = self._effects, describe(self._cause)
        dropped = 0
        if len(effects) > MAX_EFFECTS // 2:
            dropped = len(effects) - MAX_EFFECTS // 2
            effects = effects[dropped:]
        if len(ids) > MAX_EFFECTS // 2:
            ids = ids[: MAX_EFFECTS // 2]
        self._number += 1
        self._entries.append((self._number, self._at, cause, sender, ids, effects, dropped))
        self._size += len(effects) + len(ids)
        self._effects = []
        while self._size > MAX_EFFECTS or len(self._entries) > MAX_CAUSES:
            *_, ids, effects, _ = self._entries.popleft()
            self._size -= len(effects) + len(ids)

    def story(self, ident: str) -> Iterator[Entry]:
        """The entries that concern an id, the latest first."""
        return (entry for entry in map(Entry._make, reversed(self._entries)) if entry.concerns(ident))
