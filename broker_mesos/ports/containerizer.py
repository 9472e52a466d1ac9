"""The Containerizer port: starts, observes and ends the tasks of an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A process to start; ``kill_grace`` is in seconds. With ``shell`` the first argument is run by ``/bin/sh -c``."""

    task_id: str
    argv: tuple[str, ...]
    shell: bool
    env: Mapping[str, str]
    kill_grace: float
    volumes: tuple[tuple[str, str], ...] = ()
    """Pairs of a path in the sandbox and the id of the volume that appears there."""
    queue: str = ""
    """Name of the task's queue, if it has one; only for a containerizer that ``queues_tasks``."""
    width: int = 0
    """For a queued task: it starts when fewer than this number of tasks of its queue run; 0 if it is not queued."""
    directory: str = ""
    """The folder in which it runs: an absolute path or one in the sandbox; empty for the sandbox."""
    stdin: bytes = b""
    outputs: tuple[tuple[str, str], ...] = ()
    """Pairs of ``stdout`` or ``stderr`` and the path in the sandbox under which the same file is found."""
    user: str = ""
    """The user of the machine as which it runs; empty for the one that the agent chooses."""


class TaskStarted(NamedTuple):
    """A task's process has started; ``started_at`` is in seconds since the epoch."""

    task_id: str
    pid: int
    started_at: float


class TaskExited(NamedTuple):
    """A task's process has ended, with an exit code or by a signal; neither is known if its supervisor was lost."""

    task_id: str
    exit_code: int | None
    signal: int | None
    at: float
    limit: str = ""
    """The limit because of which the task was ended, as a text; empty if it was not ended for a limit."""


class StartFailed(NamedTuple):
    """A task's process could not be started, for a reason in one line."""

    task_id: str
    message: str
    machine: bool = False
    """Whether the machine is the cause (such as a full disk) and not the task, which may start elsewhere."""


class SupervisorLost(NamedTuple):
    """The supervisor of the tasks is lost, for a reason in one line; no task can be started until it is back."""

    message: str


class SupervisorBack(NamedTuple):
    """The supervisor of the tasks is back; tasks can be started again."""


ContainerEvent = TaskStarted | TaskExited | StartFailed | SupervisorLost | SupervisorBack
TaskEvent = TaskStarted | TaskExited | StartFailed


class Recovered(NamedTuple):
    """A task that an earlier agent process has started; it still runs, or its end was not reported yet."""

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
        """Whether the containerizer accepts queued tasks (LaunchSpec.queue) and starts them in their order. Otherwise
        the caller keeps them until their turn, and does not call ``withdraw``."""
        ...

    async def start(self) -> list[Recovered]:
        """Start to serve. Returns the tasks that an earlier agent process has left."""
        ...

    def launch(self, spec: LaunchSpec) -> None:
        """Start a task. A TaskStarted or StartFailed event follows, and a TaskExited after the TaskStarted."""
        ...

    def kill(self, task_id: str, grace: float) -> None:
        """Send SIGTERM to the process tree of a task, and SIGKILL after ``grace`` seconds. Unknown ids are ignored."""
        ...

    def withdraw(self, task_id: str) -> None:
        """Remove a queued task; a StartFailed follows. A task whose turn has come and unknown ids are ignored."""
        ...

    def forget(self, task_id: str) -> None:
        """Forget a task's outcome, which is stored elsewhere and need not be recovered."""
        ...

    def drop_volumes(self, volume_ids: Iterable[str]) -> None:
        """Delete volumes with their data. Unknown ids are ignored; from here on an id names a new volume."""
        ...

    def usage(self) -> Mapping[str, tuple[float, int]]:
        """The CPU time so far (in seconds) and the memory (in bytes) of running tasks, as far as they are known; the
        values may be a few seconds old."""
        ...

    async def read(self, task_id: str, name: str, offset: int, length: int) -> Chunk:
        """Read a part of a file in the task's sandbox. Raises NotFound, InvalidInput."""
        ...

    async def sweep(self, keep_seconds: float, now: float) -> list[str]:
        """Delete the sandboxes of forgotten tasks to which nothing was written for ``keep_seconds``; ``now`` is in
        seconds since the epoch. Returns the ids of these tasks."""
        ...

    async def stop(self, *, kill_tasks: bool) -> None:
        """Stop. The tasks run on, unless ``kill_tasks`` is set."""
        ...


OnContainerEvents = Callable[[Sequence[ContainerEvent]], None]
