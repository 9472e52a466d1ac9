"""Many more tasks than the spawner may have open files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from broker_mesos.containerizer.process import spawner
from broker_mesos.ports.containerizer import TaskExited
from tests.containerizer.conftest import MakeRunner, Runner

MAX_FILES = 51
TASKS = 500
"""In the proportion of 5,000 tasks to 512 open files."""


@pytest_asyncio.fixture
async def poor(work_dir: Path, make_runner: MakeRunner) -> AsyncIterator[Runner]:
    """A runner whose spawner may have MAX_FILES open files."""
    main = Path(spawner.__file__).with_name("spawner_main.py")
    command = ["prlimit", f"--nofile={MAX_FILES}:{MAX_FILES}", sys.executable, "-I", "-S", str(main), str(work_dir)]
    started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert started.stdout is not None and await started.stdout.readline() == b"ready\n"
    runner = make_runner()
    assert await runner.containerizer.start() == []
    yield runner
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)
    await started.wait()


async def test_ten_times_as_many_tasks_as_open_files_run_to_their_end(poor: Runner) -> None:
    names = [f"t{number}" for number in range(TASKS)]
    for at, name in enumerate(names):
        poor.launch(name, f"exit {at % 7}", shell=True)
    ends = [await poor.outcome(name) for name in names]
    assert [end.exit_code if isinstance(end, TaskExited) else end for end in ends] == [at % 7 for at in range(TASKS)]


async def test_ten_times_as_many_tasks_as_open_files_run_at_once(poor: Runner) -> None:
    names = [f"t{number}" for number in range(TASKS)]
    for name in names:
        poor.launch(name, "sleep", "1000")
    for name in names:
        await poor.started(name)
    poor.launch("last", "echo here; exit 3", shell=True)
    assert await poor.lines("last", 1) == ["here"]
    for name in names:
        poor.containerizer.kill(name, 0.0)
    for name in names:
        end = await poor.outcome(name)
        assert isinstance(end, TaskExited) and end.signal
