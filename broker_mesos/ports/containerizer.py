"""The Containerizer port: starts, observes and ends the tasks of an agent."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

from broker_mesos.core.api.files import SandboxEntry
from broker_mesos.ports.execution import ExecSpec, Execution, OnExecChange


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
    disk: int = 0
    """Bytes that its sandbox may hold; 0 if that is not limited."""
    volume_sizes: tuple[tuple[str, int], ...] = ()
    """Pairs of the id of a volume and its size in bytes."""
    max_output: int = 0
    """Bytes that each of its output files may take; 0 for what the containerizer allows by default."""
    outputs: tuple[tuple[str, str], ...] = ()
    """Pairs of ``stdout`` or ``stderr`` and the path in the sandbox under which the same file is found."""
    user: str = ""
    """The user of the machine as which it runs; empty for the one that the agent chooses."""
    group: str = ""
    """Its framework and role: tasks of two groups never have the same cgroup, even one after the other."""
    cpus: float = 1.0
    """Its share of CPU time when CPUs are scarce, in CPUs."""
    memory: int = 0
    """Bytes of memory that it may use; 0 if that is not limited."""
    revocable: bool = False
    """Whether it gets only CPU time that no other task wants."""
    level: str = ""
    """What it is held to at least: ``limits``, ``sandboxed``, or empty for what the agent holds all tasks to."""
    pids: int = 0
    """The largest number of its processes and threads; 0 for the number that each task may have."""
    cpu_limit: float = 0.0
    """CPUs of which it may not use more, even while others are idle; 0 if that is not limited."""
    pin: bool = False
    """Whether ``cpus``, then a whole number, are CPUs of its own: no other pinned task runs on them."""
    rlimits: tuple[tuple[str, int], ...] = ()
    """Pairs of a resource limit of setrlimit(2), such as ``nofile``, and its value, soft and hard; -1 for none."""
    network: str = ""
    """``none`` for no network but its own loopback; ``host`` or empty for that of the machine."""
    rootfs: str = ""
    """Path of the folder or archive that is its root file system; empty for that of the machine."""
    image: str = ""
    """Reference of the image in a container of which it runs; empty for none."""
    gpus: int = 0
    """The number of GPUs that it has, where its agent knows its GPUs."""
    oom: str = "kill"
    """``ignore`` if the kill of one of its processes for memory does not end it."""
    ports: tuple[tuple[int, int], ...] = ()
    """The ranges of ports that it holds, both ends inclusive."""


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
    limit_kind: str = ""
    """"memory" if it was that of memory, "launch" if the text is why its container could not be started; empty for one
    of the disk."""
    cpu_seconds: float | None = None
    """The CPU time of its processes; None if it is not known, as all that follows."""
    memory_peak: int | None = None
    """The most memory that was in use at one time, in bytes."""
    io_read: int | None = None
    """Bytes that were read from disks, and not from memory."""
    io_written: int | None = None
    """Bytes that were written to disks."""
    measured_by: str = ""
    """``cgroup`` if all of its processes count; ``wait`` if only the main process and the children that it has waited
    for do, and the peak is that of the largest one. Empty if nothing was measured."""


class StartFailed(NamedTuple):
    """A task's process could not be started, for a reason in one line."""

    task_id: str
    message: str
    machine: bool = False
    """Whether the machine is the cause (such as a full disk) and not the task, which may start elsewhere."""
    kind: str = ""
    """"image" if its image cannot be had; else empty."""


class TaskNote(NamedTuple):
    """What is worth knowing about a running task, as a phrase for its status."""

    task_id: str
    text: str


class SupervisorLost(NamedTuple):
    """The supervisor of the tasks is lost, for a reason in one line; no task can be started until it is back."""

    message: str


class SupervisorBack(NamedTuple):
    """The supervisor of the tasks is back; tasks can be started again."""


TaskEvent = TaskStarted | TaskExited | StartFailed | TaskNote
ContainerEvent = TaskEvent | SupervisorLost | SupervisorBack


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


class Folder(NamedTuple):
    """Entries of a folder, in the order of their names."""

    entries: tuple[SandboxEntry, ...]
    truncated: bool
    """Whether there are more entries."""


class Retention(NamedTuple):
    """How long sandboxes of ended tasks are kept."""

    seconds: float = 7 * 86_400.0
    """Time since the last write, in seconds; it shrinks to 0 while the disk fills from 75% to 95%."""
    max_count: int = 100_000
    """Maximum number of sandboxes."""
    keep_failed: bool = False
    """Whether sandboxes of failed tasks are kept for the whole time, however full the disk is."""


DEFAULT_RETENTION = Retention()


class Collected(NamedTuple):
    """The result of a step of the collection: the tasks whose sandboxes were removed, and why the last one was."""

    task_ids: tuple[str, ...]
    why: str
    more: bool
    """Whether the step ended because of the time, and the next one goes on."""


class Isolation(NamedTuple):
    """What tasks are held to by the kernel."""

    words: tuple[str, ...] = ()
    """Such as ``mem``; empty if their resources are accounted only."""
    reason: str = ""
    """Why they are not held, in one line, although that was wished; else empty."""
    missing: Mapping[str, str] = MappingProxyType({})
    """By word that is not there: why not, in one line, as far as that is known."""


class Containerizer(Protocol):
    """Runs tasks as processes on this machine."""

    @property
    def isolation(self) -> Isolation:
        """What tasks are held to, from ``start`` on."""
        ...

    @property
    def problems(self) -> tuple[str, ...]:
        """What an operator has to know of what runs the tasks, a line for each; empty if all is well."""
        ...

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

    async def execute(self, spec: ExecSpec, on_change: OnExecChange) -> Execution:
        """Run a command beside a task, in its view and limits. ``on_change`` is called when there is output, room for
        input, or an end. Raises ExecRefused, InvalidInput, and Unavailable where that is not possible."""
        ...

    async def list_files(self, task_id: str, path: str, after: str, limit: int) -> Folder:
        """List a folder in the task's sandbox behind the name ``after``, in the order of the names. Raises NotFound,
        InvalidInput."""
        ...

    async def collect(self, retention: Retention, now: float, unacknowledged: Container[str]) -> Collected:
        """Delete sandboxes that are due, for a short time. Kept are those of running tasks, of tasks whose outcomes
        were not forgotten, and of ``unacknowledged`` ones. ``now`` is in seconds since the epoch."""
        ...

    def mark_failed(self, task_id: str) -> None:
        """Note that a task has failed, before its outcome is stored, so that its sandbox may be kept for longer."""
        ...

    async def stop(self, *, kill_tasks: bool) -> None:
        """Stop. The tasks run on, unless ``kill_tasks`` is set."""
        ...


OnContainerEvents = Callable[[Sequence[ContainerEvent]], None]
