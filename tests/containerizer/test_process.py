from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker_mesos.containerizer.process.launching import disk_is_full
from broker_mesos.ports.containerizer import StartFailed, TaskExited, TaskStarted
from tests.containerizer.conftest import MakeRunner, Runner, gone, processes_of


@pytest.mark.slow
async def test_two_thousand_short_tasks_are_each_reported_exactly_once(runner: Runner) -> None:
    ids = [f"t{i}" for i in range(2000)]
    for task_id in ids:
        runner.launch(task_id, "/bin/true")
    await runner.until(lambda: sum(isinstance(e, TaskExited) for e in runner.events) >= len(ids))
    started = [e.task_id for e in runner.events if isinstance(e, TaskStarted)]
    exited = [e for e in runner.events if isinstance(e, TaskExited)]
    assert sorted(started) == sorted(ids)
    assert sorted(e.task_id for e in exited) == sorted(ids)
    assert {(e.exit_code, e.signal) for e in exited} == {(0, None)}


async def test_a_start_is_told_before_its_end(runner: Runner) -> None:
    runner.launch("a", "/bin/true")
    await runner.outcome("a")
    assert [type(e) for e in runner.of("a")] == [TaskStarted, TaskExited]


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_codes_are_reported(runner: Runner, code: int) -> None:
    runner.launch("a", f"exit {code}", shell=True)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited)
    assert (outcome.exit_code, outcome.signal) == (code, None)


async def test_the_signal_that_ended_a_task_is_reported(runner: Runner) -> None:
    runner.launch("a", "kill -SEGV $$", shell=True)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited)
    assert (outcome.exit_code, outcome.signal) == (None, signal.SIGSEGV)


EATS = "python3 -I -S -c 'bytearray(150 << 20); sum(range(1_000_000))'"


async def test_what_a_task_without_a_cgroup_has_used_is_that_of_its_main_process_and_the_children_it_waited_for(
    runner: Runner, folder_on_disk: Path
) -> None:
    runner.launch("waited", f"{EATS}; head -c 8M /dev/zero > {folder_on_disk}/x; true", shell=True)
    runner.launch("left", f"{EATS} & until test -e go; do sleep 0.02; done", shell=True)
    runner.launch("small", "true")
    found = await runner.outcome("waited")
    assert isinstance(found, TaskExited) and found.measured_by == "wait"
    assert found.cpu_seconds is not None and found.cpu_seconds > 0
    assert found.memory_peak is not None and 150 << 20 < found.memory_peak < 250 << 20
    assert found.io_read is not None and 8 << 20 <= found.io_written < 9 << 20
    runner.file("left", "go").touch()
    left, small = await runner.outcome("left"), await runner.outcome("small")
    assert isinstance(left, TaskExited) and isinstance(small, TaskExited)
    # Nobody has waited for it, so that it is not counted; and a smaller peak than that of the spawner is not known.
    assert (left.measured_by, left.memory_peak, small.memory_peak) == ("wait", None, None)


async def test_what_a_task_has_used_outlives_agent_and_spawner(work_dir: Path, make_runner: MakeRunner) -> None:
    runner = make_runner()
    await runner.containerizer.start()
    runner.launch("a", f"{EATS}; exit 3", shell=True)
    first = await runner.outcome("a")
    spawner = runner.containerizer.spawner_pid
    await runner.containerizer.stop(kill_tasks=False)
    await gone(spawner)
    again = make_runner()
    (found,) = await again.containerizer.start()
    assert found.exited == first and isinstance(first, TaskExited) and first.memory_peak is not None
    await again.containerizer.stop(kill_tasks=True)


async def test_output_goes_to_the_sandbox_which_is_the_working_folder(runner: Runner) -> None:
    runner.launch("a", "pwd; echo bad >&2; cat", shell=True)
    await runner.outcome("a")
    sandbox = runner.work_dir / "sandboxes" / "a"
    assert (sandbox / "stdout").read_text() == f"{sandbox}\n"
    chunk = await runner.containerizer.read("a", "stderr", 0, 100)
    assert (chunk.data, chunk.offset, chunk.size) == (b"bad\n", 0, 4)


