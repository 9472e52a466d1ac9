"""A time limit on answers from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LATE_LOOP_SECONDS = 0.05
"""Seconds after its due time from which on a timer shows that the event loop was busy."""
GRACE_SECONDS = 0.25
"""Seconds that a busy event loop gets to receive what has come meanwhile."""


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Like ``asyncio.timeout``, for answers of a server: raises TimeoutError when none came within
    ``seconds``. An event loop that was busy when the time was over has not received yet what came meanwhile,
    which is not the server's fault: it receives that first."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    async with asyncio.timeout(None) as limit:

        def over(due: float) -> None:
            if loop.time() - due > LATE_LOOP_SECONDS:
                arm(loop.time() + GRACE_SECONDS)
            else:
                limit.reschedule(loop.time())

        def arm(due: float) -> None:
            nonlocal timer
            timer = loop.call_at(due, over, due)

        arm(loop.time() + seconds)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
