"""The Clock port: time and sleep, as daemons need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Time. In a simulation it is virtual, together with the event loop's."""

    def time(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; never jumps. The same scale as the event loop's ``time()``."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


NewId = Callable[[], str]
"""Mints a short unique id (12 hex digits)."""
