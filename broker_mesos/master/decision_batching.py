"""Computes when an owner decides: at once on a quiet cell; with gaps on a busy one, so that what arrives in a gap is
decided, committed and published together."""

from __future__ import annotations

from collections import deque

SAMPLED_DECISIONS = 10
BUSY_WRITES = 3
"""Minimum number of records that a busy cell writes within one gap: a launch or an end writes two or three. With
fewer there is little to batch, and every client waits for the gap."""
BUSY_WRITES_PER_SECOND = 300.0
"""Minimum number of records that a busy cell writes per second."""
BUSY_GAP_SECONDS = 0.005
"""Minimum time between two decisions on a busy cell, in seconds. On a large cell it is half of the time between two
of its rounds of allocation."""


class DecisionBatching:
    """Recent decisions and the records that they have written. All times are those of the caller's monotonic clock,
    in seconds."""

    def __init__(self) -> None:
        self._latest: deque[tuple[float, int]] = deque(
            [(float("-inf"), 0)] * SAMPLED_DECISIONS, maxlen=SAMPLED_DECISIONS
        )
        self._writes = 0

    def pause(self, now: float, round_pause: float) -> float:
        """The time to wait before the next decision, in seconds."""
        gap = max(BUSY_GAP_SECONDS, round_pause / 2)
        busy = self._writes >= max(BUSY_WRITES_PER_SECOND, BUSY_WRITES / gap) * (now - self._latest[0][0])
        return max(0.0, self._latest[-1][0] + gap - now) if busy else 0.0

    def decided(self, began: float, writes: int) -> None:
        """Record a decision that began at this time and writes this number of records."""
        self._writes += writes - self._latest[0][1]
        self._latest.append((began, writes))
