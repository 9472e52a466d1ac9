from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import sys
from pathlib import Path

import pytest

from broker_mesos.containerizer.process import spawner
from broker_mesos.containerizer.process.journal import Entry, Journal, load
from broker_mesos.ports.containerizer import StartFailed, TaskExited, TaskStarted
from tests.containerizer.conftest import MakeRunner, Runner, gone, processes_of, ticks

AGENT = """
import asyncio, sys
from pathlib import Path
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.ports.containerizer import LaunchSpec

async def main():
    started = asyncio.Queue()
    note = lambda events: [started.put_nowait(event) for event in events]
    containerizer = ProcessContainerizer(Path(sys.argv[1]), note)
    await containerizer.start()
    for number, command in enumerate(sys.argv[2:]):
        containerizer.launch(LaunchSpec(f"t{number}", (command,), True, {}, 1.0))
    for _ in sys.argv[2:]:
        event = await started.get()
        print(event.task_id, event.pid, containerizer.spawner_pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def dead_agent(work_dir: Path, *commands: str) -> tuple[dict[str, int], int]:
    """Runs an agent that launches commands and is killed; returns pids by task id, and the spawner's."""
    root = Path(__file__).parents[2]
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT, str(work_dir), *commands, stdout=asyncio.subprocess.PIPE, cwd=root
    )
    assert agent.stdout is not None
    pids, spawner = {}, 0
    for _ in commands:
        task_id, pid, spawner_pid = (await asyncio.wait_for(agent.stdout.readline(), 30)).decode().split()
        pids[task_id], spawner = int(pid), int(spawner_pid)
    agent.kill()
    await agent.wait()
    return pids, spawner


async def release(work_dir: Path, name: str) -> None:
    """Lets a task go on that `waits`, as soon as it does."""

    def write() -> None:
        with open(work_dir / name, "w") as pipe:  # waits for the reader
            pipe.write("go\n")

    await asyncio.wait_for(asyncio.to_thread(write), 30)


def waits(work_dir: Path, name: str) -> str:
    """Shell text that waits for `release`."""
    os.mkfifo(work_dir / name)
    return f"read go < {work_dir / name}"


async def test_tasks_outlive_a_killed_agent_and_the_next_one_learns_their_exit_codes(
    work_dir: Path, make_runner: MakeRunner
) -> None:
    early, late = waits(work_dir, "early"), waits(work_dir, "late")
    pids, spawner = await dead_agent(work_dir, f"{early}; exit 7", f"{late}; exit 8")
    await release(work_dir, "early")
    await gone(pids["t0"])

    runner = make_runner()
    recovered = {r.task_id: r for r in await runner.containerizer.start()}
    assert runner.containerizer.spawner_pid == spawner
    assert set(recovered) == {"t0", "t1"} and recovered["t1"].running and recovered["t1"].started_at > 0
    ended = recovered["t0"].exited or await runner.outcome("t0")
    assert isinstance(ended, TaskExited) and (ended.exit_code, ended.signal) == (7, None)
    await release(work_dir, "late")
    outcome = await runner.outcome("t1")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 8
    assert [type(e) for e in runner.of("t1")] == [TaskExited]
    await runner.containerizer.stop(kill_tasks=True)


async def test_an_outcome_is_told_again_until_it_is_forgotten(work_dir: Path, make_runner: MakeRunner) -> None:
    first = make_runner()
    await first.containerizer.start()
    for task_id in ("a", "b"):
        first.launch(task_id, "exit 9", shell=True)
        await first.outcome(task_id)
    first.launch("c", "/no/such/program")
    await first.outcome("c")
    first.containerizer.forget("a")
    await first.containerizer.stop(kill_tasks=False)
    await gone(first.containerizer.spawner_pid)

    second = make_runner()
    recovered = await second.containerizer.start()
    assert [(r.task_id, r.running, r.exited and r.exited.exit_code) for r in recovered] == [("b", False, 9)]
    assert isinstance(await second.outcome("c"), StartFailed)
    second.containerizer.forget("b")
    second.containerizer.forget("c")
    await second.containerizer.stop(kill_tasks=False)
    await gone(second.containerizer.spawner_pid)

    third = make_runner()
    assert await third.containerizer.start() == []
    await third.containerizer.stop(kill_tasks=True)


