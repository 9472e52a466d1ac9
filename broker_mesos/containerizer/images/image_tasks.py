"""The agent's side of tasks in containers: their images, their requests and grace, their ends, and leftovers."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_mesos.containerizer.credentials import Ids, make_folder
from broker_mesos.containerizer.images import record
from broker_mesos.containerizer.images.description import (
    FOLDER_LABEL,
    LAUNCH_LABEL,
    TASK_LABEL,
    container_name,
    describe,
    folder_key,
)
from broker_mesos.containerizer.images.engine import (
    NONE,
    Engine,
    NoEngine,
    connect,
    find,
    is_away,
    is_refusal,
    reason_of,
    status_of,
)
from broker_mesos.containerizer.images.host_shell import HostShell, find_host_shell
from broker_mesos.containerizer.images.pulls import NOT_FOUND, Pulls
from broker_mesos.containerizer.process.spawner_records import Usage
from broker_mesos.core.model.task_isolation import IMAGES
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import Isolation, LaunchSpec, StartFailed, TaskExited
from broker_mesos.runtime.timeouts import within

KILL_SLACK_SECONDS = 15.0
"""Time that the process of a container has beyond the grace of a kill, to end the container and remove it."""
END_SECONDS = 15.0
"""Time for which the report of a task's end waits until its container is removed, if its process did not do that."""
SWEEP_SECONDS = 30.0
"""Time between two tries to remove containers that could not be removed."""
RUNS = str(Path(__file__).with_name("container_main.py"))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageSettings:
    """The settings of an agent about containers. Times are in seconds."""

    engine: str = NONE
    """The path of the engine's socket, ``auto``, or ``none``."""
    auth: str = ""
    """Credentials of registries, as in Docker's ``config.json``."""
    pull_timeout: float = 600.0