async def test_a_task_sees_a_small_environment_and_what_was_given(
    work_dir: Path, make_runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMESOS_BROKER_URL", "amqp://secret")
    runner = make_runner()
    await runner.containerizer.start()
    runner.launch("a", "env", GREETING="hello world", BMESOS_JOB_ID="j")
    await runner.outcome("a")
    seen = dict(line.split("=", 1) for line in runner.file("a", "stdout").read_text().splitlines())
    assert seen["GREETING"] == "hello world" and seen["BMESOS_JOB_ID"] == "j" and seen["BMESOS_TASK_ID"] == "a"
    assert seen["BMESOS_SANDBOX"] == str(work_dir / "sandboxes" / "a")
    assert seen["PATH"] and "BMESOS_BROKER_URL" not in seen
    await runner.containerizer.stop(kill_tasks=True)


async def test_a_task_starts_with_default_signals_and_no_stray_files(runner: Runner) -> None:
    runner.launch("a", "ls -l /proc/self/fd; grep -E 'Sig(Ign|Blk)' /proc/self/status", shell=True)
    await runner.outcome("a")
    text = runner.file("a", "stdout").read_text()
    masks = [int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Sig")]
    glibc = 0x180000000  # signals 32 and 33 are its own
    assert [mask & ~glibc for mask in masks] == [0, 0]
    assert "/dev/null" in text and "socket" not in text and "spawner" not in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("/no/such/program",), "No such file"),
        (("no-such-program",), "No such program in PATH"),
        (("/etc/passwd",), "Permission denied"),
        (("x" * 300,), ""),
        (("/bin/echo", "x" * 3_000_000), "Argument list too long"),
        ((), "no command"),
        (("/bin/echo", "a\0b"), "NUL"),
    ],
)
async def test_what_cannot_be_started_fails_with_one_line(runner: Runner, argv: tuple[str, ...], message: str) -> None:
    runner.launch("a", *argv)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, StartFailed)
    assert message in outcome.message and "\n" not in outcome.message and not outcome.machine
    runner.launch("b", "true")  # nobody was harmed
    assert isinstance(await runner.outcome("b"), TaskExited)


async def test_a_sandbox_that_is_not_a_folder_fails_the_start(runner: Runner) -> None:
    (runner.work_dir / "sandboxes" / "a").write_text("in the way")
    runner.launch("a", "true")
    outcome = await runner.outcome("a")
    assert isinstance(outcome, StartFailed) and "sandbox" in outcome.message and outcome.machine


@pytest.mark.parametrize("task_id", ["", "../a", "a/b", ".hidden", "a b", "x" * 256])
async def test_an_unusable_task_id_fails_the_start(runner: Runner, task_id: str) -> None:
    runner.launch(task_id, "true")
    outcome = await runner.outcome(task_id)
    assert isinstance(outcome, StartFailed)


async def test_programs_are_found_by_the_path_of_the_task(runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "mine").write_text("#!/bin/sh\necho mine\n")
    (folder / "mine").chmod(0o755)
    runner.launch("a", "mine", PATH=f"/nowhere:{folder}")
    await runner.outcome("a")
    assert runner.file("a", "stdout").read_text() == "mine\n"


async def test_a_kill_ends_a_tree_that_ignores_sigterm_and_left_its_session(runner: Runner) -> None:
    stubborn = "trap '' TERM; echo $$; while :; do /bin/sleep 1000; done"
    script = f"""
        trap '' TERM
        sh -c "{stubborn.replace("$", chr(92) + "$")}" &
        setsid sh -c "{stubborn.replace("$", chr(92) + "$")}" &
        (setsid env -u BMESOS_TASK_ID sh -c "{stubborn.replace("$", chr(92) + "$")}" &)
        wait
    """
    runner.launch("a", script, shell=True)
    runner.launch("bystander", "echo here; exec sleep 1000", shell=True)
    started = await runner.started("a")
    pids = [int(line) for line in await runner.lines("a", 3)]
    await runner.lines("bystander", 1)
    runner.containerizer.kill("a", 0.2)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.signal == signal.SIGKILL
    await gone(started.pid, *pids)
    assert not isinstance(runner.of("bystander")[-1], TaskExited)


