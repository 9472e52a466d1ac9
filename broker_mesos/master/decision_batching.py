"""When an owner decides: at once on a quiet cell; on a busy one with gaps, so that what comes meanwhile is
decided, committed and published together."""

from __future__ import annotations

from collections import deque

SAMPLED_DECISIONS = 10
BUSY_WRITES = 3
"""Records that a gap gathers at least on a busy cell: a launch or an end writes two or three. With fewer
there is next to nothing to gather, and somebody waits for each."""
BUSY_WRITES_PER_SECOND = 300.0
"""Records a second that a busy cell writes at least."""
BUSY_GAP_SECONDS = 0.005
"""Seconds between two decisions on a busy cell, at least: on a large one, half the time between its rounds of
allocation."""


class DecisionBatching:
    """Times are the caller's, monotonic, in seconds."""

    def __init__(self) -> None:
        self._latest: deque[tuple[float, int]] = deque(
            [(float("-inf"), 0)] * SAMPLED_DECISIONS, maxlen=SAMPLED_DECISIONS
        )
        self._writes = 0

    def pause(self, now: float, round_pause: float) -> float:
        """Seconds to wait before the next decision."""
        gap = max(BUSY_GAP_SECONDS, round_pause / 2)
        busy = self._writes >= max(BUSY_WRITES_PER_SECOND, BUSY_WRITES / gap) * (now - self._latest[0][0])
        return max(0.0, self._latest[-1][0] + gap - now) if busy else 0.0

    def decided(self, began: float, writes: int) -> None:
        """A decision that began then writes so many records."""
        self._writes += writes - self._latest[0][1]
        self._latest.append((began, writes))
