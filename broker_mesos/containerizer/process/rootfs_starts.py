"""Tasks whose root file system is being opened, in threads, before they are started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from broker_mesos.containerizer.root_archives import RootArchives
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import StartFailed


class RootfsStarts:
    """``opened`` is called with the id of each task, and with None or why it cannot be started."""

    def __init__(self, archives: RootArchives, opened: Callable[[str, StartFailed | None], None]) -> None:
        self._archives = archives
        self._opened = opened
        self.adopted: set[str] = set()
        """The tasks that an earlier agent process has started."""
        self._folders: dict[str, str] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, task_id: str) -> bool:
        """Whether the root file system of a task is being opened."""
        return task_id in self._opening

    def folder(self, task_id: str) -> str:
        """The folder that is the root file system of a task; empty if it has none."""
        return self._folders.get(task_id, "")

    def open(self, task_id: str, path: str) -> None:
        """Open the root file system of a task."""
        self._opening[task_id] = asyncio.ensure_future(self._open(task_id, path))

    async def _open(self, task_id: str, path: str) -> None:
        failed = None
        try:
            self._folders[task_id] = await asyncio.to_thread(self._archives.open, path)
        except InvalidInput as error:
            failed = StartFailed(task_id, str(error))
        except OSError as error:
            failed = StartFailed(task_id, f"rootfs {path}: {error.strerror or error}", machine=True)
        del self._opening[task_id]
        self._opened(task_id, failed)

    async def collect(self, live: Collection[str], before: float) -> None:
        """Delete what none of the ``live`` tasks uses and nobody has used since ``before``, in seconds since the epoch;
        nothing while a task of an earlier agent process runs, which may use any."""
        self.adopted.intersection_update(live)
        self._folders = {task_id: folder for task_id, folder in self._folders.items() if task_id in live}
        if not self.adopted:
            await asyncio.to_thread(self._archives.collect, set(self._folders.values()), before)

    async def stop(self) -> None:
        """Start none of them any more."""
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        self._opening.clear()
