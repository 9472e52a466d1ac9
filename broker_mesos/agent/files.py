"""Reads files of sandboxes for operators, in bounded chunks; a request can wait at the end of a file that still
grows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker_mesos.core.api.files import FileChunk, FolderView, ListSandbox, ReadFile
from broker_mesos.errors import BrokerMesosError, NotFound
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.containerizer import Chunk, Containerizer
from broker_mesos.runtime.timeouts import within

POLL_SECONDS = 0.1
"""Interval at which a followed file is checked, in seconds. One check serves all followers of the file."""


class _Watch:
    """The followers of one file, each at an offset, and the asyncio task that checks the file for them."""

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Future[None], int] = {}
        self.poller: asyncio.Task[None] | None = None


class FileServer:
    """Answers READ_FILE requests."""

    def __init__(self, containerizer: Containerizer, clock: Clock, is_running: Callable[[str], bool]) -> None:
        self._containerizer = containerizer
        self._clock = clock
        self._is_running = is_running
        self._watches: dict[tuple[str, str], _Watch] = {}

    async def read(self, request: ReadFile) -> FileChunk:
        """Read a chunk of a file, or wait for it. Raises NotFound for an unknown task or file, InvalidInput for a name
        that leads out of the sandbox."""
        deadline = self._clock.monotonic() + request.wait
        while True:
            # Checked before the read, so that the last output of a task that ends meanwhile is not missed.
            running = self._is_running(request.task_id)
            chunk = await self._chunk(request, running)
            reached = chunk.offset + len(chunk.data)
            if chunk.data or not running or self._clock.monotonic() >= deadline:
                return FileChunk.of(chunk.data, chunk.offset, chunk.size, ended=not running and reached >= chunk.size)
            await self._growth(request, deadline)

    async def folder(self, request: ListSandbox) -> FolderView:
        """List a folder. Raises NotFound for an unknown task or folder, InvalidInput for a name that is none."""
        found = await self._containerizer.list_files(request.task_id, request.path, request.after, request.limit)
        after = found.entries[-1].name if found.truncated and found.entries else ""
        return FolderView(path=request.path, files=found.entries, truncated=found.truncated, after=after)

    def task_ended(self, task_id: str) -> None:
        """Wake the followers of the task's files, which no longer grow."""
        for key, watch in self._watches.items():
            if key[0] == task_id:
                self._wake(watch, None)

    def close(self) -> None:
        """Wake all followers and stop checking files."""
        for watch in list(self._watches.values()):
            if watch.poller is not None:
                watch.poller.cancel()
            self._wake(watch, None)

    async def _chunk(self, request: ReadFile, running: bool) -> Chunk:
        try:
            return await self._containerizer.read(request.task_id, request.name, request.offset, request.length)
        except NotFound:
            # A task that is being started has no sandbox yet.
            if running and request.name in ("stdout", "stderr"):
                return Chunk(b"", request.offset, 0)
            raise

    async def _growth(self, request: ReadFile, deadline: float) -> None:
        """Wait until the file has grown beyond the offset, the task has ended, or the monotonic deadline has come."""
        key = (request.task_id, request.name)
        watch = self._watches.setdefault(key, _Watch())
        grown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watch.waiting[grown] = request.offset
        if watch.poller is None:
            watch.poller = asyncio.create_task(self._poll(key, watch), name=f"follow {key[0]} {key[1]}")
        try:
            async with within(max(0.0, deadline - self._clock.monotonic())):
                await grown
        except TimeoutError:
            pass
        finally:
            watch.waiting.pop(grown, None)

    async def _poll(self, key: tuple[str, str], watch: _Watch) -> None:
        task_id, name = key
        try:
            while watch.waiting:
                await self._clock.sleep(POLL_SECONDS)
                if not watch.waiting:
                    return
                try:
                    size = (await self._containerizer.read(task_id, name, 0, 0)).size
                except BrokerMesosError:
                    size = 0
                self._wake(watch, size if self._is_running(task_id) else None)
        finally:
            # The last follower may have gone; after an error each follower must get it from a read of its own.
            self._wake(watch, None)
            watch.poller = None
            self._watches.pop(key, None)

    @staticmethod
    def _wake(watch: _Watch, size: int | None) -> None:
        for grown, offset in watch.waiting.items():
            if (size is None or size > offset) and not grown.done():
                grown.set_result(None)
