"""Accepts connections of HTTPS. Their handshake is bounded in time, and so is the number of those that have not ended
it: they are no connections of the HTTP server yet, and each takes a file descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from broker_mesos.web.connections import NO_DESCRIPTORS, REFUSED, BoundedProtocol

PAUSE_SECONDS = 1.0
"""Time without an attempt to accept after one has failed, in seconds: descriptors may be used up."""


class TlsListener:
    """Serves a listening socket, as the server that ``loop.create_server`` returns does."""

    def __init__(
        self,
        create_protocol: Callable[[], BoundedProtocol],
        listener: socket.socket,
        context: ssl.SSLContext,
        handshake_timeout: float,
    ) -> None:
        """``handshake_timeout`` is in seconds. Connections that are accepted above the protocol's limit are closed
        without an answer, which would need a handshake."""
        self._create_protocol = create_protocol
        self._listener = listener
        self._context = context
        self._timeout = handshake_timeout
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept(), name="https")

    def close(self) -> None:
        """Accept no more connections. Those whose handshake has ended go on."""
        self._accepting.cancel()
        for each in self._handshakes:
            each.cancel()
        self._listener.close()

    async def wait_closed(self) -> None:
        """Wait until no connection can be accepted any more."""
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except ConnectionError:
                continue  # the client has left before it was accepted
            except OSError as error:
                NO_DESCRIPTORS.warning("no connection can be accepted: out of descriptors or memory", error=str(error))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            protocol = self._create_protocol()
            if len(self._handshakes) + len(protocol.connections) >= protocol.limit:
                REFUSED.warning("connection refused: there are too many", limit=protocol.limit)
                connection.close()
                continue
            task = asyncio.create_task(self._serve(protocol, connection))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _serve(self, protocol: BoundedProtocol, connection: socket.socket) -> None:
        """Do the handshake. Afterwards the protocol has the connection."""
        # Refused, ended or too slow: such errors of TLS and of timeouts are OSErrors, and the connection is closed.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=self._timeout
            )
