"""When an owner decides: at once on a quiet cell; on a busy one with gaps, so that what comes meanwhile is
decided, committed and published together."""

from __future__ import annotations

from collections import deque

DECISIONS = 10
WITHIN = 0.1
"""Seconds that the latest ``DECISIONS`` take at most on a busy cell."""
WRITES = 60
"""Records that they write at least: a launch or an end writes two or three. With fewer there is next to
nothing that a gap could gather, and somebody waits for each."""
GAP = 0.005
"""Seconds between two decisions on a busy cell."""


class Pace:
    """Times are the caller's, monotonic, in seconds."""

    def __init__(self) -> None:
        self._latest: deque[tuple[float, int]] = deque([(float("-inf"), 0)] * DECISIONS, maxlen=DECISIONS)
        self._writes = 0

    def pause(self, now: float) -> float:
        """Seconds to wait before the next decision."""
        busy = self._writes >= WRITES and now - self._latest[0][0] < WITHIN
        return max(0.0, self._latest[-1][0] + GAP - now) if busy else 0.0

    def decided(self, began: float, writes: int) -> None:
        """A decision that began then writes so many records."""
        self._writes += writes - self._latest[0][1]
        self._latest.append((began, writes))
