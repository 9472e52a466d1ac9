"""Tasks that are held to limits while their agent, their spawner and their launchers are killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import platform
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker_mesos.containerizer.process import proctree, spawner
from broker_mesos.errors import Unavailable
from broker_mesos.ports.containerizer import StartFailed, TaskExited
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import TIMEOUT, gone
from tests.containerizer.held import HeldRunner, code_of, start_waiting

pytestmark = pytest.mark.slow

TASKS = 200
FEW_FILES = 100
KNOWS_CODES = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 15)
"""Whether the kernel tells how a process has ended that is no child."""


@pytest.fixture
def gate(held_folder: Path) -> Iterator[int]:
    """The lock that all tasks wait for; closed, they end."""
    fd = os.open(held_folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield fd
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def open_gate(gate: int) -> None:
    fcntl.flock(gate, fcntl.LOCK_UN)


async def mortal_agent(folder: Path, count: int) -> tuple[int, int]:
    """Start an agent with tasks in a process of its own; its pid, and that of its spawner."""
    command = [sys.executable, "-m", "tests.containerizer.mortal_agent", str(folder), str(count)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    line = await process.stdout.readline()
    if not line:
        problem = (await process.stderr.read()).decode()
        if "isolation=limits is not possible" in problem:
            was_not_run(problem.splitlines()[-1])
        raise AssertionError(problem)
    return process.pid, int(line)


def launchers(spawner_pid: int) -> list[int]:
    """The children of a spawner that are not tasks."""
    found = []
    for pid in proctree.children(spawner_pid) or ():
        try:
            if os.readlink(f"/proc/{pid}/exe") == os.readlink(f"/proc/{spawner_pid}/exe"):
                found.append(pid)
        except OSError:
            pass
    return found


async def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await gone(*pids)


@pytest_asyncio.fixture
async def next_agent(held_folder: Path) -> AsyncIterator[HeldRunner]:
    """An agent that is not started yet."""
    made = HeldRunner(held_folder)
    yield made
    await made.containerizer.stop(kill_tasks=True, grace=0.0)


async def check_ends(runner: HeldRunner, numbers: range, *, known: bool = KNOWS_CODES) -> None:
    """Each task ends once, with its own code, and what it has used."""
    for number in numbers:
        end = await runner.exited(f"t{number}")
        assert end.exit_code == code_of(number) or (end.exit_code is None and not known), end
        assert end.signal is None and end.cpu_seconds is not None and (end.memory_peak or 0) > 0, end
    ends = Counter(each.task_id for each in runner.events if isinstance(each, TaskExited))
    assert max(ends.values()) == 1


async def test_tasks_end_once_with_their_codes_and_usage_although_agent_and_spawner_were_killed_together(
    next_agent: HeldRunner, gate: int
) -> None:
    agent, first_spawner = await mortal_agent(next_agent.work_dir, TASKS)
    await kill(agent, first_spawner)
    found = await next_agent.containerizer.start()
    assert sorted(each.task_id for each in found if each.running) == sorted(f"t{n}" for n in range(TASKS))
    open_gate(gate)
    await check_ends(next_agent, range(TASKS))


async def test_tasks_end_once_although_launchers_agent_and_spawner_were_killed_in_turn(
    next_agent: HeldRunner, gate: int
) -> None:
    agent, first_spawner = await mortal_agent(next_agent.work_dir, TASKS // 2)
    await kill(*launchers(first_spawner)[::2])
    await kill(agent)
    found = await next_agent.containerizer.start()
    assert len([each for each in found if each.running]) == TASKS // 2
    await kill(first_spawner)
    for number in range(TASKS // 2, TASKS):
        start_waiting(next_agent, number)
    for number in range(TASKS // 2, TASKS):
        await next_agent.started(f"t{number}")
    assert next_agent.containerizer.spawner_pid != first_spawner
    await kill(*launchers(next_agent.containerizer.spawner_pid))
    open_gate(gate)
    await check_ends(next_agent, range(TASKS // 2))
    await check_ends(next_agent, range(TASKS // 2, TASKS), known=True)


async def poor_spawner(folder: Path) -> None:
    """Start a spawner that may have FEW_FILES open files. A launcher that the last one has forked just before its end
    has the lock until it is in its cgroup: an agent tries again as well."""
    main = Path(spawner.__file__).with_name("spawner_main.py")
    limit = f"--nofile={FEW_FILES}:{FEW_FILES}"
    command = ["prlimit", limit, sys.executable, "-I", "-S", str(main), str(folder)]
    answer = b"locked\n"
    async with asyncio.timeout(TIMEOUT):
        while answer == b"locked\n":
            with open(folder / "log", "ab") as log:
                started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
            assert started.stdout is not None
            answer = await started.stdout.readline()
    assert answer == b"ready\n"


async def test_a_spawner_adopts_more_tasks_than_it_may_have_open_files(next_agent: HeldRunner, gate: int) -> None:
    agent, first_spawner = await mortal_agent(next_agent.work_dir, TASKS)
    await kill(agent, first_spawner)
    await poor_spawner(next_agent.work_dir)
    found = await next_agent.containerizer.start()
    assert len([each for each in found if each.running]) == TASKS
    open_gate(gate)
    await check_ends(next_agent, range(TASKS), known=False)


async def test_tasks_for_which_no_descriptor_is_left_may_start_elsewhere_and_all_others_run(
    next_agent: HeldRunner, gate: int
) -> None:
    await poor_spawner(next_agent.work_dir)
    try:
        await next_agent.containerizer.start()
    except Unavailable as error:
        was_not_run(str(error))
    for number in range(FEW_FILES):
        start_waiting(next_agent, number)
    await next_agent.until(lambda: len({each.task_id for each in next_agent.events}) == FEW_FILES)
    failed = [each for each in next_agent.events if isinstance(each, StartFailed)]
    assert 0 < len(failed) < FEW_FILES - 10
    reason = "no file descriptor is left for another task: raise the agent's limit of them"
    assert {(each.message, each.machine) for each in failed} == {(reason, True)}
    open_gate(gate)
    running = [number for number in range(FEW_FILES) if f"t{number}" not in {each.task_id for each in failed}]
    for number in running:
        end = await next_agent.exited(f"t{number}")
        assert end.exit_code == code_of(number)
    next_agent.start_task("last", "exit 5")
    assert (await next_agent.exited("last")).exit_code == 5


async def test_a_task_without_a_descriptor_for_its_memory_ends_for_its_memory(
    next_agent: HeldRunner, gate: int
) -> None:
    """Nothing tells the spawner of the end of the child at once, but it looks."""
    eat = "python3 -I -S -c 'bytearray(200 << 20)'"
    agent, first_spawner = await mortal_agent(next_agent.work_dir, FEW_FILES)
    await kill(agent)
    await next_agent.containerizer.start()
    for number in range(20):
        next_agent.start_task(f"eats{number}", f"flock -s {next_agent.work_dir}/lock true; ({eat}); exec sleep 1000")
    for number in range(20):
        await next_agent.started(f"eats{number}")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert soft > FEW_FILES
    await next_agent.containerizer.stop(kill_tasks=False)
    await kill(first_spawner)
    await poor_spawner(next_agent.work_dir)
    again = HeldRunner(next_agent.work_dir)
    await again.containerizer.start()
    open_gate(gate)
    for number in range(20):
        assert (await again.exited(f"eats{number}")).limit_kind == "memory"
    await again.containerizer.stop(kill_tasks=True, grace=0.0)
