"""A containerizer without processes, for tests and simulated agents."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Container, Iterable, Mapping
from typing import NamedTuple

from broker_mesos.core.api.files import SandboxEntry
from broker_mesos.errors import InvalidInput, NotFound, Unavailable
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.containerizer import (
    Chunk,
    Collected,
    ContainerEvent,
    Folder,
    Isolation,
    LaunchSpec,
    OnContainerEvents,
    Recovered,
    Retention,
    StartFailed,
    TaskExited,
    TaskStarted,
)
from broker_mesos.ports.execution import ExecSpec, Execution, OnExecChange


class Ending(NamedTuple):
    """How a task ends by itself: ``after`` that many seconds of the event loop's time, with an exit code."""

    after: float
    exit_code: int = 0
    memory_limit: str = ""
    """The limit of memory because of which it ends, as a text; empty if it ends for no limit."""


Plan = Callable[[LaunchSpec], Ending | str | None]
"""Returns what becomes of a task: an Ending, the reason why it cannot start, or None if it runs until ``end``."""


class _Task:
    __slots__ = ("exited", "failed", "started_at", "timer")

    def __init__(self) -> None:
        self.started_at = 0.0
        self.exited: TaskExited | None = None
        self.failed: str | None = None
        self.timer: asyncio.TimerHandle | None = None


