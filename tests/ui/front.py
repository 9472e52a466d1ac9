"""One address for several web servers, as a balancer: connections go to the first one that takes them."""

from __future__ import annotations

import asyncio
import contextlib


class Front:
    """Passes bytes on. ``streams`` counts the streams of updates that were asked for, by backend."""

    def __init__(self, *backends: int) -> None:
        self.backends = list(backends)
        """Ports, the one in use first."""
        self.streams: dict[int, int] = dict.fromkeys(backends, 0)
        self.open: dict[int, int] = dict.fromkeys(backends, 0)
        """Streams that are open now."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Front:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_stream = False
        port = 0
        with contextlib.closing(writer):
            for port in self.backends:
                try:
                    back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    continue
            else:
                return

            async def there() -> None:
                nonlocal is_stream
                while data := await reader.read(65_536):
                    if b"GET /api/v1/stream" in data and not is_stream:
                        is_stream = True
                        self.streams[port] += 1
                        self.open[port] += 1
                    back_writer.write(data)
                    await back_writer.drain()

            async def back() -> None:
                while data := await back_reader.read(65_536):
                    writer.write(data)
                    await writer.drain()

            ways = [asyncio.create_task(there()), asyncio.create_task(back())]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in ways:
                    each.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                back_writer.close()
                if is_stream:
                    self.open[port] -= 1
