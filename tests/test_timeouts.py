"""Time limits on what comes from outside."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

import broker_mesos
from broker_mesos.runtime.timeouts import time_limit, within

LIMIT = 0.1


async def test_whoever_does_not_answer_in_time_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        async with time_limit(LIMIT):
            await asyncio.get_running_loop().create_future()


async def test_an_answer_in_time_leaves_nothing_behind() -> None:
    loop = asyncio.get_running_loop()
    raised: list[object] = []
    loop.set_exception_handler(lambda _, context: raised.append(context))
    async with time_limit(LIMIT):
        await asyncio.sleep(0)
    later = asyncio.Event()
    loop.call_later(2 * LIMIT, later.set)
    await later.wait()
    assert raised == []


async def test_an_answer_that_came_while_the_loop_was_busy_is_heard() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader, _ = await asyncio.open_connection(sock=ours)
        async with time_limit(LIMIT):
            answer = asyncio.ensure_future(reader.readexactly(2))
            await asyncio.sleep(0)
            theirs.send(b"ok")
            time.sleep(3 * LIMIT)  # the loop is busy
            assert await answer == b"ok"


async def test_a_busy_loop_gives_up_all_the_same_when_nothing_has_come() -> None:
    async def unanswered() -> None:
        async with time_limit(LIMIT):
            await asyncio.sleep(0)
            time.sleep(3 * LIMIT)  # the loop is busy
            await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        await unanswered()


async def test_what_a_cancelled_task_cleans_up_is_given_up_in_time_as_well() -> None:
    """Before Python 3.11.3 the limit of asyncio ended such a task with CancelledError."""
    told: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            try:
                async with within(LIMIT):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                told.append("given up")

    task = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert told == ["given up"]


async def test_a_task_that_is_cancelled_within_a_limit_is_cancelled() -> None:
    async def waits() -> None:
        async with within(60 * LIMIT):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_package_uses_no_limit_of_asyncio_directly() -> None:
    package = Path(broker_mesos.__file__).parent
    users = [each for each in package.rglob("*.py") if "asyncio.timeout" in each.read_text()]
    assert users == [package / "runtime" / "timeouts.py"]
