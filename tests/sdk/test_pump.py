"""How the driver ends what it has begun."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.sdk.pump import finish


async def test_whoever_waits_for_the_end_of_a_callback_can_be_cancelled() -> None:
    """Its own cancellation must not be taken for the one of the callback."""
    cancelled, over = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await over.wait()

    callback = asyncio.create_task(stubborn())
    waiting = asyncio.create_task(finish([callback], 0))
    await cancelled.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    over.set()
    await asyncio.wait([callback])


async def test_a_cancelled_wait_leaves_no_callback_behind() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    callback = asyncio.create_task(forever())
    waiting = asyncio.create_task(finish([callback], 600))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting, callback])
    assert waiting.cancelled() and callback.cancelled()


async def test_an_error_of_a_callback_that_is_late_does_not_hide_the_others() -> None:
    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("at the end")

    tasks = [asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(3600))]
    await asyncio.sleep(0)
    await finish(tasks, 0)
    assert [task.done() for task in tasks] == [True, True]
    assert isinstance(tasks[0].exception(), ValueError)
