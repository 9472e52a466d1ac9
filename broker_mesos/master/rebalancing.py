"""Pure computation of which cell a master gives away, so that all masters own about the same number."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from broker_mesos.core.protocol.records import Lease

STEP_DOWN_AFTER = 2
"""Number of consecutive checks, a second apart, that must find the imbalance: a hand-over that is under way is none."""
PAUSE_SECONDS = 6.0
"""Pause after a step-down that had no effect, in seconds: until a master that has lost its broker no longer counts."""
MAX_PAUSE_SECONDS = 300.0
"""Maximum time for which a cell that has come back repeatedly is not given away, in seconds."""


class Rebalancing:
    """The state that one master keeps between two checks of the leases.

    If a cell comes straight back, no other master took it: the master that seemed to own too few cannot own any (it
    is paused, or its connection to the broker leads nowhere). Each such step-down interrupts the cell for nothing, so
    the time until the next one for the same cell grows.
    """

    def __init__(self) -> None:
        self._overloaded = 0
        self._given: set[int] = set()
        self._pauses: dict[int, tuple[float, float]] = {}
        """By cell: the length of its last pause, and the end of that pause, in seconds."""
        self._not_before = float("-inf")

    def choose(
        self, me: str, masters: Collection[str], leases: Sequence[Lease], mine: Sequence[int], now: float
    ) -> int | None:
        """The cell to step down from now; None if there is none. ``masters`` are the living masters, ``mine`` the
        cells that this master owns, and ``now`` is monotonic seconds. Must be called once a second."""
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
        free = [cell for cell in mine if now >= self._pauses.get(cell, (0.0, now))[1]]
        if not free:
            return None
        self._overloaded = 0
        self._given.add(free[-1])
        return free[-1]

    def _learn(self, me: str, leases: Sequence[Lease], mine: Sequence[int], now: float) -> None:
        for lease in leases:
            if lease.owner not in ("", me):
                self._given.discard(lease.cell)
                self._pauses.pop(lease.cell, None)
        for cell in self._given.intersection(mine):
            self._given.discard(cell)
            pause = min(2 * self._pauses.get(cell, (PAUSE_SECONDS / 2, 0.0))[0], MAX_PAUSE_SECONDS)
            self._pauses[cell] = (pause, now + pause)
            self._not_before = now + PAUSE_SECONDS
