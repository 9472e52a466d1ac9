"""The patches of pika for speed on a connection with TLS, against another end that is Python's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pika.adapters.asyncio_connection import _AsyncioIOServicesAdapter
from pika.adapters.utils.io_services_utils import _AsyncSSLTransport

from broker_mesos.bus.rabbitmq.pika_patches import gather_writes, read_records
from tests.security.certificates import Certificates, make_certificates

PATIENCE = 90.0
SMALL = 1 << 14
"""Bytes of the buffers of the sockets, for those tests that fill them."""


class Socket(ssl.SSLSocket):
    """A socket on which some reads and writes must do the opposite first, as when the other end changes its keys."""

    refuse_reads = 0
    refuse_writes = 0

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if self.refuse_reads:
            self.refuse_reads -= 1
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "write first")
        return super().recv(buflen, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        if self.refuse_writes:
            self.refuse_writes -= 1
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "read first")
        return super().send(data, flags)


class Services(_AsyncioIOServicesAdapter):
    """The event loop as pika sees it; it counts what costs a turn of the loop or a system call."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.detours: list[str] = []

    def set_writer(self, fd: int, on_writable: Callable[[], None]) -> None:
        self.detours.append("set_writer")
        super().set_writer(fd, on_writable)

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        self.detours.append("add_callback_threadsafe")
        super().add_callback_threadsafe(callback)


class Connection:
    """What of pika's connection is used, which is its own protocol here as well."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.arrived = asyncio.Event()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.on_data: Callable[[bytes], None] = lambda data: None
        self._transport: Any = None

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.arrived.set()
        self.on_data(data)

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost.set_result(error)

    async def has_received(self, count: int) -> bytes:
        """The first ``count`` bytes."""
        async with asyncio.timeout(PATIENCE):
            while len(self.received) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return bytes(self.received[:count])


class Ends:
    """Both ends of one connection: pika's with the patches, and the other."""

    def __init__(self, services: Services, sock: Socket, other: tuple[asyncio.StreamReader, asyncio.StreamWriter]):
        self.services = services
        self.sock = sock
        self.reader, self.writer = other
        self.connection = Connection()
        self.transport: Any = _AsyncSSLTransport(sock, self.connection, services)  # type: ignore[arg-type]
        self.connection._transport = self.transport
        gather_writes(self.connection, asyncio.get_running_loop())
        read_records(self.connection, asyncio.get_running_loop())

    async def settle(self) -> None:
        """Let pika's first read, which it schedules by itself, come to its end."""
        self.writer.write(b"?")
        await self.connection.has_received(1)
        self.connection.received.clear()
        self.services.detours.clear()

    async def other_receives(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def ends(certificates: Certificates) -> AsyncIterator[Ends]:
    files = certificates.files()
    ours = ssl.create_default_context(cafile=str(files.ca))
    ours.sslsocket_class = Socket
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(files.cert, files.key)
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    server = await asyncio.start_server(
        lambda reader, writer: accepted.set_result((reader, writer)), sock=listener, ssl=theirs, limit=SMALL
    )

    def connect() -> ssl.SSLSocket:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        plain.settimeout(PATIENCE)
        plain.connect(listener.getsockname())
        return ours.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)

    sock = await asyncio.to_thread(connect)
    sock.setblocking(False)
    assert isinstance(sock, Socket)
    made = Ends(Services(), sock, await accepted)
    await made.settle()
    yield made
    if not made.connection.lost.done():
        made.transport.abort()
    await made.connection.lost
    made.writer.close()
    with contextlib.suppress(OSError):
        await made.writer.wait_closed()
    server.close()


async def test_what_is_written_is_sent_without_asking_whether_the_socket_is_writable(ends: Ends) -> None:
    for piece in (b"one ", b"two ", b"three"):
        ends.transport.write(piece)
    assert await ends.other_receives(13) == b"one two three"
    assert ends.services.detours == []


async def test_what_is_read_does_not_wake_the_loop_once_more(ends: Ends) -> None:
    ends.writer.write(b"one")
    await ends.connection.has_received(3)
    ends.writer.write(b"two")
    assert await ends.connection.has_received(6) == b"onetwo"
    assert ends.services.detours == []


async def test_many_records_that_have_arrived_together_are_all_read(ends: Ends) -> None:
    """Each is of 16 KB at most, and the loop hears of the socket only."""
    data = b"".join(number.to_bytes(4, "big") for number in range(250_000))
    for at in range(0, len(data), 1_000):
        ends.writer.write(data[at : at + 1_000])
    assert await ends.connection.has_received(len(data)) == data
    assert ends.services.detours == []


async def test_what_the_other_end_takes_slowly_arrives_whole_and_in_order(ends: Ends) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    for at in range(0, len(data), 70_000):
        ends.transport.write(data[at : at + 70_000])
        await asyncio.sleep(0)
    assert "set_writer" in ends.services.detours, "the buffers were never full"
    # While a write waits, reads go on.
    ends.writer.write(b"meanwhile")
    assert await ends.connection.has_received(9) == b"meanwhile"
    assert await ends.other_receives(len(data)) == data
    ends.transport.write(b"and on")
    assert await ends.other_receives(6) == b"and on"


async def test_a_read_that_must_write_first_is_left_to_pika(ends: Ends) -> None:
    ends.sock.refuse_reads = 2
    ends.writer.write(b"read")
    assert await ends.connection.has_received(4) == b"read"
    assert "set_writer" in ends.services.detours
    ends.transport.write(b"written")
    assert await ends.other_receives(7) == b"written"
    ends.writer.write(b" again")
    assert await ends.connection.has_received(10) == b"read again"


async def test_a_write_that_must_read_first_is_left_to_pika(ends: Ends) -> None:
    ends.sock.refuse_writes = 2
    ends.transport.write(b"written")
    async with asyncio.timeout(PATIENCE):
        while ends.sock.refuse_writes:
            await asyncio.sleep(0)
    ends.writer.write(b"read")
    assert await ends.other_receives(7) == b"written"
    assert await ends.connection.has_received(4) == b"read"
    ends.transport.write(b" again")
    ends.writer.write(b" again")
    assert await ends.other_receives(6) == b" again"
    assert await ends.connection.has_received(10) == b"read again"


@pytest.mark.parametrize("orderly", [True, False])
async def test_the_end_of_the_other_end_is_an_error(ends: Ends, orderly: bool) -> None:
    ends.writer.write(b"last")
    await ends.writer.drain()
    if orderly:
        ends.writer.close()
    else:
        await ends.connection.has_received(4)
        ends.writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        error = await asyncio.shield(ends.connection.lost)
    assert isinstance(error, OSError)
    assert ends.connection.received == b"last"


async def test_an_error_of_the_receiver_ends_the_connection_with_it(ends: Ends) -> None:
    def fail(data: bytes) -> None:
        raise RuntimeError("no frame")

    ends.connection.on_data = fail
    ends.writer.write(b"read")
    async with asyncio.timeout(PATIENCE):
        error = await asyncio.shield(ends.connection.lost)
    assert str(error) == "no frame"


async def test_nothing_is_read_once_the_receiver_has_given_up(ends: Ends) -> None:
    ends.connection.on_data = lambda data: ends.transport.abort()
    for _ in range(3):
        ends.writer.write(b"x" * 20_000)
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.shield(ends.connection.lost) is None
    assert 0 < len(ends.connection.received) <= SMALL
