"""Which cell a master gives away, so that all of them own about the same number. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from broker_mesos.core.protocol.records import Lease

STEP_DOWN_AFTER = 2
"""Looks, a second apart, that must find the same imbalance: a hand-over in progress is none."""
PAUSE_SECONDS = 6.0
"""Seconds without a step-down after one in vain: as long as a master counts whose broker has lost it."""
MAX_PAUSE_SECONDS = 300.0
"""A cell that has come back again and again is not given away for so long."""


class Rebalancing:
    """The memory of one master between two looks at the leases.

    A cell that comes straight back was given to nobody: the master that seemed to own too few cannot take
    any (it is paused, or its connection to the broker leads nowhere). Each such step-down is a gap for
    nothing, so that the same cell is held for longer and longer.
    """

    def __init__(self) -> None:
        self._overloaded = 0
        self._given: set[int] = set()
        self._held: dict[int, tuple[float, float]] = {}
        """By cell: how long it was held last, and until when it is."""
        self._not_before = float("-inf")

    def choose(
        self, me: str, masters: Collection[str], leases: Sequence[Lease], mine: Sequence[int], now: float
    ) -> int | None:
        """The cell to step down from now, if any. ``masters`` live; ``mine`` are the cells that this one
        owns, ``now`` monotonic seconds. To be called each second."""
        owned = dict.fromkeys((*masters, me), 0)
        for lease in leases:
            if lease.owner in owned:
                owned[lease.owner] += 1
        self._learn(me, leases, mine, now)
        unowned = sum(1 for lease in leases if lease.owner not in owned)
        if unowned or now < self._not_before or len(mine) < min(owned.values()) + 2:
            self._overloaded = 0
            return None
        self._overloaded += 1
        if self._overloaded < STEP_DOWN_AFTER:
            return None
        free = [cell for cell in mine if now >= self._held.get(cell, (0.0, now))[1]]
        if not free:
            return None
        self._overloaded = 0
        self._given.add(free[-1])
        return free[-1]

    def _learn(self, me: str, leases: Sequence[Lease], mine: Sequence[int], now: float) -> None:
        for lease in leases:
            if lease.owner not in ("", me):
                self._given.discard(lease.cell)
                self._held.pop(lease.cell, None)
        for cell in self._given.intersection(mine):
            self._given.discard(cell)
            pause = min(2 * self._held.get(cell, (PAUSE_SECONDS / 2, 0.0))[0], MAX_PAUSE_SECONDS)
            self._held[cell] = (pause, now + pause)
            self._not_before = now + PAUSE_SECONDS
