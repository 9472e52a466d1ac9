"""The real clock, and ids minted by chance: what daemons run on outside a simulation."""

from __future__ import annotations

import asyncio
import os
import time


class SystemClock:
    """The machine's clocks (see ``broker_mesos.ports.Clock``). ``offset``: seconds that its calendar is
    wrong by, for tests of just that."""

    def __init__(self, offset: float = 0.0) -> None:
        self._offset = offset

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def monotonic(self) -> float:
        """The same scale as the event loop's ``time()``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def new_id() -> str:
    """12 hex digits by chance."""
    return os.urandom(6).hex()