async def test_a_task_that_runs_is_recovered_once_stopped_softly(work_dir: Path, make_runner: MakeRunner) -> None:
    first = make_runner()
    await first.containerizer.start()
    first.launch("a", "sleep", "1000")
    started = await first.started("a")
    await first.containerizer.stop(kill_tasks=False)
    os.kill(started.pid, 0)

    second = make_runner()
    (recovered,) = await second.containerizer.start()
    assert (recovered.task_id, recovered.running, recovered.exited) == ("a", True, None)
    second.containerizer.kill("a", 5.0)
    outcome = await second.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.signal == signal.SIGTERM
    await second.containerizer.stop(kill_tasks=True)


async def test_a_killed_spawner_is_replaced_and_no_task_is_lost_or_run_twice(work_dir: Path, runner: Runner) -> None:
    wait = waits(work_dir, "pipe")
    runner.launch("long", f"echo run; {wait}; exit 6", shell=True)
    await runner.lines("long", 1)
    first = runner.containerizer.spawner_pid
    for i in range(50):
        runner.launch(f"t{i}", f"echo run{i} >> {work_dir}/ran", shell=True)
    await runner.started("t5")
    os.kill(first, signal.SIGKILL)
    ids = [f"t{i}" for i in range(50)]
    await runner.until(lambda: sum(isinstance(e, TaskExited) for e in runner.events) == len(ids))
    assert runner.containerizer.spawner_pid != first
    for task_id in ids:
        assert [type(e) for e in runner.of(task_id)] == [TaskStarted, TaskExited]
    ran = (work_dir / "ran").read_text().split()
    assert len(ran) == len(set(ran))
    known = [e for e in runner.events if isinstance(e, TaskExited) and e.exit_code == 0]
    assert len(known) >= 40 and {e.exit_code for e in runner.events if isinstance(e, TaskExited)} <= {0, None}
    assert not [e for e in runner.of("long") if isinstance(e, TaskExited)]
    await release(work_dir, "pipe")
    outcome = await runner.outcome("long")
    assert isinstance(outcome, TaskExited) and outcome.exit_code in (6, None) and outcome.signal is None
    assert runner.file("long", "stdout").read_text() == "run\n"


async def test_a_tree_is_killed_whole_also_after_its_spawner_was_killed(work_dir: Path, runner: Runner) -> None:
    runner.launch("a", "(setsid sh -c 'echo $$; exec sleep 1000' &); sleep 1000 & echo $!; wait", shell=True)
    started = await runner.started("a")
    pids = [int(line) for line in await runner.lines("a", 2)]
    os.kill(runner.containerizer.spawner_pid, signal.SIGKILL)
    runner.containerizer.kill("a", 1.0)
    outcome = await runner.outcome("a")
    assert isinstance(outcome, TaskExited) and outcome.exit_code is None
    await gone(started.pid, *pids)


async def test_the_end_of_a_task_ends_what_it_left_behind_also_after_its_spawner_was_killed(
    work_dir: Path, runner: Runner
) -> None:
    wait = waits(work_dir, "pipe")
    runner.launch("a", f"(setsid sh -c 'echo $$; exec sleep 1000' &); {wait}; exit 6", shell=True)
    pid = int((await runner.lines("a", 1))[0])
    first = runner.containerizer.spawner_pid
    os.kill(first, signal.SIGKILL)
    runner.launch("b", "true")
    await runner.outcome("b")
    os.kill(pid, 0)
    await release(work_dir, "pipe")
    assert isinstance(await runner.outcome("a"), TaskExited)
    await gone(pid)


