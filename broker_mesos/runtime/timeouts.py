"""A time limit on what comes from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LATE_LOOP_SECONDS = 0.05
"""Seconds by which a loop looks at its clock too late that was busy."""
GRACE_SECONDS = 0.25
"""Seconds that it is given to hear what has come meanwhile."""


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Like ``asyncio.timeout``, for answers of a server: raises TimeoutError when none came within
    ``seconds``. A loop that was busy when the time was over has not heard yet what came meanwhile, which is
    not the server's fault: it hears that first."""
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
