"""How much an owner has to do: how long its decisions take in which free resources are offered."""

from __future__ import annotations

from collections import deque

from broker_mesos.core.api.cells import CellLoad

MAX_SAMPLES = 500
"""Of the latest rounds of allocation, whose times are told."""


class Load:
    """Times are in seconds."""

    def __init__(self, cell: int) -> None:
        self._cell = cell
        self._decisions = 0
        self._rounds = 0
        self._latest: deque[float] = deque(maxlen=MAX_SAMPLES)

    def decided(self, took: float, rounds: int) -> None:
        """A decision, by which so many rounds of allocation have been made under this owner."""
        self._decisions += 1
        if rounds > self._rounds:
            self._rounds = rounds
            self._latest.append(took)

    def report(self, behind: float) -> CellLoad:
        """What there is to tell."""
        times = sorted(self._latest)
        return CellLoad(
            cell=self._cell,
            behind=behind,
            decisions=self._decisions,
            rounds=self._rounds,
            round_p50=times[len(times) // 2] if times else None,
            round_p99=times[int(0.99 * len(times))] if times else None,
        )
