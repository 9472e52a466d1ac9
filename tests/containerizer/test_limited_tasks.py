"""Tasks that the kernel holds to limits, on this machine's cgroups."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import pytest

from broker_mesos.agent.running import RunningTask
from broker_mesos.containerizer.cgroups.limits import MB
from broker_mesos.containerizer.process.spawner_isolation import SpawnerIsolation
from broker_mesos.containerizer.task_users import find_task_users
from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.errors import Unavailable
from broker_mesos.ports.containerizer import LaunchSpec, StartFailed, TaskExited
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import Runner, gone, ticks
from tests.containerizer.held import EAT, WAIT, HeldRunner, cgroups_of, ended_while_nobody_is_there


async def test_a_task_that_uses_more_memory_than_was_stated_ends_with_the_figures_and_its_neighbour_goes_on(
    held: HeldRunner,
) -> None:
    held.start_task("neighbour", WAIT + "exit 5")
    held.start_task("large", EAT)
    end = await held.exited("large")
    assert end.limit_kind == "memory" and "used more than its mem:64 MB (peak 64 MB)" in end.limit
    assert end.memory_peak is not None and 60 * MB < end.memory_peak < 70 * MB and (end.cpu_seconds or 0) > 0
    assert end.measured_by == "cgroup"
    held.go("neighbour")
    assert (await held.exited("neighbour")).exit_code == 5


async def test_the_end_of_a_child_for_memory_is_the_end_of_the_task(held: HeldRunner) -> None:
    held.start_task("a", f"({EAT}) & wait; sleep 1000")
    assert (await held.exited("a")).limit_kind == "memory"


async def test_a_task_without_a_stated_memory_and_the_page_cache_of_one_with_it_end_nothing(
    held: HeldRunner, folder_on_disk: Path
) -> None:
    held.start_task("unstated", EAT, memory=0)
    held.start_task("cache", f"head -c 150M /dev/zero > {folder_on_disk}/x; exit 3")
    assert (await held.exited("unstated"))[1:3] == (0, None)
    end = await held.exited("cache")
    assert (end.exit_code, end.limit) == (3, "")


async def test_nothing_of_a_task_is_left_when_its_end_is_told(held: HeldRunner) -> None:
    daemon = "env -i setsid sleep 1000 & echo $!; (env -i setsid sleep 1000 & echo $!); exit 4"
    held.start_task("a", daemon)
    assert (await held.exited("a")).exit_code == 4
    pids = [int(each) for each in await held.lines("a", 2)]
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []


async def test_a_kill_takes_the_whole_cgroup_in_the_end(held: HeldRunner) -> None:
    held.start_task(
        "a", "trap '' TERM; env -i setsid sh -c \"trap '' TERM; echo \\$\\$; sleep 1000\" & sleep 1000; wait"
    )
    daemon = int((await held.lines("a", 1))[0])
    held.containerizer.kill("a", 0.2)
    assert (await held.exited("a")).signal == signal.SIGKILL
    assert not os.path.exists(f"/proc/{daemon}")


async def test_a_fork_bomb_stays_in_its_cgroup_and_is_ended(held: HeldRunner) -> None:
    held.start_task("bomb", "(f() { f | f & }; f) 2> /dev/null & echo lit; exec sleep 1000", memory=0, pids=32)
    await held.lines("bomb", 1)
    held.start_task("other", "exit 6")
    assert (await held.exited("other")).exit_code == 6
    held.containerizer.kill("bomb", 0.0)
    await held.exited("bomb")


async def test_a_spawner_that_is_killed_is_followed_by_one_that_tells_the_memory_of_its_tasks(held: HeldRunner) -> None:
    held.start_task("large", WAIT + EAT)
    held.start_task("small", WAIT + "exit 7")
    held.start_task("daemon", f"env -i setsid sleep 1000 & echo $!; {WAIT}exit 8")
    for each in ("large", "small", "daemon"):
        await held.started(each)
    (daemon,) = (int(each) for each in await held.lines("daemon", 1))
    before = held.containerizer.spawner_pid
    os.kill(before, signal.SIGKILL)
    await gone(before)
    held.start_task("new", "exit 9")
    assert (await held.exited("new")).exit_code == 9  # by the next spawner
    for each in ("large", "small", "daemon"):
        held.go(each)
    assert (await held.exited("large")).limit_kind == "memory"
    assert (await held.exited("small")).limit == ""
    await held.exited("daemon")
    assert not os.path.exists(f"/proc/{daemon}")


async def test_a_task_that_exceeds_its_memory_while_neither_agent_nor_spawner_is_there_ends_for_its_memory(
    held: HeldRunner,
) -> None:
    held.start_task("large", WAIT + EAT)
    assert (await ended_while_nobody_is_there(held, "large")).limit_kind == "memory"


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_task_ends_as_it_does_although_its_launcher_was_stopped_or_killed(
    held: HeldRunner, number: signal.Signals
) -> None:
    held.start_task("a", f"echo $PPID; {WAIT}exit 7")
    await held.started("a")
    launcher = int((await held.lines("a", 1))[0])
    os.kill(launcher, number)
    if number == signal.SIGKILL:
        await gone(launcher)
    held.go("a")
    assert (await held.exited("a")).exit_code == 7
    held.start_task("next", "exit 8")
    assert (await held.exited("next")).exit_code == 8


@pytest.mark.parametrize("turn", range(5))
async def test_a_task_that_kills_its_launcher_at_once_and_ends_has_its_own_exit_code(
    held: HeldRunner, turn: int
) -> None:
    # The report of its start was not sent then.
    held.start_task("a", "echo x; kill -KILL $PPID; exit 7")
    assert (await held.exited("a")).exit_code == 7
    assert await held.lines("a", 1) == ["x"]  # it has run once


async def test_a_task_that_lowers_the_limits_of_its_launcher_does_not_lower_those_of_the_next(held: HeldRunner) -> None:
    held.start_task("a", "prlimit --pid $PPID --nofile=7:7 && echo lowered")
    await held.exited("a")
    assert await held.lines("a", 1) == ["lowered"]
    held.start_task("b", "ulimit -Hn")
    await held.exited("b")
    assert int((await held.lines("b", 1))[0]) > 7


async def test_a_task_with_a_user_of_its_own_is_held_as_well_and_has_no_rights() -> None:
    if os.geteuid() != 0:
        pytest.skip("WAS NOT RUN: only root can start tasks as another user")
    with tempfile.TemporaryDirectory(prefix="bmesos-test-") as made:
        os.chmod(made, 0o711)
        users = find_task_users("nobody", [], allow_root=False)
        folder = Path(made, "work")
        users.open_folder(folder)
        runner = HeldRunner(folder, users)
        try:
            await runner.containerizer.start()
        except Unavailable as error:
            await runner.containerizer.stop(kill_tasks=True, grace=0.0)
            was_not_run(str(error))
        runner.start_task("a", "id -u; grep -E '^(CapPrm|CapBnd|NoNewPrivs)' /proc/self/status | cut -f2; " + EAT)
        end = await runner.exited("a")
        shown = runner.containerizer.sandboxes.read("a", "stdout", 0, 1000).data.split()
        await runner.containerizer.stop(kill_tasks=True, grace=0.0)
        assert cgroups_of(folder) == []
    assert end.limit_kind == "memory"
    assert shown == [str(users.default.ids.uid).encode(), b"0" * 16, b"0" * 16, b"1"]


async def test_a_launch_that_is_sent_twice_at_once_starts_one_task_in_one_cgroup(held: HeldRunner) -> None:
    held.containerizer._request(["hold", "nothing", "l"])  # the next two requests are handled together with this one
    request = held.containerizer._launch_request(LaunchSpec("a", ("echo x; exit 7",), True, {}, 1.0, group="f"))
    held.containerizer._request(request)
    held.start_task("a", "echo x; exit 7", memory=0)
    assert (await held.exited("a")).exit_code == 7
    assert await held.lines("a", 1) == ["x"]


async def test_a_program_that_is_not_there_is_no_task(held: HeldRunner) -> None:
    held.launch("a", "/no/such/program")
    end = await held.outcome("a")
    assert isinstance(end, StartFailed) and not end.machine
    assert "cannot start '/no/such/program'" in end.message


async def test_an_agent_without_isolation_takes_over_tasks_with_it(held: HeldRunner) -> None:
    held.start_task("a", WAIT + EAT)
    began = await held.started("a")
    started = ticks(began.pid)
    await held.containerizer.stop(kill_tasks=False)
    plain = Runner(held.work_dir)
    (found,) = await plain.containerizer.start()
    assert found.running and ticks(began.pid) == started
    held.go("a")
    end = await plain.outcome("a")
    assert isinstance(end, TaskExited) and end.limit_kind == "memory"
    plain.launch("b", "exit 3", shell=True)
    assert await plain.outcome("b")
    await plain.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_without_cgroups_an_agent_starts_only_if_it_need_not_hold_its_tasks() -> None:
    for level in ("auto", "limits"):
        made = SpawnerIsolation(level, 1.0, MB)
        assert made.request(5) is not None
        made.on_answer(["isolation", [], "no cgroups are mounted"])
        if level == "limits":
            with pytest.raises(Unavailable, match="isolation=limits is not possible here: no cgroups are mounted"):
                await made.answered()
        await asyncio.sleep(0)
        assert made.found.reason == "no cgroups are mounted"
        assert made.limits_of(LaunchSpec("a", ("true",), False, {}, 1.0)) is None
    assert SpawnerIsolation("none", 1.0, MB).request(5) is None


def test_a_task_that_was_ended_for_its_memory_has_failed_for_that_reason() -> None:
    task = RunningTask(AgentTask(task_id="a", framework_id="f", resources=Resources.parse("cpus:1")), 1.0)
    state, reason, message = task.outcome_of(TaskExited("a", 0, None, 0.0, "used more", "memory", 1.0, 1))
    assert (state, reason, message) == (TaskState.FAILED, Reason.MEMORY_LIMIT, "used more")
