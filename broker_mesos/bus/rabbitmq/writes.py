"""How a connection of pika's writes: everything of one turn of the loop at once."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any


def gather_writes(connection: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Send what is written in one turn of the loop at once: pika sends each frame by itself, three a message,
    and the broker wakes up for each. And do it without waiting to be told that the socket takes it, which it
    nearly always does. And read large pieces, without asking again for what has not come.
    """
    transport = connection._transport
    if transport is None:
        return
    write = transport.write
    written: list[bytes] = []
    # TLS has a state of its own, which is pika's to keep.
    sock = None if isinstance(transport._sock, ssl.SSLSocket) else transport._sock

    def flush() -> None:
        data = b"".join(written)
        written.clear()
        if sock is not None and not transport._tx_buffers:
            with contextlib.suppress(OSError):  # full, or broken: pika tells which
                data = data[sock.send(data) :]
        if data:
            write(data)

    def gather(data: bytes) -> None:
        if not written:
            loop.call_soon(flush)
        written.append(data)

    transport.write = gather
    transport._MAX_RECV_BYTES = 1 << 16
    transport._MAX_CONSUME_BYTES = 1
