"""A TCP proxy between a daemon and its server that a test can make stall, or reset what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")


class Proxy:
    """Runs on an event loop of its own, in a thread, until the end of ``with``. All methods block."""

    def __init__(self, url: str, host: str = "127.0.0.1") -> None:
        """``url``: of the server; ``host``: the address to listen at."""
        self._parts = urlsplit(url)
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._open: asyncio.Event
        self._server: asyncio.Server
        self.accepted = 0
        """Connections so far."""

    @property
    def url(self) -> str:
        """The server's URL, by way of the proxy."""
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.netloc.rpartition("@")[0]
        host = f"{self._host}:{port}"
        return urlunsplit(self._parts._replace(netloc=f"{user}@{host}" if user else host))

    def stall(self) -> None:
        """From now on nothing goes through, in no direction; connections stay, new ones are accepted."""
        self._call(self._stall())

    def flow(self) -> None:
        """What was held back goes on."""
        self._call(self._flow())

    def reset(self) -> int:
        """Reset all connections (RST, not FIN); returns how many there were."""
        return self._call(self._reset())

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    # inside

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._server = await asyncio.start_server(self._serve, self._host, 0)

    async def _stall(self) -> None:
        self._open.clear()

    async def _flow(self) -> None:
        self._open.set()

    async def _reset(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            for writer in pair:
                _reset(writer)
        return len(pairs)

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        self._open.set()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            await self._open.wait()
            host, port = self._parts.hostname, self._parts.port
            there_reader, there_writer = await asyncio.open_connection(host, port)
        except OSError:
            _reset(writer)
            return
        pair = (writer, there_writer)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, there_writer))
                group.create_task(self._copy(there_reader, writer))
        except* OSError:
            pass
        except* asyncio.CancelledError:
            pass  # the end of the proxy; asyncio's own callback would log it
        finally:
            self._pairs.discard(pair)
            for each in pair:
                _reset(each)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("the other end has closed")


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        raw = writer.get_extra_info("socket")
        if raw is not None:
            # Without lingering, close means RST.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
