"""Commands beside tasks: exec sessions of the spawner."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.containerizer.process.exec_protocol import EXEC_SOCKET
from broker_mesos.errors import Unavailable
from broker_mesos.ports.execution import ExecEnd, ExecRefused
from tests.containerizer.conftest import Runner, gone
from tests.containerizer.exec_session import Session


async def beside(runner: Runner, *argv: str, **options: object) -> Session:
    """A command beside the task ``t``, which is started if it does not run."""
    if not runner.of("t"):
        runner.launch("t", "sleep", "1000", COLOUR="blue")
        await runner.started("t")
    return await Session.start(runner.containerizer, "t", *argv, **options)


async def test_a_command_has_the_environment_and_the_sandbox_of_its_task(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "echo $COLOUR $BMESOS_TASK_ID; pwd; echo oops >&2; exit 3")
    folder = runner.work_dir / "sandboxes" / "t"
    assert await session.output() == (3, f"blue t\n{folder}\n", "oops\n")


async def test_a_command_reads_its_input_to_the_end_and_without_input_it_reads_nothing(runner: Runner) -> None:
    session = await beside(runner, "cat", stdin=True)
    assert session.execution.write(b"one\n") == 4
    await session.printed("one")
    session.execution.write(b"two\n")
    session.execution.end_input()
    assert await session.output() == (0, "one\ntwo\n", "")
    session = await beside(runner, "cat")
    assert await session.output() == (0, "", "")


async def test_a_terminal_has_the_size_of_its_client_and_changes_with_it(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "stty size; read x; stty size; tty", tty=True, rows=33, columns=101)
    await session.printed("33 101")
    session.execution.resize(44, 77)
    session.execution.write(b"\n")
    code, out, _ = await session.output()
    assert code == 0 and "44 77\r\n/dev/pts/" in out


async def test_ctrl_c_at_a_terminal_interrupts_the_command_and_not_the_shell(runner: Runner) -> None:
    session = await beside(runner, "sh", tty=True, rows=24, columns=80)
    sleeps = b"import time; print(6 * 7, flush=True); [time.sleep(0.05) for _ in range(99999)]"
    session.execution.write(b"python3 -c '%s'\n" % sleeps)
    await session.printed("42")
    session.execution.write(b"\x03")
    await session.printed("KeyboardInterrupt\r\n")
    session.execution.write(b"echo later $?\nexit 7\n")
    code, out, _ = await session.output()
    assert code == 7 and "later 130" in out


async def test_a_signal_of_the_client_ends_the_command_which_is_told(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "echo ready; exec sleep 1000")
    await session.printed("ready")
    session.execution.signal(signal.SIGINT)
    assert await session.end() == ExecEnd(None, signal.SIGINT)


async def test_a_command_that_does_not_exist_is_refused_with_the_reason(runner: Runner) -> None:
    with pytest.raises(ExecRefused, match="cannot start 'no-such-program': No such program in PATH") as refused:
        await beside(runner, "no-such-program")
    assert refused.value.code == "invalid"


async def test_a_task_that_does_not_run_has_no_session(runner: Runner) -> None:
    runner.launch("done", "true")
    await runner.outcome("done")
    for task_id in ("done", "never"):
        with pytest.raises(ExecRefused) as refused:
            await Session.start(runner.containerizer, task_id, "true")
        assert refused.value.code == "conflict"


async def test_what_a_command_leaves_behind_ends_with_it_and_does_not_hold_its_end_back(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "sleep 1000 & echo $!; setsid sleep 1000 & echo $!; exit 0")
    code, out, _ = await session.output()
    assert code == 0
    await gone(*map(int, out.split()))


async def test_all_processes_of_a_command_end_when_its_client_goes(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "trap '' HUP TERM; (setsid sleep 1000 & echo $!); echo $$; sleep 1000")
    await session.until(lambda: session.execution.out.data.count(b"\n") == 2)
    pids = [int(each) for each in session.execution.out.data.split()]
    session.execution.close()
    await gone(*pids)


async def test_a_session_ends_with_its_task_and_does_not_hold_its_end_back(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "trap '' HUP TERM; (setsid sleep 1000 & echo $!); echo $$; sleep 1000")
    await session.until(lambda: session.execution.out.data.count(b"\n") == 2)
    pids = [int(each) for each in session.execution.out.data.split()]
    runner.containerizer.kill("t", 1000.0)
    await runner.outcome("t")
    assert (await session.end()).lost
    await gone(*pids)


async def test_a_command_waits_when_nobody_takes_its_output_and_none_of_it_is_lost(runner: Runner) -> None:
    size = 50 << 20
    session = await beside(runner, "head", "-c", str(size), "/dev/zero")
    got = most = 0
    while session.execution.ended is None or session.execution.out.data:
        await session.until(lambda: bool(session.execution.out.data) or session.execution.ended is not None)
        most = max(most, len(session.execution.out.data))
        got += len(session.execution.out.data)
        session.execution.forget(got, 0)
    assert got == size and most < 512 << 10
    assert await session.end() == ExecEnd(0, None)


async def test_a_signal_arrives_although_nobody_takes_the_output_or_reads_the_input(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "trap 'exit 9' INT; yes & wait", stdin=True)
    while session.execution.write(b"x" * 65536):
        await asyncio.sleep(0)
    await session.until(lambda: len(session.execution.out.data) > 200_000)
    session.execution.signal(signal.SIGINT)
    while session.execution.ended is None:
        session.execution.forget(session.execution.out.start + len(session.execution.out.data), 0)
        await asyncio.sleep(0)
    assert await session.end() == ExecEnd(9, None)


async def test_sessions_are_found_for_tasks_of_an_earlier_spawner(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "echo $COLOUR; sleep 1000")
    await session.printed("blue")
    before = runner.containerizer.spawner_pid
    os.kill(before, signal.SIGKILL)
    while runner.containerizer.spawner_pid == before:
        await asyncio.sleep(0.01)
    later = await beside(runner, "sh", "-c", "echo $COLOUR")
    assert await later.output() == (0, "blue\n", "")


async def test_a_spawner_of_an_earlier_release_is_told_in_one_line(runner: Runner) -> None:
    await (await beside(runner, "true")).end()
    (runner.work_dir / "meta" / EXEC_SOCKET).unlink()
    with pytest.raises(Unavailable, match="of an earlier release, without exec; it is replaced once its tasks"):
        await beside(runner, "true")


async def test_an_agent_that_stops_ends_the_sessions_and_not_the_tasks(runner: Runner) -> None:
    session = await beside(runner, "sh", "-c", "echo $$; sleep 1000")
    await session.until(lambda: b"\n" in session.execution.out.data)
    pid = int(session.execution.out.data)
    session.execution.close()
    await runner.containerizer.stop(kill_tasks=False)
    await gone(pid)
    runner.containerizer = ProcessContainerizer(runner.work_dir, runner._on_events)
    (found,) = await runner.containerizer.start()
    assert found.running
