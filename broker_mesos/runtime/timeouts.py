"""Timeouts that hold on every release of Python, and one for answers of servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

LATE_LOOP_SECONDS = 0.05
"""Delay of a timer, in seconds, from which on it shows that the event loop was busy."""
GRACE_SECONDS = 0.25
"""Time that a busy event loop gets to receive the answers that have arrived meanwhile, in seconds."""


class within:
    """A variant of ``asyncio.timeout``, which raises TimeoutError also in a task that was cancelled before and cleans
    up: before Python 3.11.3 that one raises CancelledError there (cpython#102780), which would end the task unasked.
    ``delay`` is in seconds; None means without end."""

    def __init__(self, delay: float | None) -> None:
        self._limit = asyncio.timeout(delay)

    async def __aenter__(self) -> asyncio.Timeout:
        task = asyncio.current_task()
        self._cancelled = 0 if task is None else task.cancelling()
        return await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._limit.__aexit__(kind, error, traceback)
        task = asyncio.current_task()
        ours = task is not None and task.cancelling() <= self._cancelled
        if kind is not None and issubclass(kind, asyncio.CancelledError) and ours and self._limit.expired():
            raise TimeoutError from error


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """A variant of ``asyncio.timeout`` for answers of a server: raises TimeoutError when none has arrived within
    ``seconds``. If the event loop was busy when the time was over, it first receives the answers that have arrived
    meanwhile, since that delay is not the server's fault."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    async with within(None) as limit:

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
