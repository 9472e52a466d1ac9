"""Measures the load of an owner: the duration of decisions that contain a round of allocation."""

from __future__ import annotations

from collections import deque

from broker_mesos.core.api.cells import CellLoad

MAX_SAMPLES = 500
"""Number of the latest rounds of allocation whose durations are reported."""


class Load:
    """The load of one owner. All times are in seconds."""

    def __init__(self, cell: int) -> None:
        self._cell = cell
        self._decisions = 0
        self._rounds = 0
        self._latest: deque[float] = deque(maxlen=MAX_SAMPLES)

    def decided(self, took: float, rounds: int) -> None:
        """Record a decision that took this time; ``rounds`` is the number of rounds of allocation under this owner so
        far."""
        self._decisions += 1
        if rounds > self._rounds:
            self._rounds = rounds
            self._latest.append(took)

    def report(self, behind: float) -> CellLoad:
        """The load, for operators."""
        times = sorted(self._latest)
        return CellLoad(
            cell=self._cell,
            behind=behind,
            decisions=self._decisions,
            rounds=self._rounds,
            round_p50=times[len(times) // 2] if times else None,
            round_p99=times[int(0.99 * len(times))] if times else None,
        )
