"""Frames reach pika as they would without us, whatever pieces they come in."""

from __future__ import annotations

import asyncio
from typing import Any

import pika
import pytest
from pika import frame, spec
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflow
from pika.exceptions import InvalidFrameError

from broker_mesos.bus.rabbitmq import pika_patches
from broker_mesos.bus.rabbitmq.pika_patches import cut_reads


class Connection:
    """What of pika's connection is used."""

    def __init__(self) -> None:
        self._frame_buffer = b""
        self.bytes_received = self.frames_received = 0
        self.delivered: list[Any] = []
        self.processed: list[Any] = []
        self.confirmed: list[Any] = []
        self._on_data_available: Any = None
        cut_reads(self, self.confirmed.append)

    def _process_frame(self, value: Any) -> None:
        self.frames_received += 1
        self.processed.append(value)

    def _deliver_frame_to_channel(self, value: Any) -> None:
        self.delivered.append(value)


def frames() -> list[Any]:
    properties = pika.BasicProperties(type="t", headers={"n": 1})
    return [
        frame.Method(1, spec.Basic.Deliver("tag", 7, False, "exchange", "key")),
        frame.Header(1, 3, properties),
        frame.Body(1, b"abc"),
        frame.Method(1, spec.Basic.Ack(9, True)),
        frame.Heartbeat(),
        frame.Method(1, spec.Basic.Nack(10)),
    ]


@pytest.mark.parametrize("piece", [1, 2, 7, 8, 9, 50, 10_000])
def test_frames_are_the_same_in_whatever_pieces_they_come(piece: int) -> None:
    connection = Connection()
    data = b"".join(each.marshal() for each in frames())
    for at in range(0, len(data), piece):
        connection._on_data_available(data[at : at + piece])
    deliver, header, body = connection.delivered
    assert (deliver.method.delivery_tag, header.body_size, body.fragment) == (7, 3, b"abc")
    assert header.properties.type == "t" and header.properties.headers == {"n": 1}
    [ack] = connection.confirmed
    assert (ack.method.delivery_tag, ack.method.multiple) == (9, True)
    beat, nack = connection.processed
    assert type(beat) is frame.Heartbeat and nack.method.delivery_tag == 10
    assert (connection.bytes_received, connection.frames_received) == (len(data), 6)
    assert connection._frame_buffer == b""


def test_after_a_frame_that_ends_in_an_error_the_next_ones_are_still_there() -> None:
    connection = Connection()
    body, beat = frame.Body(1, b"abc").marshal(), frame.Heartbeat().marshal()
    with pytest.raises(InvalidFrameError):
        connection._on_data_available(body[:-1] + b"?" + beat)
    connection._on_data_available(b"")
    assert [type(each) for each in connection.processed] == [frame.Heartbeat]


async def test_a_connection_that_is_closed_when_its_address_is_found_sends_nothing_and_makes_no_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its owner has given up, and its address was found in the same turn of the loop."""
    loop = asyncio.get_running_loop()
    noise: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: noise.append(context))
    received: asyncio.Queue[bytes] = asyncio.Queue()
    ended: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read(100))
        writer.close()

    on_resolved = AMQPConnectionWorkflow._on_getaddrinfo_async_done

    def close_first(workflow: Any, *arguments: Any) -> None:
        connection.close()
        on_resolved(workflow, *arguments)

    monkeypatch.setattr(AMQPConnectionWorkflow, "_on_getaddrinfo_async_done", close_first)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = pika_patches.Connection(
        pika.ConnectionParameters("127.0.0.1", server.sockets[0].getsockname()[1]),
        on_open_error_callback=lambda _, error: ended.append(error),
        custom_ioloop=loop,
    )
    async with asyncio.timeout(90):
        assert await received.get() == b""
    assert len(ended) == 1 and connection.is_closed and noise == []
    server.close()
