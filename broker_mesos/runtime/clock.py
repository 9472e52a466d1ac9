"""The system clock, and random ids, which daemons use outside of simulations."""

from __future__ import annotations

import asyncio
import os
import time


class SystemClock:
    """The machine's clocks (see ``broker_mesos.ports.Clock``). ``offset`` is the error of the wall clock in seconds,
    for tests of a wrong clock."""

    def __init__(self, offset: float = 0.0) -> None:
        self._offset = offset

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def monotonic(self) -> float:
        """Monotonic seconds, on the scale of the event loop's ``time()``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for this number of seconds."""
        await asyncio.sleep(seconds)


def new_id() -> str:
    """A random id of 12 hex digits."""
    return os.urandom(6).hex()