class FakeContainerizer:
    """A containerizer whose tasks end by ``end``, or as planned. It stands for the machine: it outlives agents, each of
    which connects with ``for_agent``.

    ``on_launch`` is called with every launch that starts a task.
    """

    def __init__(
        self,
        clock: Clock,
        plan: Plan = lambda spec: None,
        *,
        on_launch: Callable[[LaunchSpec], None] = lambda spec: None,
    ) -> None:
        self._clock = clock
        self._plan = plan
        self._on_launch = on_launch
        self._on_events: OnContainerEvents | None = None
        self._tasks: dict[str, _Task] = {}
        self.volumes: set[str] = set()
        """Ids of volumes that tasks have used and no agent has dropped."""
        self._files: dict[tuple[str, str], bytearray] = {}
        self._events: list[ContainerEvent] = []
        self._pid = 0
        self.held = Isolation()
        """What its machine holds tasks to."""
        self.used: dict[str, tuple[float, int]] = {}
        """CPU seconds and bytes of memory that tasks use, by task id."""
        self.stubborn = False
        """Whether tasks survive SIGTERM, and end only after the grace period."""

    def for_agent(self, on_events: OnContainerEvents) -> FakeContainerizer:
        """Deliver events to a new agent process from now on, and no longer to the one before."""
        self._on_events = on_events
        self._events.clear()
        return self

    @property
    def running(self) -> list[str]:
        """The ids of the running tasks."""
        return [task_id for task_id, task in self._tasks.items() if task.exited is None and not task.failed]

    def end(
        self, task_id: str, exit_code: int | None = 0, signal_number: int | None = None, memory_limit: str = ""
    ) -> None:
        """End a task's process now; ignored if the task does not run."""
        task = self._tasks.get(task_id)
        if task is None or task.exited is not None or task.failed:
            return
        if task.timer is not None:
            task.timer.cancel()
            task.timer = None
        kind = "memory" if memory_limit else ""
        task.exited = TaskExited(task_id, exit_code, signal_number, self._clock.time(), memory_limit, kind)
        self._emit(task.exited)

    def write(self, task_id: str, data: bytes, name: str = "stdout") -> None:
        """Append data to a file in a task's sandbox, as the task would."""
        self._files.setdefault((task_id, name), bytearray()).extend(data)

    def reboot(self) -> None:
        """End all tasks without an exit status, as a restart of the machine does."""
        self._on_events = None
        for task_id in self.running:
            self.end(task_id, None, None)

    # -- Containerizer ------------------------------------------------------------------------------------

    @property
    def isolation(self) -> Isolation:
        """What its machine holds tasks to."""
        return self.held

    @property
    def problems(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def queues_tasks(self) -> bool:
        return False

    def withdraw(self, task_id: str) -> None:
        """Do nothing: this containerizer queues no tasks."""

    async def start(self) -> list[Recovered]:
        recovered = []
        for task_id, task in self._tasks.items():
            if task.failed:
                self._emit(StartFailed(task_id, task.failed))
            else:
                recovered.append(Recovered(task_id, task.exited is None, task.started_at, task.exited))
        return recovered

    def launch(self, spec: LaunchSpec) -> None:
        if spec.task_id in self._tasks:
            return
        task = self._tasks[spec.task_id] = _Task()
        plan = self._plan(spec)
        if isinstance(plan, str):
            task.failed = plan
            self._emit(StartFailed(spec.task_id, plan))
            return
        self.volumes.update(volume_id for _, volume_id in spec.volumes)
        self._on_launch(spec)
        self._pid += 1
        task.started_at = self._clock.time()
        self._emit(TaskStarted(spec.task_id, self._pid, task.started_at))
        if plan is not None:
            loop = asyncio.get_running_loop()
            task.timer = loop.call_later(plan.after, self.end, spec.task_id, plan.exit_code, None, plan.memory_limit)

    def kill(self, task_id: str, grace: float) -> None:
        if not self.stubborn:
            self.end(task_id, None, signal.SIGTERM)
        else:
            asyncio.get_running_loop().call_later(grace, self.end, task_id, None, signal.SIGKILL)

    def drop_volumes(self, volume_ids: Iterable[str]) -> None:
        self.volumes.difference_update(volume_ids)

    def forget(self, task_id: str) -> None:
        task = self._tasks.get(task_id)
        if task is not None and (task.exited is not None or task.failed):
            del self._tasks[task_id]

    def usage(self) -> Mapping[str, tuple[float, int]]:
        return {task_id: used for task_id, used in self.used.items() if task_id in self.running}

    async def read(self, task_id: str, name: str, offset: int, length: int) -> Chunk:
        if name.startswith("/") or ".." in name.split("/"):
            raise InvalidInput(f"{name!r} is not the relative name of a file in the sandbox")
        data = self._files.get((task_id, name))
        if data is None:
            if task_id in self._tasks and name in ("stdout", "stderr"):
                return Chunk(b"", offset, 0)
            raise NotFound(f"no file {name!r} in a sandbox of task {task_id} on this agent")
        return Chunk(bytes(data[offset : offset + length]), offset, len(data))

    async def execute(self, spec: ExecSpec, on_change: OnExecChange) -> Execution:
        """Refuse it: there is no process that it could run beside."""
        raise Unavailable("its agent simulates tasks: there is nothing to run a command beside")

    async def list_files(self, task_id: str, path: str, after: str, limit: int) -> Folder:
        names = sorted(name for ident, name in self._files if ident == task_id and name > after and not path)
        files = [SandboxEntry(name=name, kind="file", size=len(self._files[task_id, name])) for name in names]
        return Folder(tuple(files[:limit]), truncated=len(files) > limit)

    async def collect(self, retention: Retention, now: float, unacknowledged: Container[str]) -> Collected:
        """Delete the files of all tasks that are not in use; there is no age and no disk."""
        kept = {*self._tasks, *(task_id for task_id, _ in self._files if task_id in unacknowledged)}
        gone = {task_id for task_id, _ in self._files} - kept
        self._files = {key: data for key, data in self._files.items() if key[0] not in gone}
        return Collected(tuple(sorted(gone)), "", more=False)

    def mark_failed(self, task_id: str) -> None:
        pass

    async def stop(self, *, kill_tasks: bool) -> None:
        if kill_tasks:
            for task_id in self.running:
                self.end(task_id, None, signal.SIGKILL)
            self._deliver()
        self._on_events = None

    def _emit(self, event: ContainerEvent) -> None:
        """Deliver an event. Events of one turn of the event loop are delivered together, in the next turn."""
        if self._on_events is None:
            return
        if not self._events:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._events.append(event)

    def _deliver(self) -> None:
        events, self._events = self._events, []
        if events and self._on_events is not None:
            self._on_events(events)