async def test_a_full_disk_fails_starts_but_spares_what_runs(work_dir: Path, runner: Runner) -> None:
    wait = waits(work_dir, "pipe")
    runner.launch("long", f"{wait}; exit 6", shell=True)
    await runner.started("long")
    size = os.path.getsize(work_dir / "meta" / "tasks.journal")
    # The spawner may write ten bytes more, so that its next line is torn.
    resource.prlimit(runner.containerizer.spawner_pid, resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
    runner.launch("refused", "true")
    failed = await runner.outcome("refused")
    assert isinstance(failed, StartFailed) and "journal" in failed.message and failed.machine
    await release(work_dir, "pipe")
    outcome = await runner.outcome("long")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 6

    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(runner.containerizer.spawner_pid, resource.RLIMIT_FSIZE, unlimited)
    runner.launch("after", "true")
    assert isinstance(await runner.outcome("after"), TaskExited)
    _, entries, bad = load(str(work_dir / "meta" / "tasks.journal"))
    assert bad == 0 and set(entries) == {"long", "refused", "after"}
    assert entries["long"].ended is not None and entries["long"].ended[0] == 6


async def test_killing_the_spawner_again_and_again_leaves_every_task_reported_once(
    work_dir: Path, runner: Runner
) -> None:
    ids = []
    for round_ in range(5):
        for i in range(20):
            ids.append(f"r{round_}t{i}")
            runner.launch(ids[-1], f"echo {ids[-1]} >> {work_dir}/ran", shell=True)
        await runner.started(f"r{round_}t3")
        try:
            os.kill(runner.containerizer.spawner_pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it died in the round before, and we have not noticed
    await runner.until(lambda: sum(not isinstance(e, TaskStarted) for e in runner.events) == len(ids))
    for task_id in ids:
        assert [type(e) for e in runner.of(task_id)] == [TaskStarted, TaskExited]
    ran = (work_dir / "ran").read_text().split()
    assert len(ran) == len(set(ran))


async def test_agent_and_spawner_killed_together(work_dir: Path, make_runner: MakeRunner) -> None:
    pids, spawner = await dead_agent(work_dir, "(setsid sleep 1000 &); exec sleep 1000", "exec sleep 1001")
    os.kill(spawner, signal.SIGKILL)
    await gone(spawner)
    os.kill(pids["t1"], signal.SIGKILL)
    await gone(pids["t1"])

    runner = make_runner()
    recovered = {r.task_id: r for r in await runner.containerizer.start()}
    assert recovered["t0"].running and not recovered["t1"].running
    exited = recovered["t1"].exited
    assert exited is not None and exited.exit_code is None
    await runner.containerizer.stop(kill_tasks=True, grace=5.0)
    assert isinstance(await runner.outcome("t0"), TaskExited)
    assert processes_of(work_dir) == []


async def write_journal(work_dir: Path, *records: object, boot: str | None = None) -> None:
    meta = work_dir / "meta"
    meta.mkdir(exist_ok=True)
    boot = boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lines = [json.dumps(record) + "\n" for record in (["boot", boot], *records)]
    (meta / "tasks.journal").write_text("".join(lines))


async def test_a_process_that_got_the_pid_of_a_task_is_not_taken_for_it(
    work_dir: Path, make_runner: MakeRunner
) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "1000")
    await write_journal(work_dir, ["started", "a", stranger.pid, ticks(stranger.pid) - 1, 1.0])
    runner = make_runner()
    (recovered,) = await runner.containerizer.start()
    assert not recovered.running and recovered.exited is not None
    assert (recovered.exited.exit_code, recovered.exited.signal) == (None, None)
    runner.containerizer.kill("a", 0.0)
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)
    assert stranger.returncode is None
    stranger.kill()
    assert await stranger.wait() == -signal.SIGKILL


async def test_a_process_with_the_right_start_time_is_adopted_and_watched(
    work_dir: Path, make_runner: MakeRunner
) -> None:
    orphan = await asyncio.create_subprocess_exec("sleep", "1000")
    await write_journal(work_dir, ["started", "a", orphan.pid, ticks(orphan.pid), 1.0])
    runner = make_runner()
    (recovered,) = await runner.containerizer.start()
    assert recovered.running and recovered.started_at == 1.0
    orphan.kill()
    assert isinstance(await runner.outcome("a"), TaskExited)
    await orphan.wait()
    await runner.containerizer.stop(kill_tasks=True)


