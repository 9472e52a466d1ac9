"""The Clock port: time and sleep, as daemons need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """A source of time. In a simulation it is virtual, together with the event loop's."""

    def time(self) -> float:
        """Seconds since the epoch; this clock may be set."""
        ...

    def monotonic(self) -> float:
        """Monotonic seconds, on the scale of the event loop's ``time()``; this clock is never set."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for this number of seconds."""
        ...


NewId = Callable[[], str]
"""A function that returns a short unique id of 12 hex digits."""
