"""The Containerizer port: starting, watching and ending the tasks of an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A process to start. ``shell`` gives the first argument to ``/bin/sh -c``."""

    task_id: str
    argv: tuple[str, ...]
    shell: bool
    env: Mapping[str, str]
    kill_grace: float
    volumes: tuple[tuple[str, str], ...] = ()
    """Pairs of a path in the sandbox and the id of the volume that appears there."""
    line: str = ""
    """Name of the line that it is of, if any; only for a containerizer that ``queues_tasks``."""
    width: int = 0
    """Of one that waits in its line: it starts when fewer than so many of them run."""


class TaskStarted(NamedTuple):
    """The process runs."""

    task_id: str
    pid: int
    started_at: float


class TaskExited(NamedTuple):
    """The process ended, by itself or by a signal; neither is known if its supervisor was lost."""

    task_id: str
    exit_code: int | None
    signal: int | None
    at: float
    limit: str = ""
    """The limit for whose sake it was ended, in words: it wrote too much to the disk."""


class StartFailed(NamedTuple):
    """The process could not be started, for a reason in one line."""

    task_id: str
    message: str
    machine: bool = False
    """The machine is to blame (a full disk), and not the task: elsewhere it may well start."""


class SupervisorLost(NamedTuple):
    """No task can be started for now, for a reason in one line."""

    message: str


class SupervisorBack(NamedTuple):
    """Tasks can be started again."""


ContainerEvent = TaskStarted | TaskExited | StartFailed | SupervisorLost | SupervisorBack
TaskEvent = TaskStarted | TaskExited | StartFailed


class Recovered(NamedTuple):
    """A task that an earlier agent process had started: it still runs, or it ended unreported."""

    task_id: str
    running: bool
    started_at: float
    exited: TaskExited | None


class Chunk(NamedTuple):
    """A part of a file. ``size`` is the file's length now; ``data`` may be empty at its end."""

    data: bytes
    offset: int
    size: int


class Containerizer(Protocol):
    """Runs tasks as processes on this machine."""

    @property
    def queues_tasks(self) -> bool:
        """Whether it can be given tasks that wait in a line (LaunchSpec.line), and starts each in its turn,
        first come, first served. Else whoever launches keeps them, and ``withdraw`` is not called."""
        ...

    async def start(self) -> list[Recovered]:
        """Begin; returns what an earlier agent process left."""
        ...

    def launch(self, spec: LaunchSpec) -> None:
        """Start a task; a TaskStarted or StartFailed event follows, then a TaskExited."""
        ...

    def kill(self, task_id: str, grace: float) -> None:
        """SIGTERM to the whole process tree, SIGKILL after ``grace`` seconds. Unknown ids are ignored."""
        ...

    def withdraw(self, task_id: str) -> None:
        """Forget a task that waits in its line: a StartFailed follows. Of one that has had its turn, and
        unknown ids, nothing."""
        ...

    def forget(self, task_id: str) -> None:
        """The outcome is safe elsewhere; it need not be recovered."""
        ...

    def drop_volumes(self, volume_ids: Iterable[str]) -> None:
        """Delete volumes with their data. Unknown ids are ignored; from here on an id names a new volume."""
        ...

    def usage(self) -> Mapping[str, tuple[float, int]]:
        """CPU seconds so far and bytes of memory of running tasks, as far as known; it may be a little
        old."""
        ...

    async def read(self, task_id: str, name: str, offset: int, length: int) -> Chunk:
        """Part of a file of the task's sandbox. Raises NotFound, InvalidInput."""
        ...

    async def sweep(self, keep_seconds: float, now: float) -> list[str]:
        """Delete sandboxes of forgotten tasks that nothing was written to for ``keep_seconds``; ``now`` is
        seconds since the epoch. Returns their task ids."""
        ...

    async def stop(self, *, kill_tasks: bool) -> None:
        """End; tasks live on unless ``kill_tasks``."""
        ...


OnContainerEvents = Callable[[Sequence[ContainerEvent]], None]
