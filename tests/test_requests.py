"""Requests and answers over the bus in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.cluster import Hello, HelloAnswer
from broker_mesos.core.api.jobs import GetTask
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import Queue, QueueKind, operator_cell, operator_master
from broker_mesos.errors import (
    BrokerMesosError,
    BusUnavailable,
    InvalidInput,
    NotFound,
    TimedOut,
    Unavailable,
)
from broker_mesos.ports.bus import Consumer, Outgoing
from broker_mesos.runtime.clock import SystemClock, new_id

Handler = Callable[[Request], Awaitable[Part]]


@asynccontextmanager
async def asking(handler: Handler) -> AsyncIterator[tuple[Requester, MemoryBus]]:
    """A requester, and a responder that answers with ``handler`` for any master."""
    clock = SystemClock()
    broker = MemoryBroker(clock)
    buses = [MemoryBus(broker), MemoryBus(broker)]
    for bus in buses:
        await bus.open(1)
    responder = Responder(buses[0], Queue(QueueKind.OPERATOR_MASTER), handler, clock, new_id)
    serving = asyncio.create_task(responder.run())
    await responder.consuming.wait()
    requester = Requester(buses[1], clock, new_id)
    yield requester, buses[1]
    await requester.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    for bus in buses:
        await bus.close()


async def hello(request: Request) -> Part:
    return HelloAnswer(cluster="c", cells=4)


async def test_answer_comes_back_as_what_the_request_names() -> None:
    async with asking(hello) as (requester, _):
        answer = await requester.request(operator_master(), Hello(), 5)
        assert answer == HelloAnswer(cluster="c", cells=4)


async def test_error_of_the_handler_is_raised_where_the_answer_arrives() -> None:
    async def refuse(request: Request) -> Part:
        raise NotFound("no such task; `bmesos tasks` lists them")

    async with asking(refuse) as (requester, _):
        with pytest.raises(NotFound, match="bmesos tasks"):
            await requester.request(operator_master(), GetTask(task_id="t"), 5)


async def test_failure_of_the_handler_is_told_without_its_inside() -> None:
    async def fail(request: Request) -> Part:
        raise RuntimeError("secret")

    async with asking(fail) as (requester, _):
        with pytest.raises(BrokerMesosError) as caught:
            await requester.request(operator_master(), Hello(), 5)
        assert "secret" not in str(caught.value)


async def test_answer_that_is_too_large_is_an_error_and_not_a_silence() -> None:
    async def large(request: Request) -> Part:
        return HelloAnswer(cluster="c" * (2 << 20), cells=4)

    async with asking(large) as (requester, _):
        with pytest.raises(InvalidInput, match="request less"):
            await requester.request(operator_master(), Hello(), 5)


async def test_nobody_at_the_address_is_told_at_once() -> None:
    async with asking(hello) as (requester, _):
        with pytest.raises(Unavailable, match="HELLO"):
            await requester.request(operator_cell(0), Hello(), 5)


async def test_silence_ends_at_the_time_limit() -> None:
    async def wait(request: Request) -> Part:
        await asyncio.Event().wait()
        raise AssertionError

    async with asking(wait) as (requester, _):
        with pytest.raises(TimedOut):
            await requester.request(operator_master(), Hello(), 0.05)


async def test_malformed_request_is_answered_and_the_next_one_served() -> None:
    async with asking(hello) as (requester, bus):
        await bus.publish(Outgoing(operator_master(), "HELLO", b"{", "m1", persistent=False))
        await bus.publish(Outgoing(operator_master(), "NO_SUCH", b"{}", "m2", persistent=False))
        assert await requester.request(operator_master(), Hello(), 5)


async def test_closing_a_requester_can_be_cancelled() -> None:
    async with asking(hello) as (requester, _):
        await requester.start()
        closing = asyncio.create_task(requester.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


async def test_a_requester_that_could_not_receive_says_so_at_once_and_tries_again() -> None:
    async with asking(hello) as (requester, bus):
        consume = bus.consume

        async def refused(queue: Queue, *, prefetch: int = 500) -> Consumer:
            raise BusUnavailable("access refused")

        bus.consume = refused  # type: ignore[method-assign, assignment]
        async with asyncio.timeout(90):
            with pytest.raises(Unavailable, match="access refused"):
                await requester.request(operator_master(), Hello(), 600)
            bus.consume = consume  # type: ignore[method-assign]
            assert await requester.request(operator_master(), Hello(), 10)


async def test_a_requester_whose_consumer_breaks_in_an_unknown_way_goes_on() -> None:
    """What waits is told, and the next request is answered."""
    asked = asyncio.Event()

    async def slow(request: Request) -> Part:
        if not asked.is_set():
            asked.set()
            await asyncio.Event().wait()
        return await hello(request)

    async with asking(slow) as (requester, _):
        waiting = asyncio.create_task(requester.request(operator_master(), Hello(), 600))
        await asked.wait()
        requester._on_answer = None  # type: ignore[assignment, method-assign]
        other = asyncio.create_task(requester.request(operator_master(), Hello(), 600))
        async with asyncio.timeout(90):
            for each in (waiting, other):
                with pytest.raises(Unavailable, match="cannot be received"):
                    await each
            del requester._on_answer
            assert await requester.request(operator_master(), Hello(), 10)
