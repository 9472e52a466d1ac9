"""Tasks that somebody has moved out of their cgroup, which a service manager may do."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

from broker_mesos.containerizer.cgroups.mounts import hierarchies
from broker_mesos.containerizer.process.stray_tasks import MAX_TASKS
from broker_mesos.ports.containerizer import TaskNote
from tests.containerizer.conftest import TIMEOUT
from tests.containerizer.held import EAT, WAIT, HeldRunner, cgroups_of
from tests.servers import wait_stopped


def places(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cgroup").read_text().splitlines()


def groups(held: HeldRunner) -> list[Path]:
    """The folders of the cgroups that have tasks or launchers."""
    return [group for base in cgroups_of(held.work_dir) for group in base.iterdir() if group.is_dir()]


def move_out(held: HeldRunner, folders: list[Path]) -> None:
    """Move all processes of some cgroups to that of this process, as far up as it is mounted."""
    for folder in folders:
        top = next(each.mounted for each in hierarchies() if str(folder).startswith(f"{each.mounted}/"))
        # A process that is moved may have forked since its cgroup was read: the child is moved next.
        while pids := (folder / "cgroup.procs").read_text().split():
            for pid in pids:
                try:
                    Path(top, "cgroup.procs").write_text(pid)
                except ProcessLookupError:
                    pass  # it has ended since


def taken_away(held: HeldRunner) -> bool:
    """Remove all cgroups of the tasks. Returns whether that is done: a launcher that was just forked may still join its
    own, and the kernel keeps one for a moment after its last process."""
    move_out(held, groups(held))
    for base in cgroups_of(held.work_dir):
        for folder in [*(each for each in base.iterdir() if each.is_dir()), base]:
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.02)  # the kernel reports no change of cgroups


def hierarchies_of(held: HeldRunner) -> int:
    """In how many hierarchies a task is that is not pinned."""
    return len({each.parts[4] for each in cgroups_of(held.work_dir)} - {"cpuset"})


async def inside(pid: int, count: int) -> None:
    await until(lambda: sum("/bmesos-" in line for line in places(pid)) == count)


async def test_a_task_that_was_moved_out_of_its_cgroup_is_moved_back_and_that_is_said_once(held: HeldRunner) -> None:
    held.start_task("a", f"sleep 1000 & {WAIT}{EAT}; exit 3")
    main = (await held.started("a")).pid
    folders = [each for each in groups(held) if str(main) in (each / "cgroup.procs").read_text().split()]
    await inside(main, hierarchies_of(held))
    move_out(held, folders)
    await inside(main, hierarchies_of(held))
    await until(lambda: len(held.containerizer.problems) == 1)
    (problem,) = held.containerizer.problems
    assert problem.startswith("task a was found outside of its cgroup, in /")
    assert problem.endswith("; it was moved back")
    notes = [each.text for each in held.of("a") if isinstance(each, TaskNote)]
    assert [f"task a was {text}" for text in notes] == [problem]
    held.go("a")
    assert (await held.exited("a")).limit_kind == "memory"
    await until(lambda: held.containerizer.problems == ())


async def test_a_cgroup_that_was_taken_away_is_made_again_for_its_task_and_for_the_next_ones(held: HeldRunner) -> None:
    held.start_task("a", WAIT + EAT)
    main = (await held.started("a")).pid
    count = hierarchies_of(held)
    os.kill(held.containerizer.spawner_pid, signal.SIGSTOP)
    wait_stopped(held.containerizer.spawner_pid)
    await until(lambda: taken_away(held))
    os.kill(held.containerizer.spawner_pid, signal.SIGCONT)
    await inside(main, count)
    held.start_task("b", EAT)
    assert (await held.exited("b")).limit_kind == "memory"
    held.go("a")
    assert (await held.exited("a")).limit_kind == "memory"


async def test_one_task_among_many_is_found_in_the_end(held: HeldRunner) -> None:
    names = [f"t{number}" for number in range(MAX_TASKS + 8)]
    for name in names:
        held.start_task(name, "exec sleep 1000")
    mains = [(await held.started(name)).pid for name in names]
    last = str(mains[-1])
    move_out(held, [each for each in groups(held) if last in (each / "cgroup.procs").read_text().split()])
    await until(lambda: len(held.containerizer.problems) == 1)
    assert held.containerizer.problems[0].startswith(f"task {names[-1]} was found outside")
    await inside(mains[-1], hierarchies_of(held))
    for pid in mains:
        assert any("/bmesos-" in line for line in places(pid))
