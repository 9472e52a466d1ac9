"""The agent's side of the spawner: launches, kills and events as plain calls on the event loop.

Nothing here blocks the loop: requests are written to a socket, many in one write, and files are read in a
thread. The tasks belong to the spawner, so they run on when this process dies. When the spawner dies, a new
one is started, which finds the tasks again; its greeting is compared with the tasks known here, and every task
still gets exactly one TaskStarted and one TaskExited (or one StartFailed).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_mesos.containerizer.collection import Collector, InUse
from broker_mesos.containerizer.folder_removal import Removal
from broker_mesos.containerizer.gpu_devices import NO_GPUS, GpuDevices
from broker_mesos.containerizer.images.description import container_name
from broker_mesos.containerizer.images.image_tasks import ImageSettings, ImageTasks
from broker_mesos.containerizer.process.exec_connection import ExecConnection
from broker_mesos.containerizer.process.exec_requests import exec_request
from broker_mesos.containerizer.process.launch_options import launch_options, user_of
from broker_mesos.containerizer.process.launching import is_machine_fault
from broker_mesos.containerizer.process.output_limits import Limits
from broker_mesos.containerizer.process.process_end import open_pid, readable
from broker_mesos.containerizer.process.rootfs_starts import RootfsStarts
from broker_mesos.containerizer.process.spawner_connection import Connection
from broker_mesos.containerizer.process.spawner_connector import SpawnerConnector
from broker_mesos.containerizer.process.spawner_isolation import SpawnerIsolation
from broker_mesos.containerizer.process.spawner_records import Usage, exit_of, failure_of, tasks_of, usage_of
from broker_mesos.containerizer.process.spawner_scope import SpawnerScope
from broker_mesos.containerizer.root_archives import BOUNDS, RootArchives
from broker_mesos.containerizer.sandbox import Sandboxes, check_task_id
from broker_mesos.containerizer.task_files import put_files
from broker_mesos.containerizer.task_users import TaskUsers, environment_of
from broker_mesos.containerizer.task_views import TaskViews
from broker_mesos.containerizer.volumes import Volumes
from broker_mesos.errors import InvalidInput, Unavailable
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
    SupervisorBack,
    SupervisorLost,
    TaskExited,
    TaskNote,
    TaskStarted,
)
from broker_mesos.ports.execution import ExecRefused, ExecSpec, Execution, OnExecChange
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.timeouts import within

VERSION = 6
"""Version of the spawner's protocol. It is only extended, since an upgraded agent must use the spawner of the old
release."""

END_GRACE_SECONDS = 3.0
"""Time between SIGTERM and SIGKILL when the agent kills its tasks at its end, in seconds."""

OLD_SPAWNER = (
    "the process that starts tasks on its agent is of an earlier release, without working directories, input and users;"
    " it is replaced once its tasks have ended"
)
NO_EXEC = "it runs in a container, which has no exec here: on its agent's machine, use `docker exec {}`"
_BASE_ENV = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Live:
    """A task without an outcome. ``spec`` is kept until the task has started, since the request may be repeated."""

    spec: LaunchSpec | None
    kill_grace: float | None = None
    queue: str = ""


class ProcessContainerizer:
    """Runs tasks as processes of this machine. Implements the port Containerizer.

    ``on_events`` is called on the event loop, with many events at once. ``boot_id`` is for tests that simulate a
    restart of the machine; ``limits`` are the limits on what tasks write. Tasks run as one of ``users``, or with None
    as our own user; then ``protect`` keeps them from reading the spawner's memory and from gaining rights.
    ``isolation`` is that of the settings, ``lent`` the CPUs and bytes that all tasks together are held to, and
    ``views`` what sandboxed tasks see.
    """

    def __init__(
        self,
        work_dir: Path,
        on_events: OnContainerEvents,
        *,
        boot_id: str = "",
        limits: Limits | None = None,
        users: TaskUsers | None = None,
        protect: bool = False,
        isolation: str = "none",
        lent: tuple[float, int] = (1.0, 0),
        views: TaskViews | None = None,
        images: ImageSettings | None = None,
        gpus: GpuDevices = NO_GPUS,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self._users = users
        self._protect = protect
        folder = Path(work_dir).absolute()
        views = views or TaskViews(folder, always=isolation == "sandboxed")
        self._wish = SpawnerIsolation(isolation, *lent, views, gpus)
        self._images = ImageTasks(folder, images or ImageSettings(), new_id, self._opened, self._on_container_end)
        self._limits = limits or Limits()
        bounds = BOUNDS._replace(min_free=self._limits.free)
        self._rootfs = RootfsStarts(RootArchives(folder / "rootfs", views.rootfs_roots, bounds), self._opened)
        self._on_events = on_events
        self._base_env = {name: os.environ[name] for name in _BASE_ENV if name in os.environ}
        self._base_env.setdefault("PATH", os.defpath)
        scope = SpawnerScope(folder, logger.warning, lent[0]) if isolation != "none" else None
        self._connector = SpawnerConnector(folder, self._base_env, boot_id, scope)
        self.sandboxes = Sandboxes(folder / "sandboxes")
        self._volumes = Volumes(folder / "volumes")
        self._collector = Collector(folder / "sandboxes", Removal(folder / "removed"), folder / "meta" / "failed")
        self._live: dict[str, _Live] = {}
        self._ended: set[str] = set()  # ids whose outcome was reported to the agent, until it calls `forget`
        self._usage: dict[str, Usage] = {}
        self._connection: Connection | None = None
        self._requests: list[list[Any]] = []
        self._flushing = False
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False
        self._version = VERSION
        self.spawner_pid = 0

    # -- the port ----------------------------------------------------------------------------------------

    @property
    def queues_tasks(self) -> bool:
        """Whether queued tasks can be passed to the spawner: one of an old release would start them at once."""
        return self._version >= 2

    async def start(self) -> list[Recovered]:
        """Connect to the spawner, or start one. Raises Unavailable.

        Returns the tasks of an earlier agent process that run, or that ended without `forget`. For tasks that could
        not be started the callback gets a StartFailed right after.
        """
        greeting = await self._connect()
        for record in greeting:
            self._wish.on_record(record)
        recovered, failed = [], []
        for task in tasks_of(greeting).values():
            if isinstance(task, StartFailed):
                failed.append(task)
                self._ended.add(task.task_id)
                continue
            recovered.append(task)
            if task.running:
                self._live[task.task_id] = _Live(None)
                self._rootfs.adopted.add(task.task_id)
            else:
                self._ended.add(task.task_id)
        await self._images.start({*self._live, *self._ended})
        recovered = [await self._with_container(each) for each in recovered]
        early: list[ContainerEvent] = [*failed, *(TaskNote(*each[1:3]) for each in greeting if each[0] == "note")]
        if early:
            asyncio.get_running_loop().call_soon(self._emit, early)
        await self._wish.answered()
        self.drop_volumes(())  # continue the deletions that an earlier process did not finish
        self._keeper = asyncio.create_task(self._keep_connected(), name="spawner-keeper")
        return recovered

    @property
    def isolation(self) -> Isolation:
        """What tasks are held to, from ``start`` on."""
        return self._images.isolation(self._wish.with_gpus(self._wish.found))

    @property
    def problems(self) -> tuple[str, ...]:
        """What an operator has to know of the process that starts tasks, a line for each."""
        return (*self._wish.problems, *self._images.problems)

    def launch(self, spec: LaunchSpec) -> None:
        """Start a task; TaskStarted or StartFailed follows, then TaskExited.

        A task that runs is not started again. For one whose outcome is still kept the outcome is reported again.
        """
        if spec.task_id in self._live:
            return
        try:
            check_task_id(spec.task_id)
            if not spec.argv:
                raise InvalidInput("no command given")
            if any("\0" in word for word in (*spec.argv, *spec.env, *spec.env.values())):
                raise InvalidInput("a NUL character in the command or its environment")
        except InvalidInput as error:
            failed = StartFailed(spec.task_id, str(error))
            asyncio.get_running_loop().call_soon(self._emit, [failed])
            return
        with self._collector.launching:  # so that an old sandbox of this id is not deleted from here on
            unprepared = self._prepare(spec)
            if unprepared is None:
                self._live[spec.task_id] = _Live(spec, queue=spec.queue)
                self._ended.discard(spec.task_id)
        if unprepared is not None:
            asyncio.get_running_loop().call_soon(self._emit, [unprepared])
        elif spec.rootfs:
            self._rootfs.open(spec.task_id, spec.rootfs)
        elif spec.image:
            user = user_of(spec, self._users)
            self._images.open(spec, self.sandboxes.path(spec.task_id), None if user is None else user.ids)
        else:
            self._request(self._launch_request(spec))

    def _opened(self, task_id: str, failed: StartFailed | None) -> None:
        """The root file system or image of a task can be used, or not."""
        live = self._live[task_id]
        if live.kill_grace is not None:
            failed = StartFailed(task_id, "killed before it was started")
        if failed is not None:
            del self._live[task_id]
            self._ended.add(task_id)
            self._emit([failed])
        elif live.spec is not None:
            self._request(self._launch_request(live.spec))

    def _prepare(self, spec: LaunchSpec) -> StartFailed | None:
        """Put into the sandbox what is there before the task starts. Returns why that is not possible."""
        sandbox = self.sandboxes.path(spec.task_id)
        what = "its volumes"
        try:
            user = user_of(spec, self._users)
            ids = None if user is None else user.ids
            self._volumes.mount(sandbox, spec.volumes, ids)
            what = "its files"
            put_files(sandbox, spec, ids)
        except OSError as error:
            text = f"{what}: {error.strerror}: {error.filename}"
            return StartFailed(spec.task_id, text, is_machine_fault(error))
        except InvalidInput as error:
            return StartFailed(spec.task_id, str(error))
        needed = 4 if self._users is not None else 3 if launch_options(spec, user) else 0
        if self._version < (6 if spec.image or (spec.gpus and self._wish.gpus_of(spec)) else needed):
            if not self._live:
                self._request(["end", 0.0])  # the next one is of this release
            return StartFailed(spec.task_id, OLD_SPAWNER, machine=True)
        return None

    def kill(self, task_id: str, grace: float) -> None:
        """SIGTERM to the task's process tree, SIGKILL after ``grace`` seconds; a later call may shorten the
        time. TaskExited follows when the last of them is gone. Unknown ids are ignored."""
        live = self._live.get(task_id)
        if live is None:
            return
        live.kill_grace = grace if live.kill_grace is None else min(grace, live.kill_grace)
        if self._images.is_opening(task_id):
            self._images.abandon(task_id)
        else:
            self._request(self._kill_request(task_id, grace))

    def _kill_request(self, task_id: str, grace: float) -> list[Any]:
        if task_id in self._images:
            grace = self._images.set_grace(task_id, grace)
        return ["kill", task_id, grace]

    def withdraw(self, task_id: str) -> None:
        """Withdraw a queued task: StartFailed follows. Ignored if the task has been started."""
        if task_id in self._rootfs or self._images.is_opening(task_id):
            self.kill(task_id, 0.0)
        elif task_id in self._live:
            self._request(["withdraw", task_id])

    def forget(self, task_id: str) -> None:
        """Delete an outcome (an exit or a failed start), since the agent has stored it elsewhere."""
        if task_id in self._ended:
            self._ended.discard(task_id)
            self._request(["forget", task_id])
            self._images.forget(task_id)

    def usage(self) -> Mapping[str, Usage]:
        """The use of the running tasks at the time of the last call (empty at the first call). Each call asks the
        spawner for the next one, so that no caller waits while the spawner reads /proc for all processes."""
        self._request(["usage", 0])
        return {**self._usage, **self._images.usage_of(self._live)}

    def drop_volumes(self, volume_ids: Iterable[str]) -> None:
        """Delete volumes with their data, in the background."""
        self._volumes.drop(volume_ids)
        asyncio.get_running_loop().run_in_executor(None, self._volumes.sweep)

    async def read(self, task_id: str, name: str, offset: int, length: int) -> Chunk:
        """Read a part of a file in the task's sandbox, at most 64 KiB. Raises NotFound, InvalidInput."""
        return await asyncio.to_thread(self.sandboxes.read, task_id, name, offset, length)

    async def execute(self, spec: ExecSpec, on_change: OnExecChange) -> Execution:
        """Run a command beside a task; see the port."""
        if spec.task_id in self._images:
            raise ExecRefused("unavailable", NO_EXEC.format(container_name(spec.task_id)))
        sandbox = str(self.sandboxes.path(spec.task_id))
        return await ExecConnection.open(
            str(self._connector.meta), exec_request(spec, sandbox, self._base_env, self._users), on_change
        )

    async def list_files(self, task_id: str, path: str, after: str, limit: int) -> Folder:
        """List a folder in the task's sandbox. Raises NotFound, InvalidInput."""
        return await asyncio.to_thread(self.sandboxes.entries, task_id, path, after, limit)

    async def collect(self, retention: Retention, now: float, unacknowledged: Container[str]) -> Collected:
        """Delete old sandboxes for a short time; see `Collector.step`."""
        await self._rootfs.collect(self._live, now - retention.seconds)
        await self._images.sweep(self._live)
        in_use = InUse(self._live, self._ended, unacknowledged)
        return await asyncio.to_thread(self._collector.step, retention, now, in_use)

    def mark_failed(self, task_id: str) -> None:
        """Mark the sandbox of a failed task, which takes a new file; see `Collector.mark_failed`."""
        try:
            self._collector.mark_failed(task_id)
        except OSError as error:
            logger.warning("cannot mark the sandbox of %s as that of a failed task: %s", task_id, error.strerror)

    async def stop(self, *, kill_tasks: bool, grace: float = END_GRACE_SECONDS) -> None:
        """Disconnect; the tasks run on. With ``kill_tasks`` the tasks and the spawner are ended first."""
        self._stopping = True
        await self._rootfs.stop()
        if kill_tasks:
            for task_id in self._live:
                if task_id in self._images:
                    self._images.set_grace(task_id, grace / 2)  # its process has to end the container
        await self._images.stop()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        if kill_tasks and (self._connection is None or self._connection.lost.done()):
            try:
                self._reconcile(await self._connect())
            except Unavailable as error:
                logger.warning("tasks may be left running: %s", error)
        self._collector.close()
        connection = self._connection
        if connection is None or connection.lost.done():
            return
        pidfd = open_pid(self.spawner_pid) if kill_tasks else -1
        if kill_tasks:
            self._request(["end", grace])
        self._flush()
        assert connection.transport is not None
        if not kill_tasks:
            connection.transport.close()  # flushes what is written
        try:
            async with within(grace + 10):
                await asyncio.shield(connection.lost)
            if pidfd >= 0:
                async with within(5):
                    await readable(pidfd)
        except TimeoutError:
            logger.warning("the spawner (process %d) did not end in time", self.spawner_pid)
            connection.transport.abort()
        finally:
            if pidfd >= 0:
                os.close(pidfd)
            self._connection = None

    # -- requests ----------------------------------------------------------------------------------------

    def _launch_request(self, spec: LaunchSpec) -> list[Any]:
        if spec.image:
            argv, folder = self._images.command(spec.task_id)
            env = {**self._base_env, "BMESOS_SANDBOX": str(self.sandboxes.path(spec.task_id))}
            limits = {"disk": spec.disk, "volumes": spec.volume_sizes, "gpus": self._wish.gpus_of(spec)}
            found: dict[str, Any] = {"folder": folder, "limits": limits}
            return ["launch", spec.task_id, argv, env, spec.queue, spec.width, found]
        argv = ["/bin/sh", "-c", *spec.argv] if spec.shell else list(spec.argv)
        user = user_of(spec, self._users)
        sandbox = str(self.sandboxes.path(spec.task_id))
        base = self._base_env if user is None else environment_of(user, self._base_env, sandbox)
        if self._wish.sandboxes(spec):
            base = {**base, "HOME": sandbox}  # it does not see that of its user
        env = {**base, "BMESOS_TASK_ID": spec.task_id, **spec.env}
        # The spawner uses this variable to find processes that left the task's session and lost their parents.
        env["BMESOS_SANDBOX"] = sandbox
        options = launch_options(spec, user)
        output, note = self._limits.output_of(spec.max_output)
        if self._version >= 4 and (spec.disk or spec.volume_sizes or output):
            options["limits"] = {"disk": spec.disk, "volumes": spec.volume_sizes}
            if output:
                options["limits"]["output"] = output
        if note:
            asyncio.get_running_loop().call_soon(self._emit, [TaskNote(spec.task_id, note)])
        if held := self._wish.limits_of(spec, self._rootfs.folder(spec.task_id)):
            options.setdefault("limits", {})["held"] = held
        if self._version >= 6 and (gpus := self._wish.gpus_of(spec)) is not None:
            options.setdefault("limits", {})["gpus"] = gpus
        if options:
            return ["launch", spec.task_id, argv, env, spec.queue, spec.width, options]
        return ["launch", spec.task_id, argv, env, *((spec.queue, spec.width) if spec.queue else ())]

    def _request(self, request: list[Any]) -> None:
        """Write a request at the end of this turn of the loop, together with the others of this turn."""
        self._requests.append(request)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        requests, self._requests = self._requests, []
        connection = self._connection
        # Without a connection the requests are dropped: after a new connection `_reconcile` sends those still needed.
        if requests and connection is not None and not connection.lost.done() and connection.transport:
            connection.transport.write(b"".join([json.dumps(r).encode() + b"\n" for r in requests]))

    # -- events ------------------------------------------------------------------------------------------

    def _on_records(self, records: Iterable[list[Any]]) -> None:
        events: list[ContainerEvent] = []
        for record in records:
            kind = record[0]
            if kind == "started":
                live = self._live.get(record[1])
                if live is not None and live.spec is not None:
                    live.spec = None
                    events.append(TaskStarted(record[1], record[2], record[4]))
            elif kind == "exited":
                exited = exit_of(record)
                if exited.task_id not in self._images:
                    self._on_exit(exited, events)
                elif exited.task_id in self._live:
                    self._images.finish(exited)
            elif kind == "failed":
                if self._live.pop(record[1], None) is not None:
                    self._ended.add(record[1])
                    events.append(failure_of(record))
            elif kind == "note":
                events.append(TaskNote(record[1], record[2]))
            elif kind == "usage":
                self._usage = usage_of(record)
            else:
                self._wish.on_record(record)
        self._emit(events)

    def _emit(self, events: Sequence[ContainerEvent]) -> None:
        if events:
            try:
                self._on_events(events)
            except Exception:
                # Caught here, since asyncio would treat the exception as a broken connection.
                logger.exception("the handler of task events failed")

    def _on_container_end(self, exited: TaskExited) -> None:
        events: list[ContainerEvent] = []
        self._on_exit(exited, events)
        self._emit(events)

    async def _with_container(self, task: Recovered) -> Recovered:
        """A recovered task, with the end of its container if it ran in one."""
        if task.exited is None or task.task_id not in self._images:
            return task
        return task._replace(exited=await self._images.end_of(task.exited))

    def _on_exit(self, exited: TaskExited, events: list[ContainerEvent]) -> None:
        live = self._live.pop(exited.task_id, None)
        if live is None:
            return  # a repeat
        if live.spec is not None:
            events.append(TaskStarted(exited.task_id, 0, exited.at))
        self._ended.add(exited.task_id)
        events.append(exited)

    def _reconcile(self, greeting: Sequence[list[Any]]) -> None:
        """Compare the tasks with a new spawner's greeting: handle missed events, and repeat requests that may not have
        arrived."""
        reported = tasks_of(greeting)
        self._requests.clear()
        self._on_records(greeting)
        lost: list[ContainerEvent] = []
        for task_id, live in self._live.items():
            if live.queue and task_id in reported:  # the queued tasks wait for this one
                self._request(["hold", task_id, live.queue])
        for task_id, live in list(self._live.items()):
            if task_id in reported:
                if live.kill_grace is not None:
                    self._request(self._kill_request(task_id, live.kill_grace))
            elif task_id in self._rootfs or self._images.is_opening(task_id):
                pass  # it was not sent yet
            elif live.spec is not None:
                # The spawner's journal has each task before its process exists, so this one was never started.
                self._request(self._launch_request(live.spec))
                if live.kill_grace is not None:
                    self._request(self._kill_request(task_id, live.kill_grace))
            else:
                at = max((t.exited.at for t in reported.values() if isinstance(t, Recovered) and t.exited), default=0.0)
                exited = TaskExited(task_id, None, None, at)
                if task_id in self._images:
                    self._images.finish(exited)
                else:
                    self._on_exit(exited, lost)
        for task_id, state in reported.items():
            if task_id not in self._live and task_id not in self._ended:
                if isinstance(state, Recovered) and state.running:
                    logger.warning("the spawner runs task %s, which is not known", task_id)
                else:
                    self._request(["forget", task_id])
        self._emit(lost)

    # -- the connection ----------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        delay = 0.05
        while True:
            assert self._connection is not None
            await asyncio.shield(self._connection.lost)
            lost = False
            logger.warning("lost the spawner (process %d); starting another", self.spawner_pid)
            while True:
                try:
                    greeting = await self._connect()
                    break
                except Unavailable as error:
                    logger.error("%s", error)
                    self._emit([SupervisorLost(str(error))])
                    lost = True
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, 5.0)
            delay = 0.05
            self._reconcile(greeting)
            if lost:
                self._emit([SupervisorBack()])

    async def _connect(self) -> list[list[Any]]:
        """Connect, starting a spawner if there is none. Returns its greeting and the events after it. Raises
        Unavailable."""
        connection, greeting, early = await self._connector.connect()
        _, version, pid, _ = greeting[0]
        if version > VERSION:
            assert connection.transport is not None
            connection.transport.abort()
            raise Unavailable(
                f"process {pid} runs the tasks here and has version {version} of the protocol, not "
                f"{VERSION}: use the former release until its tasks have ended"
            )
        self.spawner_pid, self._version = pid, version
        connection.on_records = self._on_records
        self._connection = connection
        self._request(["limits", self._limits.output, self._limits.free])
        if self._users is not None:
            self._request(["seat", 0, self._users.default.ids])
        if self._protect:
            self._request(["protect", 0])
        if request := self._wish.request(version):
            self._request(request)
        self._flush()
        return greeting + early
