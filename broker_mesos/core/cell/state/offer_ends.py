"""How many offers to a framework have ended unused lately, and why, for operators."""

from __future__ import annotations

from collections import Counter, deque

WINDOW_SECONDS = 300.0
"""Time for which ends of offers are counted, in seconds."""
BUCKET_SECONDS = 30.0
"""Time whose ends are counted together, in seconds."""
MAX_REASONS = 16
"""The largest number of reasons that are counted apart in a bucket."""
MAX_REASON_CHARS = 80
OTHERS = "other reasons"
_BUCKETS = int(WINDOW_SECONDS / BUCKET_SECONDS)


class OfferEnds:
    """Ends of offers by the reason, in buckets of time. Times are cell time, in seconds. They are in the memory of the
    owner, as the offers are."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, Counter[str]]] = deque(maxlen=_BUCKETS)

    def add(self, reason: str, count: int, seconds: float) -> None:
        """Count offers that have ended now."""
        number = int(seconds // BUCKET_SECONDS)
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append((number, Counter()))
        counts = self._buckets[-1][1]
        reason = reason[:MAX_REASON_CHARS]
        if reason not in counts and len(counts) >= MAX_REASONS:
            reason = OTHERS
        counts[reason] += count

    def counts(self, seconds: float) -> dict[str, int]:
        """The counts of the last minutes, by reason, the most first."""
        first = int(seconds // BUCKET_SECONDS) - _BUCKETS + 1
        found: Counter[str] = Counter()
        for number, counts in self._buckets:
            if number >= first:
                found.update(counts)
        return dict(found.most_common(MAX_REASONS))
