"""When a machine cannot start anything, it lends nothing for a while."""

from __future__ import annotations


class BackOff:
    """A machine that can start nothing (a full disk) would end tasks faster than any other one, and so be
    offered, and swallow, all there are. It lends nothing for a while, longer each time, until something
    starts again."""

    FIRST = 1.0
    AT_MOST = 30.0

    def __init__(self) -> None:
        self.until = float("-inf")
        """Monotonic time until which the machine lends nothing."""
        self._delay = 0.0
        self._complaint = ""

    def failed(self, why: str, now: float) -> None:
        """A start has failed because of the machine."""
        if now >= self.until:
            self._delay = min(max(self.FIRST, 2 * self._delay), self.AT_MOST)
            self.until = now + self._delay
            self._complaint = why

    def suspend(self, why: str) -> None:
        """Nothing can be started until ``resume``."""
        if self.until != float("inf"):
            self.until, self._complaint = float("inf"), why

    def resume(self, now: float) -> None:
        """What ``suspend`` was told of is over."""
        if self.until == float("inf"):
            self.until, self._delay = now, 0.0

    def started(self, now: float) -> None:
        """A task has started: there is room."""
        if now >= self.until:
            self._delay = 0.0

    def take_complaint(self) -> str:
        """Why it lends nothing; empty if that was said already."""
        complaint, self._complaint = self._complaint, ""
        return complaint
