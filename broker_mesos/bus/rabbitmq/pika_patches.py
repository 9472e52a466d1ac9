"""All code that depends on private parts of pika, whose version is pinned to the minor because of it
(pyproject.toml).

Three patches make pika faster (``SPEED``). They are optional: the bus works without them, and the contract tests run
without each of them. Their gains are measured by ``python -m benchmarks.pika_patches``. The other patches correct
faults for which pika has no public interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Callable
from typing import Any

from pika import spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import StreamLostError
from pika.frame import Body, Header, Method, decode_frame

SPEED = {"gather_writes", "cut_reads", "read_records"}
"""The patches for speed that a new connection gets; tests and benchmarks remove one."""

_SIZE = struct.Struct(">L")
_SIZE_AT = 3
_AROUND = spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE
_RECORDS = 16
"""Number of records of TLS that one turn of the event loop reads at most."""
_SHORT = 2_048
"""Bytes below which a record of TLS is probably the last one, so that another read would find nothing."""


class Connection(AsyncioConnection):
    """A connection that can be closed during its handshake: pika then passes itself the class of an error instead of
    an error, and fails with a traceback in a callback of the event loop."""

    def _on_connection_workflow_done(self, outcome: Any) -> None:
        made = outcome() if isinstance(outcome, type) else outcome
        super()._on_connection_workflow_done(made)  # type: ignore[misc]

    def _proto_connection_made(self, transport: Any) -> None:
        """A socket that is connected when the connection was closed already: if that happens in the turn of the loop in
        which the address is found, pika forgets the attempt that this begins. It would log in, for nobody, and trip
        over what then comes of it."""
        if self.is_closed:
            transport.abort()
        else:
            super()._proto_connection_made(transport)  # type: ignore[misc]

    def _proto_connection_lost(self, error: BaseException | None) -> None:
        if not self.is_closed:
            super()._proto_connection_lost(error)  # type: ignore[misc]


def drop(connection: Any) -> None:
    """End a connection whose other end sends nothing: an orderly close would wait for an answer."""
    connection._terminate_stream(StreamLostError("given up"))


def speed_up(connection: Any, loop: asyncio.AbstractEventLoop, on_confirm: Callable[[Any], None] | None) -> None:
    """Apply the patches for speed to an open connection. ``on_confirm`` replaces the callback of its only confirming
    channel."""
    if "gather_writes" in SPEED:
        gather_writes(connection, loop)
    if "cut_reads" in SPEED:
        cut_reads(connection, on_confirm)
    if "read_records" in SPEED:
        read_records(connection, loop)


def gather_writes(connection: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Write all frames of one turn of the event loop at once.

    pika sends each frame by itself, three for each message, and the broker wakes up for each. The patch also writes
    without waiting until the socket is reported as writable, which it nearly always is, and reads large pieces
    without a further read for data that has not arrived. It saves 29% of this process' CPU and 19% of the broker's
    (10,000 confirmed messages of 300 bytes through a quorum queue, pika 1.4.4); with TLS 18% and 10%.
    """
    transport = connection._transport
    if transport is None:
        return
    write, sock = transport.write, transport._sock
    encrypted = isinstance(sock, ssl.SSLSocket)
    written: list[bytes] = []

    def flush() -> None:
        rest = memoryview(b"".join(written))
        written.clear()
        # A read from TLS may have to write first; pika knows when.
        if not transport._tx_buffers and not (encrypted and transport._ssl_writable_action):
            # Full, or broken: pika finds out which, with the same bytes, as TLS demands.
            with contextlib.suppress(OSError):
                while rest:  # TLS accepts one record at a time
                    rest = rest[sock.send(rest) :]
        if rest:
            write(bytes(rest))

    def gather(data: bytes) -> None:
        if not written:
            loop.call_soon(flush)
        written.append(data)

    transport.write = gather
    transport._MAX_RECV_BYTES = 1 << 16
    if not encrypted:
        transport._MAX_CONSUME_BYTES = 1


def read_records(connection: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Read from a TLS socket without pika's bookkeeping for each read.

    pika notes after each read what the two directions of TLS wait for, and wakes the loop for another read in case
    that TLS holds further data. Here the loop reports what a read has left: TLS never holds more than one record of
    16 KB, which is read whole. Whenever a read must write first, or a write read, pika does it. It saves 11% of
    this process' CPU where each message comes alone, and nothing where many come at once.
    """
    transport = connection._transport
    if transport is None or not isinstance(transport._sock, ssl.SSLSocket):
        return
    sock, protocol = transport._sock, transport._protocol
    active, consume = transport._STATE_ACTIVE, transport._consume

    def read() -> None:
        if transport._ssl_readable_action != consume:
            transport._on_socket_readable()
            return
        try:
            for _ in range(_RECORDS):
                if transport._state != active:
                    return
                data = sock.recv(1 << 16)
                if not data:
                    raise transport.RxEndOfFile
                protocol.data_received(data)
                if len(data) < _SHORT:
                    return
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            transport._on_socket_readable()
        except Exception as error:  # also what a callback raises, as pika does
            transport._initiate_abort(error)

    loop.add_reader(sock.fileno(), read)


def cut_reads(connection: Any, on_confirm: Callable[[Any], None] | None = None) -> None:
    """Split the received bytes into frames in one pass.

    pika copies the whole rest for each frame. The patch also passes on deliveries and confirms directly: pika looks
    for callbacks under several names before each. It saves 8% of this process' CPU and 26% of the time (the same
    messages).
    """
    process = connection._process_frame

    def on_data(data: bytes) -> None:
        data = connection._frame_buffer + data
        at, end = 0, len(data)
        try:
            while end - at >= _AROUND:
                # Bytes that are no frame at all (the broker has another protocol) state a size that never arrives.
                size = _SIZE.unpack_from(data, at + _SIZE_AT)[0] + _AROUND
                if end - at < size:
                    break
                frame = data[at : at + size]
                at += size
                connection.bytes_received += size
                take(decode_frame(frame)[1])
        finally:
            connection._frame_buffer = data[at:]

    def take(frame: Any) -> None:
        kind = type(frame)
        method = type(frame.method) if kind is Method else None
        if method is spec.Basic.Ack and on_confirm is not None:
            connection.frames_received += 1
            on_confirm(frame)
        elif method is spec.Basic.Deliver or kind is Body or kind is Header:
            connection.frames_received += 1
            connection._deliver_frame_to_channel(frame)
        else:
            process(frame)

    connection._on_data_available = on_data
