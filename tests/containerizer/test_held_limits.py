"""The limits that a task names, on this machine's cgroups."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.limits import MB
from broker_mesos.containerizer.process.task_limits import task_limits
from broker_mesos.ports.containerizer import StartFailed, TaskNote
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import TIMEOUT, gone
from tests.containerizer.held import EAT, WAIT, HeldRunner

BUSY = "exec taskset -c {cpu} python3 -I -S -c 'while True: pass'"
SHARE = """exec python3 -I -S -c '
import time
wall, cpu = time.monotonic(), time.process_time()
while time.process_time() - cpu < 0.6: pass
print((time.process_time() - cpu) / (time.monotonic() - wall))'"""
BOMB = "(f() { f | f & }; f) 2> /dev/null & echo lit; exec sleep 1000"


def notes(held: HeldRunner, task_id: str) -> list[str]:
    return [each.text for each in held.of(task_id) if isinstance(each, TaskNote)]


async def usage(held: HeldRunner, *task_ids: str) -> list[float]:
    """The CPU seconds of tasks, as soon as all are known."""
    async with asyncio.timeout(TIMEOUT):
        while not all(held.containerizer.usage().get(each) for each in task_ids):
            await asyncio.sleep(0.01)  # an answer of the spawner has no event
        found = held.containerizer.usage()
        return [found[each][0] for each in task_ids]


async def failed(held: HeldRunner, task_id: str) -> StartFailed:
    end = await held.outcome(task_id)
    assert isinstance(end, StartFailed), end
    assert "\n" not in end.message
    return end


async def test_two_tasks_on_one_core_get_it_by_their_cpus(held: HeldRunner) -> None:
    cpu = min(os.sched_getaffinity(0))
    held.start_task("large", BUSY.format(cpu=cpu), cpus=3)
    held.start_task("small", BUSY.format(cpu=cpu), cpus=1)
    for each in ("large", "small"):
        await held.started(each)
    before = await usage(held, "large", "small")
    used = [0.0, 0.0]
    async with asyncio.timeout(TIMEOUT):
        while sum(used) < 4:
            await asyncio.sleep(0.1)  # the time of CPUs has no event
            used = [now - first for now, first in zip(await usage(held, "large", "small"), before, strict=True)]
    assert 2.7 < used[0] / used[1] < 3.3, used


async def test_a_cpu_limit_holds_while_cpus_are_idle(held: HeldRunner) -> None:
    if "quota" not in held.containerizer.isolation.words:
        was_not_run("this kernel has no CPU quota")
    held.start_task("a", SHARE, cpus=4, cpu_limit=0.2)
    assert (await held.exited("a")).exit_code == 0
    assert float((await held.lines("a", 1))[0]) < 0.25


async def test_a_fork_bomb_has_its_pids_and_ends_alone_and_leaves_nothing(held: HeldRunner) -> None:
    held.start_task("bomb", BOMB, memory=0, pids=64)
    await held.lines("bomb", 1)
    held.start_task("other", "exit 6")
    assert (await held.exited("other")).exit_code == 6
    async with asyncio.timeout(TIMEOUT):
        while not notes(held, "bomb"):
            held.containerizer.usage()  # with it the spawner looks at the counters
            await asyncio.sleep(0.02)
    held.containerizer.kill("bomb", 0.0)
    await held.exited("bomb")
    for text in notes(held, "bomb"):
        assert text.startswith("fork refused ") and text.endswith(" times at pids.max 64")
    assert len(notes(held, "bomb")) <= 12, "its rate is bounded"


async def test_a_task_that_was_refused_processes_has_a_note_of_it_when_it_ends(held: HeldRunner) -> None:
    held.start_task("a", "sleep 9 & sleep 9 & sleep 9 & exit 3", pids=2)
    await held.exited("a")
    assert len(notes(held, "a")) == 1 and notes(held, "a")[0].startswith("fork refused ")


async def test_resource_limits_are_those_that_the_task_names(held: HeldRunner) -> None:
    wanted = {"nofile": 321, "stack": 4 << 20, "core": 4096, "nproc": 5000}
    held.start_task("a", "ulimit -n; ulimit -Hn; ulimit -s; ulimit -c; ulimit -p", rlimits=wanted)
    held.start_task("b", "ulimit -c; ulimit -n")
    await held.exited("a")
    assert await held.lines("a", 5) == ["321", "321", "4096", "8", "5000"]
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    await held.exited("b")
    assert await held.lines("b", 2) == ["0", str(soft)]


async def test_a_resource_limit_above_the_agents_is_refused_with_the_figures(held: HeldRunner) -> None:
    held.start_task("a", "true", rlimits={"nofile": 1 << 40})
    end = await failed(held, "a")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert end.message == f"rlimit nofile {1 << 40} is above the agent's hard limit {hard}" and end.machine


