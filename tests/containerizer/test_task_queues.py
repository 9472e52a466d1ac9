"""Tasks in line: each starts in the moment in which one before it has ended, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from broker_mesos.containerizer.process.task_queues import QueuedTasks
from broker_mesos.ports.containerizer import LaunchSpec, StartFailed, TaskExited, TaskStarted
from tests.containerizer.conftest import MakeRunner, Runner, gone, processes_of
from tests.containerizer.test_recovery import release, waits


def lined(runner: Runner, task_id: str, command: str, width: int = 0, line: str = "l") -> None:
    runner.containerizer.launch(LaunchSpec(task_id, (command,), True, {}, 1.0, (), line, width))


def order(runner: Runner) -> list[str]:
    return [
        f"{'+' if isinstance(each, TaskStarted) else '-'}{each.task_id}"
        for each in runner.events
        if not isinstance(each, StartFailed)
    ]


def request(task_id: str, width: int, line: str = "l") -> list:
    return ["launch", task_id, ["true"], {}, line, width]


def test_a_line_lets_so_many_go_on_and_keeps_the_rest() -> None:
    turns = QueuedTasks()
    assert turns.enter(request("t1", 0)) and turns.enter(request("t2", 0))
    assert not turns.enter(request("t3", 2)) and not turns.enter(request("t4", 2))
    assert "t3" in turns and turns.leave("l") == request("t3", 0)
    assert turns.enter(request("t3", 0))
    assert turns.withdraw("t4") and not turns.withdraw("t4") and not turns
    assert turns.leave("l") is None


def test_one_that_comes_after_an_end_it_was_to_wait_for_goes_on() -> None:
    turns = QueuedTasks()
    turns.enter(request("t1", 0))
    turns.enter(request("t2", 0))
    assert turns.leave("l") is None
    assert turns.enter(request("t3", 2))
    assert not turns.enter(request("t4", 2))


def test_a_launch_of_an_old_agent_is_of_no_line() -> None:
    assert QueuedTasks().enter(["launch", "t1", ["true"], {}])


async def test_one_at_a_time_and_in_their_order(runner: Runner) -> None:
    for at in range(20):
        lined(runner, f"t{at}", "true", width=int(at > 0))
    await runner.outcome("t19")
    assert order(runner) == [f"{sign}t{at}" for at in range(20) for sign in "+-"]


async def test_two_lines_do_not_wait_for_each_other(runner: Runner, work_dir: Path) -> None:
    lined(runner, "a1", waits(work_dir, "a1"))
    lined(runner, "b1", "true", line="other")
    lined(runner, "a2", "true", width=1)
    lined(runner, "b2", "true", width=1, line="other")
    await runner.outcome("b2")
    assert not runner.of("a2")
    await release(work_dir, "a1")
    await runner.outcome("a2")


async def test_one_that_cannot_start_gives_its_turn_to_the_next(runner: Runner) -> None:
    runner.containerizer.launch(LaunchSpec("t0", ("/no/such/program",), False, {}, 1.0, (), "l", 0))
    runner.containerizer.launch(LaunchSpec("t1", ("/no/such/program",), False, {}, 1.0, (), "l", 1))
    lined(runner, "t2", "exit 3", width=1)
    assert isinstance(await runner.outcome("t1"), StartFailed)
    outcome = await runner.outcome("t2")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 3


async def test_one_that_waits_is_killed_or_withdrawn_and_never_starts(runner: Runner, work_dir: Path) -> None:
    lined(runner, "t0", waits(work_dir, "t0"))
    for at in (1, 2, 3):
        lined(runner, f"t{at}", "true", width=1)
    runner.containerizer.kill("t1", 1.0)
    runner.containerizer.withdraw("t2")
    assert isinstance(await runner.outcome("t1"), StartFailed)
    assert isinstance(await runner.outcome("t2"), StartFailed)
    runner.containerizer.withdraw("t0")  # too late: it runs
    await release(work_dir, "t0")
    await runner.outcome("t3")
    assert order(runner) == ["+t0", "-t0", "+t3", "-t3"]


async def test_a_killed_tasks_turn_ends_with_the_last_of_its_tree(runner: Runner) -> None:
    lined(runner, "t0", "trap '' TERM; echo on; sleep 1000 & wait; wait")
    lined(runner, "t1", "true", width=1)
    await runner.lines("t0", 1)
    runner.containerizer.kill("t0", 0.2)
    await runner.outcome("t1")
    assert order(runner) == ["+t0", "-t0", "+t1", "-t1"]


async def test_a_line_goes_on_under_the_next_spawner_and_no_wider(runner: Runner, work_dir: Path) -> None:
    lined(runner, "t0", waits(work_dir, "t0"))
    lined(runner, "t1", "true", width=1)
    lined(runner, "t2", "true", width=1)
    await runner.started("t0")
    spawner = runner.containerizer.spawner_pid
    os.kill(spawner, signal.SIGKILL)
    await gone(spawner)
    lined(runner, "t3", "true", width=1)
    await release(work_dir, "t0")
    await runner.outcome("t3")
    assert [each for each in order(runner) if each[0] == "+"] == ["+t0", "+t1", "+t2", "+t3"]
    assert order(runner).index("-t0") < order(runner).index("+t1")
    assert runner.containerizer.spawner_pid != spawner


async def test_the_next_agent_finds_none_of_those_that_waited(work_dir: Path, make_runner: MakeRunner) -> None:
    first = make_runner()
    await first.containerizer.start()
    lined(first, "t0", waits(work_dir, "t0"))
    lined(first, "t1", "true", width=1)
    await first.started("t0")
    await first.containerizer.stop(kill_tasks=False)
    second = make_runner()
    assert [each.task_id for each in await second.containerizer.start()] == ["t0"]
    await release(work_dir, "t0")
    await second.outcome("t0")
    assert not second.of("t1") and not (work_dir / "sandboxes" / "t1").exists()
    await second.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_an_agent_that_ends_its_tasks_starts_no_other(work_dir: Path, make_runner: MakeRunner) -> None:
    runner = make_runner()
    await runner.containerizer.start()
    lined(runner, "t0", "sleep 1000")
    lined(runner, "t1", "true", width=1)
    await runner.started("t0")
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)
    assert not processes_of(work_dir) and not runner.of("t1")