async def test_sigterm_is_enough_for_those_who_listen(runner: Runner) -> None:
    runner.launch("a", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done", shell=True)
    await runner.lines("a", 1)
    runner.containerizer.kill("a", 1000.0)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and (outcome.exit_code, outcome.signal) == (3, None)
    assert (await runner.lines("a", 2))[1] == "bye"


async def test_children_have_the_grace_too_when_the_main_process_ends_at_once(runner: Runner) -> None:
    child = "trap 'sleep 0.3; echo saved; exit' TERM; echo ready; while :; do sleep 0.01; done"
    runner.launch("a", f'(setsid sh -c "{child}" &); exec sleep 1000', shell=True)
    await runner.lines("a", 1)
    runner.containerizer.kill("a", 20.0)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.signal == signal.SIGTERM
    assert runner.file("a", "stdout").read_text() == "ready\nsaved\n"


async def test_a_second_kill_shortens_the_grace(runner: Runner) -> None:
    runner.launch("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done", shell=True)
    await runner.lines("a", 1)
    runner.containerizer.kill("a", 1000.0)
    runner.containerizer.kill("a", 0.0)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.signal == signal.SIGKILL


async def test_a_kill_right_behind_the_launch_ends_it_once(runner: Runner) -> None:
    runner.launch("a", "sleep", "1000")
    runner.containerizer.kill("a", 5.0)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.signal == signal.SIGTERM
    runner.containerizer.kill("a", 0.0)
    runner.containerizer.kill("nobody", 0.0)
    runner.launch("b", "true")
    await runner.outcome("b")
    assert len(runner.of("a")) == 2


async def test_a_stopped_task_can_be_killed_softly(runner: Runner) -> None:
    runner.launch("a", "trap 'exit 5' TERM; echo ready; kill -STOP $$; exit 6", shell=True)
    await runner.lines("a", 1)
    runner.containerizer.kill("a", 1000.0)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 5


async def test_the_end_of_a_task_ends_what_it_left_behind(runner: Runner) -> None:
    runner.launch("other", "exec sleep 1000", shell=True)
    runner.launch(
        "a",
        "sleep 1000 & echo $!; setsid sh -c 'echo $$ > deep; exec sleep 1000' & "
        "until [ -s deep ]; do sleep 0.01; done; cat deep; exit 4",
        shell=True,
    )
    pids = [int(line) for line in await runner.lines("a", 2)]
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 4
    await gone(*pids)
    assert len(runner.of("other")) == 1


async def test_a_daemon_of_a_running_task_is_left_alone_by_the_end_of_another(runner: Runner) -> None:
    runner.launch("a", "(setsid sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000", shell=True)
    pid = int((await runner.lines("a", 1))[0])
    for i in range(20):
        runner.launch(f"t{i}", "true")
        await runner.outcome(f"t{i}")
    os.kill(pid, 0)
    assert Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "SR"


async def test_a_repeated_launch_of_a_living_task_starts_nothing(runner: Runner) -> None:
    runner.launch("a", "echo once; exec sleep 1000", shell=True)
    await runner.lines("a", 1)
    runner.launch("a", "echo twice", shell=True)
    runner.launch("b", "true")
    await runner.outcome("b")
    assert runner.file("a", "stdout").read_text() == "once\n" and len(runner.of("a")) == 1


async def test_a_hundred_tasks_are_killed_together(runner: Runner) -> None:
    for i in range(100):
        runner.launch(f"t{i}", "sleep", "1000")
    await runner.until(lambda: len(runner.events) == 100)
    for i in range(100):
        runner.containerizer.kill(f"t{i}", 10.0)
    await runner.until(lambda: len(runner.events) == 200)
    assert {e.signal for e in runner.events if isinstance(e, TaskExited)} == {signal.SIGTERM}


async def test_usage_counts_the_whole_tree(runner: Runner) -> None:
    burn = f"exec {sys.executable} -c 'x = b\"x\" * 60_000_000\nwhile True: pass'"
    runner.launch("a", f"echo; {burn} & wait", shell=True)
    await runner.started("a")
    async with asyncio.timeout(90):
        while True:
            usage = runner.containerizer.usage().get("a")
            if usage is not None and usage.cpu_seconds > 0.1 and usage.rss_bytes > 50_000_000:
                break
            await asyncio.sleep(0.02)


async def test_stop_with_kill_leaves_nothing_behind(work_dir: Path, make_runner: MakeRunner) -> None:
    runner = make_runner()
    await runner.containerizer.start()
    runner.launch("a", "(setsid sleep 1000 &); trap '' TERM; echo ready; while :; do sleep 0.01; done", shell=True)
    runner.launch("b", "sleep", "1000")
    await runner.lines("a", 1)
    await runner.started("b")
    await runner.containerizer.stop(kill_tasks=True, grace=0.2)
    assert isinstance(await runner.outcome("a"), TaskExited)
    assert isinstance(await runner.outcome("b"), TaskExited)
    assert processes_of(work_dir) == []


async def test_stop_with_kill_ends_even_a_daemon_with_an_emptied_environment(
    work_dir: Path, make_runner: MakeRunner
) -> None:
    runner = make_runner()
    await runner.containerizer.start()
    runner.launch("a", "(env -i setsid sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000", shell=True)
    pid = int((await runner.lines("a", 1))[0])
    await runner.containerizer.stop(kill_tasks=True)
    await gone(pid)


async def test_a_spawner_without_tasks_ends_with_its_agent(work_dir: Path, make_runner: MakeRunner) -> None:
    runner = make_runner()
    await runner.containerizer.start()
    runner.launch("a", "true")
    await runner.outcome("a")
    await runner.containerizer.stop(kill_tasks=False)
    await gone(runner.containerizer.spawner_pid)


async def test_a_long_work_folder_works(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    runner = Runner(deep)
    await runner.containerizer.start()
    runner.launch("a", "true")
    await runner.outcome("a")
    await runner.containerizer.stop(kill_tasks=True)


@pytest.mark.parametrize(
    ("blocks", "files", "says"),
    [
        ((10, 4096), (1000, 500), "space"),
        ((260_000, 4096), (1000, 500), "1,024 MB are kept free"),
        ((10**6, 4096), (1000, 2), "2 more files"),
        ((10**6, 4096), (0, 0), ""),
    ],
)
def test_a_folder_without_room_for_bytes_or_files_is_known_before_something_starts(
    monkeypatch: pytest.MonkeyPatch, blocks: tuple[int, int], files: tuple[int, int], says: str
) -> None:
    """A file system that makes files as they are needed says that it has none."""
    found = SimpleNamespace(
        f_blocks=10**8, f_bfree=0, f_bavail=blocks[0], f_frsize=blocks[1], f_files=files[0], f_favail=files[1]
    )
    monkeypatch.setattr(os, "statvfs", lambda folder: found)
    assert says in disk_is_full("/anywhere") and bool(disk_is_full("/anywhere")) == bool(says)


async def test_arguments_with_every_kind_of_quote_arrive_as_they_are(runner: Runner) -> None:
    odd = [
        "it's",
        'say "x"',
        "a\\b",
        "$HOME `id` $(id)",
        "",
        " two  blanks ",
        "*",
        "-n",
        "ä漢",
        "tab\there",
        "#;&|<>!{}~%",
    ]
    runner.launch("a", "/usr/bin/printf", "[%s]\\n", *odd)
    assert await runner.lines("a", len(odd)) == [f"[{each}]" for each in odd]