async def test_a_spawner_with_fewer_descriptors_than_tasks_takes_none_of_them_for_gone(
    work_dir: Path, make_runner: MakeRunner
) -> None:
    names = [f"t{number}" for number in range(100)]
    orphans = [await asyncio.create_subprocess_exec("sleep", "1000") for _ in names]
    records = [["started", name, one.pid, ticks(one.pid), 1.0] for name, one in zip(names, orphans, strict=True)]
    await write_journal(work_dir, *records)
    main = Path(spawner.__file__).with_name("spawner_main.py")
    started = await asyncio.create_subprocess_exec(
        "prlimit",
        "--nofile=90:90",
        sys.executable,
        "-I",
        "-S",
        str(main),
        str(work_dir),
        stdout=asyncio.subprocess.PIPE,
    )
    assert started.stdout is not None and await started.stdout.readline() == b"ready\n"
    runner = make_runner()
    recovered = await runner.containerizer.start()
    assert sorted(one.task_id for one in recovered if one.running) == sorted(names)
    for orphan in orphans:
        orphan.kill()
        await orphan.wait()
    for name in names:
        assert isinstance(await runner.outcome(name), TaskExited)
    assert len(runner.events) == len(names)
    await runner.containerizer.stop(kill_tasks=True)
    await started.wait()


async def test_tasks_get_the_soft_limit_of_descriptors_that_their_agent_began_with(runner: Runner) -> None:
    runner.launch("a", "ulimit -Sn", shell=True)
    assert await runner.lines("a", 1) == [str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])]
    limits = Path(f"/proc/{runner.containerizer.spawner_pid}/limits").read_text()
    [(soft, hard)] = re.findall(r"Max open files +(\d+) +(\d+)", limits)
    assert soft == hard


async def test_tasks_have_the_umask_of_their_agent(work_dir: Path, make_runner: MakeRunner) -> None:
    before = os.umask(0o077)
    try:
        runner = make_runner()
        await runner.containerizer.start()
    finally:
        os.umask(before)
    runner.launch("a", "umask", shell=True)
    assert await runner.lines("a", 1) == ["0077"]
    await runner.containerizer.stop(kill_tasks=True)


async def test_after_a_reboot_every_running_task_is_lost_once(work_dir: Path, make_runner: MakeRunner) -> None:
    innocent = await asyncio.create_subprocess_exec("sleep", "1000")
    await write_journal(
        work_dir,
        ["started", "a", innocent.pid, ticks(innocent.pid), 1.0],
        ["started", "b", 4_000_000, 1, 1.0],
        ["exited", "b", 3, None, 2.0],
        boot="another-boot",
    )
    runner = make_runner()
    recovered = {r.task_id: r.exited for r in await runner.containerizer.start()}
    assert recovered["a"] is not None and (recovered["a"].exit_code, recovered["a"].signal) == (None, None)
    assert recovered["b"] == TaskExited("b", 3, None, 2.0)
    assert innocent.returncode is None
    runner.containerizer.forget("a")
    await runner.containerizer.stop(kill_tasks=False)
    await gone(runner.containerizer.spawner_pid)
    again = make_runner()
    assert [r.task_id for r in await again.containerizer.start()] == ["b"]
    await again.containerizer.stop(kill_tasks=True)
    innocent.kill()
    await innocent.wait()


async def test_a_pretended_reboot_ends_what_still_runs(work_dir: Path, make_runner: MakeRunner) -> None:
    pids, spawner = await dead_agent(work_dir, "exec sleep 1000")
    os.kill(spawner, signal.SIGKILL)
    await gone(spawner)
    runner = make_runner(boot_id="the-next-boot")
    (recovered,) = await runner.containerizer.start()
    assert not recovered.running
    await gone(pids["t0"])
    await runner.containerizer.stop(kill_tasks=True)


async def test_a_start_that_was_intended_but_not_written_down_is_found(work_dir: Path, make_runner: MakeRunner) -> None:
    sandbox = work_dir / "sandboxes" / "a"
    sandbox.mkdir(parents=True)
    orphan = await asyncio.create_subprocess_exec(
        "sleep", "1000", env={**os.environ, "BMESOS_SANDBOX": str(sandbox)}, start_new_session=True
    )
    await write_journal(work_dir, ["intent", "a"], ["intent", "b"])
    runner = make_runner()
    recovered = {r.task_id: r for r in await runner.containerizer.start()}
    assert recovered["a"].running and not recovered["b"].running
    await runner.containerizer.stop(kill_tasks=True, grace=5.0)
    assert await orphan.wait() == -signal.SIGTERM


