from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import pytest_asyncio

from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.containerizer.process.output_limits import Limits
from broker_mesos.containerizer.task_users import TaskUsers, find_task_users
from broker_mesos.errors import Unavailable
from broker_mesos.ports.containerizer import ContainerEvent, LaunchSpec, Retention, StartFailed, TaskExited, TaskStarted
from tests.containerizer.cgroups.conftest import was_not_run

if TYPE_CHECKING:
    from tests.containerizer.held import HeldRunner

TIMEOUT = 90.0


class Runner:
    """A containerizer with a memory of its events, and ways to wait for them."""

    def __init__(self, work_dir: Path, boot_id: str = "", limits: Limits | None = None) -> None:
        self.work_dir = work_dir
        self.events: list[ContainerEvent] = []
        self.containerizer = ProcessContainerizer(work_dir, self._on_events, boot_id=boot_id, limits=limits)
        self._changed = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()

    def _on_events(self, events: Sequence[ContainerEvent]) -> None:
        self.events.extend(events)
        notice = asyncio.ensure_future(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            async with self._changed:
                await self._changed.wait_for(condition)

    def launch(self, task_id: str, *argv: str, shell: bool = False, **env: str) -> None:
        self.containerizer.launch(LaunchSpec(task_id, argv, shell, env, 1.0))

    def of(self, task_id: str) -> list[ContainerEvent]:
        return [event for event in self.events if event.task_id == task_id]

    async def started(self, task_id: str) -> TaskStarted:
        def found() -> list[TaskStarted]:
            return [e for e in self.of(task_id) if isinstance(e, TaskStarted)]

        await self.until(lambda: bool(found()))
        return found()[0]

    async def outcome(self, task_id: str) -> TaskExited | StartFailed:
        def found() -> list[TaskExited | StartFailed]:
            return [e for e in self.of(task_id) if isinstance(e, TaskExited | StartFailed)]

        await self.until(lambda: bool(found()))
        return found()[0]

    def file(self, task_id: str, name: str) -> Path:
        return self.work_dir / "sandboxes" / task_id / name

    async def lines(self, task_id: str, count: int) -> list[str]:
        """What a task printed, as soon as that is ``count`` lines."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    lines = self.file(task_id, "stdout").read_text().splitlines(keepends=True)
                except FileNotFoundError:
                    lines = []
                if len(lines) >= count and lines[count - 1].endswith("\n"):
                    return [line.rstrip("\n") for line in lines]
                await asyncio.sleep(0.005)  # files send no signals

    async def until_file(self, task_id: str, name: str, condition: Callable[[os.stat_result], bool]) -> None:
        """Wait until a file in a task's sandbox is there and satisfies a condition."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    if condition(self.file(task_id, name).stat()):
                        return
                except FileNotFoundError:
                    pass
                await asyncio.sleep(0.005)  # files send no signals


async def collected(containerizer: ProcessContainerizer) -> list[str]:
    """The tasks whose sandboxes are deleted when all are due."""
    found: list[str] = []
    while True:
        step = await containerizer.collect(Retention(0.0), 2**40, ())
        found += step.task_ids
        if not step.more:
            return sorted(found)


MakeRunner = Callable[..., Runner]


@pytest.fixture
def work_dir(tmp_path: Path) -> Iterator[Path]:
    """A work folder; whatever was started in it is ended with the test."""
    yield tmp_path
    for pid in processes_of(tmp_path):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.fixture
def make_runner(work_dir: Path) -> MakeRunner:
    def make(**options: str) -> Runner:
        return Runner(work_dir, **options)

    return make


@pytest_asyncio.fixture
async def runner(work_dir: Path) -> AsyncIterator[Runner]:
    runner = Runner(work_dir)
    assert await runner.containerizer.start() == []
    yield runner
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


def processes_of(work_dir: Path) -> list[int]:
    """Living processes that carry the folder in their command line or environment (not this one)."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
            text = Path(f"/proc/{name}/cmdline").read_bytes() + Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if stat[0] not in "ZX" and str(work_dir).encode() in text:
            found.append(int(name))
    return found


async def gone(*pids: int) -> None:
    """Wait until none of these processes lives."""
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        ended = await asyncio.to_thread(poll.poll, TIMEOUT * 1000)
        os.close(fd)
        assert ended, f"process {pid} still lives"


def ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


# -- tasks with users of their own -----------------------------------------------------------------------------

NOBODY, GAMES = "nobody", "games"
"""Two users that every machine has."""


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A work folder that other users can enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="bmesos-test-", dir="/tmp"))
    yield folder
    for pid in processes_of(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def users(open_dir: Path) -> TaskUsers:
    found = find_task_users(NOBODY, [GAMES], allow_root=False)
    found.open_folder(open_dir)
    return found


def runner_of(folder: Path, users: TaskUsers | None, limits: Limits | None = None) -> Runner:
    runner = Runner(folder)
    runner.containerizer = ProcessContainerizer(folder, runner._on_events, limits=limits, users=users)
    return runner


@pytest_asyncio.fixture
async def separate(open_dir: Path, users: TaskUsers) -> AsyncIterator[Runner]:
    runner = runner_of(open_dir, users)
    assert await runner.containerizer.start() == []
    yield runner
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def output(runner: Runner, task_id: str, text: str, user: str = "", **more: object) -> str:
    """What a shell command printed, after it has ended with code 0."""
    runner.containerizer.launch(LaunchSpec(task_id, (text,), True, {}, 1.0, user=user, **more))  # type: ignore[arg-type]
    end = await runner.outcome(task_id)
    shown = runner.file(task_id, "stdout").read_text() if runner.file(task_id, "stdout").exists() else ""
    assert isinstance(end, TaskExited) and end.exit_code == 0, (end, shown)
    return shown


@pytest.fixture
def secret(open_dir: Path) -> Path:
    found = open_dir / "secret"
    found.write_text("secret")
    found.chmod(0o600)
    return found


# -- tasks that are held to limits -----------------------------------------------------------------------------


@pytest.fixture
def folder_on_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files are not kept in memory, as they are where ``/tmp`` is a tmpfs: there they count as the
    memory of who writes them, and no page cache is needed."""
    for folder in (tmp_path, Path("/var/tmp"), Path.cwd()):
        kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, check=True, text=True).stdout
        if kind.strip() not in ("tmpfs", "ramfs"):
            with tempfile.TemporaryDirectory(dir=folder) as made:
                os.chmod(made, 0o777)
                yield Path(made)
            return
    was_not_run("no folder that is not kept in memory")


@pytest.fixture
def held_folder(work_dir: Path) -> Iterator[Path]:
    """A work folder; no cgroup of it is left after the test."""
    from tests.containerizer.held import cgroups_of

    yield work_dir
    assert cgroups_of(work_dir) == []


RunnerT = TypeVar("RunnerT", bound=Runner)


@asynccontextmanager
async def running(made: RunnerT) -> AsyncIterator[RunnerT]:
    """A runner that holds tasks to limits, while its containerizer runs. Where it cannot, the test says so."""
    try:
        await made.containerizer.start()
    except Unavailable as error:
        await made.containerizer.stop(kill_tasks=True, grace=0.0)
        was_not_run(str(error))
    yield made
    await made.containerizer.stop(kill_tasks=True, grace=0.0)


@pytest_asyncio.fixture
async def held(held_folder: Path) -> AsyncIterator[HeldRunner]:
    from tests.containerizer.held import HeldRunner

    async with running(HeldRunner(held_folder)) as made:
        yield made