async def test_a_task_that_ignores_it_outlives_the_end_of_a_child_for_memory(held: HeldRunner) -> None:
    held.start_task("a", f"{EAT}; echo $?; exit 0", oom="ignore")
    end = await held.exited("a")
    assert (end.exit_code, end.limit, await held.lines("a", 1)) == (0, "", ["137"])
    held.start_task("b", f"exec {EAT}", oom="ignore")
    assert (await held.exited("b")).limit_kind == "memory"


def pinned(held: HeldRunner) -> int:
    """How many CPUs tasks can be pinned to."""
    if "cpuset" not in held.containerizer.isolation.words:
        was_not_run("tasks cannot be pinned to CPUs here")
    return len(os.sched_getaffinity(0))


async def test_a_pinned_task_has_whole_cpus_and_no_other_one_gets_them(held: HeldRunner) -> None:
    count = pinned(held)
    held.start_task("a", f"taskset -pc $$; {WAIT}", pin=1)
    cpu = (await held.lines("a", 1))[0].rpartition(" ")[2]
    assert cpu.isdigit()
    held.start_task("b", "true", pin=count)
    end = await failed(held, "b")
    assert end.machine and end.message == f"cpuset: {count - 1} CPUs are free to pin here, the task wants {count}"
    held.go("a")
    await held.exited("a")
    held.start_task("c", "taskset -pc $$", pin=count)
    await held.exited("c")
    held.start_task("d", "taskset -pc $$")
    await held.exited("d")
    ranges = [(await held.lines(each, 1))[0].rpartition(" ")[2] for each in ("c", "d")]
    assert ranges[0] == ranges[1] != cpu or count == 1


async def test_the_next_spawner_knows_which_cpus_are_taken(held: HeldRunner) -> None:
    count = pinned(held)
    held.start_task("a", WAIT + "exit 7", pin=1)
    await held.started("a")
    before = held.containerizer.spawner_pid
    os.kill(before, signal.SIGKILL)
    await gone(before)
    held.start_task("b", "true", pin=count)
    assert (await failed(held, "b")).message.startswith(f"cpuset: {count - 1} CPUs are free")
    held.go("a")
    await held.exited("a")
    held.start_task("c", "exit 4", pin=count)
    assert (await held.exited("c")).exit_code == 4


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"pids": -1}, "pids is -1, and not between 0 and 4194304"),
        ({"pids": "many"}, "invalid literal for int"),
        ({"cpu_limit": 0.001}, "a limit of 0.001 CPUs is below 0.01, the least that the kernel takes"),
        ({"cpu_limit": -2}, "cpu_limit is -2, and not between"),
        ({"cpus": 1e300}, "cpus is 1e+300, and not between"),
        ({"memory": 1 << 80}, "memory is "),
        ({"pin": -3}, "pin is -3, and not between"),
        ({"rlimits": {"nofiles": 1}}, "rlimit 'nofiles' is not known here; known are as, core,"),
        ({"rlimits": {"nofile": -2}}, "rlimit nofile is -2, and not between"),
        ({"rlimits": [1]}, "'list' object has no attribute 'items'"),
        ({"oom": "perhaps"}, "oom is 'perhaps', and not kill or ignore"),
    ],
)
async def test_a_limit_that_is_none_is_refused_in_one_line_and_the_next_task_starts(
    held: HeldRunner, limits: dict[str, object], reason: str
) -> None:
    held.start_task("a", "true", **limits)  # type: ignore[arg-type]
    end = await failed(held, "a")
    assert reason in end.message and not end.machine
    held.start_task("b", "exit 5")
    assert (await held.exited("b")).exit_code == 5


def test_a_request_of_an_earlier_agent_has_the_default_limits() -> None:
    found = task_limits({"group": "g", "cpus": 2.0, "memory": 64 * MB, "idle": False})
    assert (found.limits.pids, found.limits.quota, found.pin, found.rlimits) == (4096, 0.0, 0, (("core", 0),))
    assert found.limits.ends_by_oom and found.limits.cpuset == ""


async def test_a_journal_with_limits_that_cannot_be_read_keeps_no_spawner_from_starting(held: HeldRunner) -> None:
    held.start_task("a", WAIT + "exit 7", pids=64)
    await held.started("a")
    before = held.containerizer.spawner_pid
    journal: Path = held.work_dir / "meta" / "tasks.journal"
    journal.write_text(journal.read_text().replace('"pids":64', '"pids":-64'))
    os.kill(before, signal.SIGKILL)
    await gone(before)
    held.start_task("b", "exit 5")
    assert (await held.exited("b")).exit_code == 5
    held.go("a")
    await held.exited("a")
