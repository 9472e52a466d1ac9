"""A server that many connect to, or that somebody sends half a request to, stays there for the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker_mesos.web import connections
from broker_mesos.web.connections import RateLimitedLog, limit_descriptor_errors
from broker_mesos.web.server import WebServer
from tests.operator.fakes import FakeCluster
from tests.web.test_authentication import Access

PATIENCE = 90.0
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

POST = b"POST /api/v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@contextlib.asynccontextmanager
async def server(**options: Any) -> AsyncIterator[WebServer]:
    made = WebServer(FakeCluster(), port=0, **options)
    task = asyncio.create_task(made.run())
    await asyncio.wait_for(made.ready.wait(), PATIENCE)
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answer(made: WebServer, request: bytes) -> tuple[int, Any]:
    """Status and body of the answer to these bytes, the end of which is awaited."""
    reader, writer = await asyncio.open_connection(made.host, made.port)
    try:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        length = int(next(x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")).split(b":")[1])
        body = json.loads(await asyncio.wait_for(reader.readexactly(length), PATIENCE))
        return int(head.split()[1]), body
    finally:
        writer.close()


async def test_a_connection_above_the_limit_is_refused_and_there_is_room_again_when_one_ends() -> None:
    async with server(limit=2) as made:
        held = [await asyncio.open_connection(made.host, made.port) for _ in range(2)]
        for _, writer in held:
            writer.write(GET)
        for reader, _ in held:  # both are accepted
            await asyncio.wait_for(reader.readuntil(b"ok"), PATIENCE)
        status, body = await answer(made, GET)
        assert status == 503 and body["error"]["code"] == "unavailable"
        for reader, writer in held:
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
        assert (await answer(made, GET))[0] == 200


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("sent", [b"POST /api/v1 HTTP/1.1\r\nHost: 127.0", b"G"])
async def test_a_head_that_never_ends_is_given_up(sent: bytes, earlier: bool) -> None:
    async with server(head_timeout=0.1) as made:
        reader, writer = await asyncio.open_connection(made.host, made.port)
        if earlier:
            writer.write(GET)
            assert (await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)).startswith(b"HTTP/1.1 200 ")
        writer.write(sent)
        received = await asyncio.wait_for(reader.read(), PATIENCE)
        assert received.startswith(b"HTTP/1.1 408 ") and b"timed_out" in received
        writer.close()
        assert (await answer(made, GET))[0] == 200


async def test_a_connection_over_which_nothing_is_sent_is_given_up() -> None:
    async with server(head_timeout=0.1) as made:
        reader, writer = await asyncio.open_connection(made.host, made.port)
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_connections_over_which_nothing_is_sent_are_bounded_in_number() -> None:
    async with server(limit=2, head_timeout=600) as made:
        held = [await asyncio.open_connection(made.host, made.port) for _ in range(2)]
        status, body = await answer(made, GET)
        assert status == 503 and body["error"]["code"] == "unavailable"
        for _, writer in held:
            writer.close()


async def test_no_body_of_a_stranger_is_waited_for() -> None:
    async with server(access=Access(), body_timeout=600) as made:
        for length in (10, 1_000_000):
            status, body = await answer(made, POST % length)
            assert status == 401 and body["error"]["code"] == "denied"


async def test_a_body_that_never_ends_is_given_up() -> None:
    async with server(body_timeout=0.1, head_timeout=30) as made:
        status, body = await answer(made, POST % 100 + b'{"type":')
        assert status == 408 and body["error"]["code"] == "timed_out"


async def test_a_request_that_takes_longer_than_its_head_may_is_answered() -> None:
    async with server(head_timeout=0.05) as made:
        body = json.dumps({"type": "GET_CLUSTER"}).encode()
        reader, writer = await asyncio.open_connection(made.host, made.port)
        writer.write(POST % len(body) + body[:5])
        # The head is complete: only the time for the body counts, however long the rest takes.
        loop = asyncio.get_running_loop()
        later = loop.create_future()
        loop.call_later(0.2, later.set_result, None)
        await later
        writer.write(body[5:])
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).startswith(b"HTTP/1.1 200 ")
        writer.close()


def test_the_limit_of_connections_leaves_descriptors_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, expected in ((256, 96), (1_024, 480), (1 << 20, 1_000), (-1, 1_000), (10, 1)):
        monkeypatch.setattr(connections.resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections.max_connections() == expected


async def test_a_flood_of_failures_to_accept_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, int]] = []

    class Log:
        def warning(self, event: str, times: int, **fields: object) -> None:
            lines.append((event, times))

    monkeypatch.setattr(connections, "log", Log())
    monkeypatch.setattr(connections, "NO_DESCRIPTORS", RateLimitedLog())
    others: list[str] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    try:
        loop.set_exception_handler(lambda _, context: others.append(context["message"]))
        limit_descriptor_errors(loop)
        for _ in range(1_000):
            loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": OSError()})
        loop.call_exception_handler({"message": "something else"})
    finally:
        loop.set_exception_handler(before)
    assert len(lines) == 1 and "descriptors" in lines[0][0] and others == ["something else"]
