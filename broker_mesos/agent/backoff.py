"""The back-off of an agent whose machine cannot start tasks: it lends nothing for a while."""

from __future__ import annotations


class BackOff:
    """Decides whether the machine lends its resources. A machine that cannot start anything (a full disk) would end
    tasks faster than any other machine, and so would be offered, and would fail, all tasks. It lends nothing for a
    while, longer after each failure, until a task starts again."""

    FIRST = 1.0
    AT_MOST = 30.0

    def __init__(self) -> None:
        self.until = float("-inf")
        """Monotonic time until which the machine lends nothing."""
        self._delay = 0.0
        self._reason = ""

    def failed(self, reason: str, now: float) -> None:
        """Note that a start has failed because of the machine; ``now`` is in monotonic seconds."""
        if now >= self.until:
            self._delay = min(max(self.FIRST, 2 * self._delay), self.AT_MOST)
            self.until = now + self._delay
            self._reason = reason

    def suspend(self, reason: str) -> None:
        """Lend nothing until ``resume``, since no task can be started."""
        if self.until != float("inf"):
            self.until, self._reason = float("inf"), reason

    def resume(self, now: float) -> None:
        """End what ``suspend`` began, at the monotonic time ``now``."""
        if self.until == float("inf"):
            self.until, self._delay = now, 0.0

    def started(self, now: float) -> None:
        """Note that a task has started, so that the next failure begins with the shortest delay again."""
        if now >= self.until:
            self._delay = 0.0

    def take_reason(self) -> str:
        """The reason for lending nothing, once: empty if it was returned already."""
        reason, self._reason = self._reason, ""
        return reason