class ImageTasks:
    """The tasks in containers of the agent with this work folder. ``opened`` is called with each task whose image is
    there, and with None or why it cannot be started; ``ended`` with the end of each whose container has ended."""

    def __init__(
        self,
        work_dir: Path,
        settings: ImageSettings,
        new_id: Callable[[], str],
        opened: Callable[[str, StartFailed | None], None],
        ended: Callable[[TaskExited], None],
    ) -> None:
        self._work_dir = work_dir
        self._folder = work_dir / "containers"
        self._settings = settings
        self._new_id = new_id
        self._opened = opened
        self._on_ended = ended
        self._pulls = Pulls(settings.auth, settings.pull_timeout)
        self._engine: Engine | None = None
        self._shell = HostShell((), ())
        self._reason = ""
        self._key = ""
        self._ids: set[str] = set()
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._away = ""
        self._leftovers = False
        self._sweep_at = 0.0

    async def start(self, known: Collection[str]) -> None:
        """Ask the engine whether it is there; ``known`` are the tasks that an earlier agent process has left. What is
        there of others is removed."""
        try:
            self._engine, self._shell = await asyncio.to_thread(self._find)
        except NoEngine as error:
            self._reason = str(error)
        except Exception as error:
            self._reason = f"the container engine: {reason_of(error)}"
            logger.warning("containers are not possible here: %s", self._reason)
        self._ids = set(await asyncio.to_thread(self._clean, known))
        if self._engine is not None:
            self._leftovers = True
            await self.sweep(known)

    def _find(self) -> tuple[Engine, HostShell]:
        return find(self._settings.engine), find_host_shell()

    def _clean(self, known: Collection[str]) -> list[str]:
        """The tasks that have a folder; those that are not known are removed."""
        try:
            self._key = folder_key(self._work_dir)
            names = os.listdir(self._folder)
        except OSError:
            return []
        for name in names:
            if name not in known:
                shutil.rmtree(self._folder / name, ignore_errors=True)
        return [name for name in names if name in known]

    def isolation(self, found: Isolation) -> Isolation:
        """What tasks are held to, with the word for containers or why it is not there."""
        if self._engine is not None:
            return found._replace(words=(*found.words, IMAGES))
        return found._replace(missing={**found.missing, IMAGES: self._reason}) if self._reason else found

    @property
    def problems(self) -> tuple[str, ...]:
        """What an operator has to know of the engine, a line for each."""
        return (self._away,) if self._away else ()

    def __contains__(self, task_id: str) -> bool:
        """Whether a task runs in a container, or is to."""
        return task_id in self._ids

    def is_opening(self, task_id: str) -> bool:
        """Whether the image of a task is being pulled."""
        return task_id in self._opening

    # -- starts ------------------------------------------------------------------------------------------

    def open(self, spec: LaunchSpec, sandbox: Path, user: Ids | None) -> None:
        """Get the image of a task, and describe its container."""
        self._ids.add(spec.task_id)
        self._opening[spec.task_id] = asyncio.ensure_future(self._open(spec, sandbox, user))

    async def _open(self, spec: LaunchSpec, sandbox: Path, user: Ids | None) -> None:
        failed = None
        try:
            if self._engine is None:
                raise NoEngine(self._reason)
            await self._pulls.need(self._engine.socket, spec.image)
            await asyncio.to_thread(self._request, spec, self._engine, sandbox, user)
            self._away = ""
        except InvalidInput as error:
            failed = StartFailed(spec.task_id, str(error), kind="image")
        except OSError as error:
            failed = StartFailed(spec.task_id, f"image {spec.image}: {reason_of(error)}", machine=True)
        except Exception as error:
            if not isinstance(error, NoEngine) and not is_away(error):
                logger.exception("image %s", spec.image)
            self._away = str(error) if isinstance(error, NoEngine) else f"the container engine: {reason_of(error)}"
            failed = StartFailed(spec.task_id, f"image {spec.image}: {self._away}", machine=True)
        if self._opening.pop(spec.task_id, None) is not None:
            self._opened(spec.task_id, failed)

    def _request(self, spec: LaunchSpec, engine: Engine, sandbox: Path, user: Ids | None) -> None:
        """Make the sandbox of a task, and write what is requested for it. Raises OSError."""
        if not engine.rootless or user is None:
            make_folder(sandbox, user)
        else:
            raise NoEngine("it is rootless, and cannot run tasks as other users: name another, or drop task_user")
        labels = {FOLDER_LABEL: self._key, TASK_LABEL: spec.task_id, LAUNCH_LABEL: self._new_id()}
        config = describe(
            spec,
            engine,
            self._shell,
            sandbox=str(sandbox),
            volumes=str(self._work_dir / "volumes"),
            user=user,
            labels=labels,
        )
        folder = self._folder / spec.task_id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        request = {
            "socket": engine.socket,
            "name": container_name(spec.task_id),
            "config": config,
            "grace": spec.kill_grace,
            "oom_ignored": spec.oom == "ignore",
        }
        record.write(str(folder), record.REQUEST, request)

    def command(self, task_id: str) -> tuple[list[str], str]:
        """The command of the process that runs the container of a task, and its folder."""
        folder = str(self._folder / task_id)
        return [sys.executable, "-I", RUNS, folder], folder

    def abandon(self, task_id: str) -> None:
        """Do not start a task whose image is being pulled: ``opened`` is called soon."""
        task = self._opening.pop(task_id, None)
        if task is not None:
            task.cancel()
            asyncio.get_running_loop().call_soon(self._opened, task_id, None)

    def set_grace(self, task_id: str, grace: float) -> float:
        """Write down the grace of a kill, which follows. Returns that of the process."""
        try:
            record.write(str(self._folder / task_id), record.GRACE, max(0.0, grace))
        except OSError as error:
            logger.warning("the grace of task %s: %s", task_id, error.strerror)
        return max(0.0, grace) + KILL_SLACK_SECONDS

    def usage_of(self, task_ids: Iterable[str]) -> dict[str, Usage]:
        """What those of these tasks use that are in containers: what their processes use is not theirs."""
        found = {each: record.read_usage(str(self._folder / each)) for each in task_ids if each in self._ids}
        return {each: Usage(0.0, 0) if used is None else Usage(used[0], used[1]) for each, used in found.items()}

    # -- ends --------------------------------------------------------------------------------------------

    def finish(self, exited: TaskExited) -> None:
        """The process of a container has ended: ``ended`` is called when the container has."""
        if exited.task_id not in self._ending:
            self._ending[exited.task_id] = asyncio.ensure_future(self._finish(exited))

    async def _finish(self, exited: TaskExited) -> None:
        ended = await self.end_of(exited)
        del self._ending[exited.task_id]
        self._on_ended(ended)

    async def end_of(self, exited: TaskExited) -> TaskExited:
        """How the task of a process has ended. Its container is removed by then, if the engine answers."""
        folder = str(self._folder / exited.task_id)
        outcome = await asyncio.to_thread(record.read_outcome, folder)
        used = await asyncio.to_thread(record.read_usage, folder)
        left = await asyncio.to_thread(record.read, folder, record.LEFT)
        if outcome is None:  # its process was ended, as for its disk: the container may run
            await self._removed(exited.task_id)
        elif exited.signal is not None or left:
            self._leftovers = True
        if outcome is not None and exited.limit == "":
            exited = exited._replace(
                exit_code=outcome.exit_code, signal=None, limit=outcome.text, limit_kind=outcome.kind
            )
        if used is not None and used.cpu_seconds:
            exited = exited._replace(cpu_seconds=used.cpu_seconds, memory_peak=used.memory_peak)
        return exited

    async def _removed(self, task_id: str) -> None:
        """Remove the container of a task. What cannot be removed yet is removed later."""
        if self._engine is None:
            return
        try:
            async with within(END_SECONDS):
                await asyncio.to_thread(remove, self._engine.socket, self._key, lambda each: each == task_id)
        except Exception as error:
            self._leftovers = True
            logger.warning("the container of task %s may still run: %s", task_id, reason_of(error))

    def forget(self, task_id: str) -> None:
        """Forget a task whose outcome is stored elsewhere."""
        if task_id in self._ids:
            self._ids.discard(task_id)
            shutil.rmtree(self._folder / task_id, ignore_errors=True)

    async def sweep(self, live: Collection[str]) -> None:
        """Remove containers of this agent that are those of no live task, if there may be some."""
        if not self._leftovers or self._engine is None or time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP_SECONDS
        kept = {*live, *self._ending, *self._opening}
        try:
            async with within(END_SECONDS):
                removed = await asyncio.to_thread(remove, self._engine.socket, self._key, lambda each: each not in kept)
        except Exception as error:
            logger.warning("leftover containers are not removed yet: %s", reason_of(error))
            return
        self._leftovers = False
        if removed:
            logger.warning("removed containers of tasks that do not run: %s", " ".join(removed))

    async def stop(self) -> None:
        """Start none of them any more."""
        tasks = [*self._opening.values(), *self._ending.values()]
        self._opening.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pulls.stop()


def remove(socket: str, key: str, is_due: Callable[[str], bool]) -> list[str]:
    """Remove the containers of the agent with this key whose task id is due. Returns these ids. Raises what the engine
    refuses."""
    client = connect(socket)
    removed = []
    try:
        found: list[dict[str, Any]] = client.containers(all=True, filters={"label": f"{FOLDER_LABEL}={key}"})
        for each in found:
            task_id = str((each.get("Labels") or {}).get(TASK_LABEL, ""))
            if is_due(task_id):
                try:
                    client.remove_container(each["Id"], force=True, v=True)
                except Exception as error:
                    if not (is_refusal(error) and status_of(error) == NOT_FOUND):
                        raise
                removed.append(task_id)
    finally:
        client.close()
    return removed
