"""A timeout for answers of servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LATE_LOOP_SECONDS = 0.05
"""Delay of a timer, in seconds, from which on it shows that the event loop was busy."""
GRACE_SECONDS = 0.25
"""Time that a busy event loop gets to receive the answers that have arrived meanwhile, in seconds."""


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """A variant of ``asyncio.timeout`` for answers of a server: raises TimeoutError when none has arrived within
    ``seconds``. If the event loop was busy when the time was over, it first receives the answers that have arrived
    meanwhile, since that delay is not the server's fault."""
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
