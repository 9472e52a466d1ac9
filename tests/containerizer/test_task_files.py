"""Where a task runs, what it reads, and further names of what it writes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from broker_mesos.containerizer.process import containerizer as module
from broker_mesos.containerizer.process.output_limits import MIN_OUTPUT_BYTES, Limits
from broker_mesos.containerizer.process.task_queues import QueuedTasks
from broker_mesos.ports.containerizer import LaunchSpec, StartFailed, TaskExited
from tests.containerizer.conftest import MakeRunner, Runner


async def run(runner: Runner, command: str, **options: Any) -> TaskExited | StartFailed:
    runner.containerizer.launch(LaunchSpec("a", (command,), True, {}, 1.0, **options))
    return await runner.outcome("a")


async def output(runner: Runner, command: str, **options: Any) -> str:
    outcome = await run(runner, command, **options)
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 0
    return runner.file("a", "stdout").read_text()


async def test_a_task_runs_in_a_folder_of_the_machine_and_writes_to_its_sandbox(runner: Runner) -> None:
    folder = runner.work_dir / "data"
    folder.mkdir()
    assert await output(runner, "pwd; ls", directory=str(folder)) == f"{folder}\n"


async def test_a_folder_in_the_sandbox_is_made(runner: Runner) -> None:
    assert await output(runner, "pwd", directory="build/x") == f"{runner.file('a', 'build/x')}\n"


async def test_a_missing_folder_fails_the_task_and_not_the_machine(runner: Runner) -> None:
    outcome = await run(runner, "true", directory="/no/such")
    assert isinstance(outcome, StartFailed) and not outcome.machine
    assert outcome.message == "cannot start '/bin/sh': its working directory /no/such: No such file or directory"


async def test_a_task_reads_its_input_whatever_its_bytes_are(runner: Runner) -> None:
    data = bytes(range(256)) * 100
    await output(runner, "cat > copy", stdin=data)
    assert runner.file("a", "copy").read_bytes() == data


async def test_a_task_without_input_reads_nothing(runner: Runner) -> None:
    assert await output(runner, "wc -c", directory=str(runner.work_dir)) == "0\n"


async def test_a_queued_task_keeps_its_folder_and_its_input(runner: Runner) -> None:
    runner.containerizer.launch(LaunchSpec("first", ("sleep 0.1",), True, {}, 1.0, queue="l"))
    assert await output(runner, "pwd; cat", queue="l", width=1, directory="/", stdin=b"x") == "/\nx"


def test_a_queued_launch_keeps_its_options() -> None:
    held = QueuedTasks()
    held.enter(["launch", "t1", ["true"], {}, "l", 0])
    held.enter(["launch", "t2", ["true"], {}, "l", 1, {"stdin": True}])
    assert held.leave("l") == ["launch", "t2", ["true"], {}, "l", 0, {"stdin": True}]


async def test_output_files_have_further_names_below_the_sandbox(runner: Runner) -> None:
    names = (("stdout", "out/a.txt"), ("stderr", "err"))
    assert await output(runner, "echo good; echo bad >&2", outputs=names) == "good\n"
    assert runner.file("a", "out/a.txt").read_text() == "good\n"
    assert runner.file("a", "err").read_text() == runner.file("a", "stderr").read_text() == "bad\n"


async def test_a_file_with_another_name_is_under_the_limit_of_output(make_runner: MakeRunner) -> None:
    runner = make_runner(limits=Limits(MIN_OUTPUT_BYTES, 0))  # type: ignore[arg-type]
    await runner.containerizer.start()
    spec = LaunchSpec("a", ("exec cat /dev/zero",), True, {}, 1.0, outputs=(("stdout", "named"),))
    runner.containerizer.launch(spec)
    await runner.until_file("a", "named", lambda found: found.st_size > found.st_blocks * 512)
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


@pytest.mark.parametrize("name", ["../a.txt", "/tmp/a.txt", "stderr"])
async def test_a_name_out_of_the_sandbox_fails_the_task(runner: Runner, name: str) -> None:
    outcome = await run(runner, "true", outputs=(("stdout", name),))
    assert isinstance(outcome, StartFailed) and not outcome.machine


async def test_a_name_behind_a_volume_fails_the_task(runner: Runner) -> None:
    outcome = await run(runner, "true", volumes=(("data", "v1"),), outputs=(("stdout", "data/out.txt"),))
    assert isinstance(outcome, StartFailed) and "would be in a volume" in outcome.message
    assert not os.listdir(runner.work_dir / "volumes" / "v1")


async def test_two_outputs_with_one_name_fail_the_task(runner: Runner) -> None:
    outcome = await run(runner, "true", outputs=(("stdout", "x"), ("stderr", "x")))
    assert isinstance(outcome, StartFailed) and "File exists" in outcome.message


async def test_a_spawner_of_an_earlier_release_is_not_given_what_it_would_ignore(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.containerizer, "_version", 2)
    outcome = await run(runner, "true", stdin=b"x")
    assert outcome == StartFailed("a", module.OLD_SPAWNER, machine=True)