async def test_a_torn_or_damaged_journal_costs_only_the_damaged_lines(work_dir: Path, make_runner: MakeRunner) -> None:
    await write_journal(work_dir, ["started", "a", 4_000_000, 1, 1.0], ["exited", "a", 3, None, 2.0])
    with open(work_dir / "meta" / "tasks.journal", "ab") as journal:
        journal.write(b'\xff\x00 garbage\n["exited"]\n[]\n{}\n["started", "b", 4000000, 1, 1.0]\n["exited", "b", 4')
    runner = make_runner()
    recovered = {r.task_id: r.exited for r in await runner.containerizer.start()}
    assert recovered["a"] == TaskExited("a", 3, None, 2.0)
    assert recovered["b"] is not None and recovered["b"].exit_code is None
    await runner.containerizer.stop(kill_tasks=True)


async def test_a_second_agent_takes_over_and_the_first_ones_last_words_count(
    work_dir: Path, make_runner: MakeRunner
) -> None:
    first = make_runner()
    await first.containerizer.start()
    first.launch("a", "exec sleep 1000", shell=True)
    await first.started("a")
    keeper = first.containerizer._keeper
    assert keeper is not None
    keeper.cancel()  # so that it does not fight back
    first.launch("b", "exec sleep 1000", shell=True)
    first.containerizer._flush()
    second = make_runner()
    assert {r.task_id for r in await second.containerizer.start()} == {"a", "b"}
    await second.containerizer.stop(kill_tasks=True, grace=5.0)
    await first.containerizer.stop(kill_tasks=False)


async def test_two_spawners_never_serve_one_folder(work_dir: Path, make_runner: MakeRunner) -> None:
    runner = make_runner()
    await runner.containerizer.start()
    assert await asyncio.to_thread(runner.containerizer._connector.start) == "locked"
    await runner.containerizer.stop(kill_tasks=True)


async def test_nonsense_on_the_socket_harms_nobody(work_dir: Path, runner: Runner) -> None:
    connection = runner.containerizer._connection
    assert connection is not None and connection.transport is not None
    connection.transport.write(
        b'hello\n\xff\n[]\n{"a":1}\n["launch"]\n["launch","x"]\n["launch","y",5,6]\n["kill","q","z"]\n'
    )
    connection.transport.write(b'["launch","z",[1,2],{}]\n["unknown",1]\n["forget",["a"]]\n["end","x"]\n')
    runner.launch("a", "true")
    assert isinstance(await runner.outcome("a"), TaskExited)


async def test_a_wiped_work_folder_makes_a_new_agent_and_ends_the_old_tasks(
    work_dir: Path, make_runner: MakeRunner
) -> None:
    pids, spawner = await dead_agent(work_dir, "exec sleep 1000")
    os.rename(work_dir / "meta", work_dir / "gone")
    runner = make_runner()
    assert await runner.containerizer.start() == []
    await gone(pids["t0"], spawner)
    runner.launch("a", "true")
    assert isinstance(await runner.outcome("a"), TaskExited)
    await runner.containerizer.stop(kill_tasks=True)


def test_the_journal_is_rewritten_when_most_of_it_is_history(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal = Journal(path, "boot")
    journal.compact([])
    kept = Entry("kept")
    kept.pid, kept.ticks, kept.started_at = 7, 8, 9.0
    journal.append([["intent", "kept"], ["started", "kept", 7, 8, 9.0]])
    while not journal.is_long(1):
        journal.append([["intent", "a"], ["failed", "a", "no"], ["forget", "a"]])
    before = os.path.getsize(path)
    journal.compact([kept])
    journal.append([["exited", "kept", 0, None, 10.0]])
    assert os.path.getsize(path) < before / 100
    boot, entries, bad = load(path)
    assert (boot, bad, list(entries)) == ("boot", 0, ["kept"])
    assert entries["kept"].records() == [["started", "kept", 7, 8, 9.0], ["exited", "kept", 0, None, 10.0]]


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '["started","a",1e999,1,1]', '["started","a",99999999999,1,1]', '["intent",7]', '["exited","a"]'],
)
def test_an_absurd_line_of_the_task_journal_is_skipped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tasks.journal"
    path.write_text(f'["boot","b"]\n{line}\n["failed","c","why"]\n')
    boot, entries, bad = load(str(path))
    assert (boot, list(entries), bad) == ("b", ["c"], 1)
