"""Commands beside tasks that have a user of their own, or are held to limits by cgroups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker_mesos.containerizer.cgroups.layout import base_name
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.containerizer.task_users import TaskUsers
from broker_mesos.ports.containerizer import LaunchSpec
from broker_mesos.ports.execution import ExecRefused
from tests.containerizer.conftest import GAMES, NOBODY, Runner, gone, running
from tests.containerizer.exec_session import Session

SHOW = "id -u; id -g; cat /proc/self/cgroup; grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs)' /proc/self/status; ulimit -c"
MEMORY = 64 << 20


@pytest_asyncio.fixture
async def held(open_dir: Path, users: TaskUsers) -> AsyncIterator[Runner]:
    """A runner whose tasks have users of their own, and are held to limits."""
    made = Runner(open_dir)
    made.containerizer = ProcessContainerizer(
        open_dir, made._on_events, isolation="limits", lent=(1.0, 1 << 32), users=users
    )
    async with running(made):
        yield made


async def started(runner: Runner, user: str = "", text: str = f"{SHOW}; touch shown; exec sleep 1000") -> None:
    runner.containerizer.launch(
        LaunchSpec("t", (text,), True, {"COLOUR": "blue"}, 1000.0, group="f", memory=MEMORY, user=user)
    )
    await runner.started("t")


async def test_a_command_has_the_user_the_cgroup_and_the_privileges_of_its_task(held: Runner, open_dir: Path) -> None:
    await started(held)
    await held.until_file("t", "shown", lambda _: True)
    of_task = held.file("t", "stdout").read_text().splitlines()
    session = await Session.start(held.containerizer, "t", "sh", "-c", f"{SHOW}; echo $COLOUR; pwd; id -G")
    code, out, err = await session.output()
    lines = out.splitlines()
    assert (code, err) == (0, "") and lines[: len(of_task)] == of_task
    assert any(base_name(str(open_dir)) in line for line in lines) and "CapEff:\t0000000000000000" in lines
    assert lines[len(of_task) :] == ["blue", str(open_dir / "sandboxes" / "t"), lines[1]]


async def test_a_command_at_a_terminal_has_the_user_of_its_task_and_owns_the_terminal(held: Runner) -> None:
    await started(held, GAMES)
    session = await Session.start(held.containerizer, "t", "sh", "-c", "id -un; stat -c %U $(tty)", tty=True)
    code, out, _ = await session.output()
    assert code == 0 and out.split() == [GAMES, GAMES]


async def test_a_command_without_cgroups_has_the_user_of_its_task(separate: Runner) -> None:
    separate.containerizer.launch(LaunchSpec("t", ("exec sleep 1000",), True, {"A": "b"}, 1.0, user=GAMES))
    await separate.started("t")
    session = await Session.start(
        separate.containerizer, "t", "sh", "-c", "id -un; id -Gn; echo $A; cat /proc/1/environ"
    )
    code, out, err = await session.output()
    assert out.split() == [GAMES, GAMES, "b"] and code and "Permission denied" in err


async def test_a_principal_runs_commands_only_as_the_users_that_it_may_use(separate: Runner) -> None:
    for task_id, user in (("of-games", GAMES), ("of-default", "")):
        separate.containerizer.launch(LaunchSpec(task_id, ("exec sleep 1000",), True, {}, 1.0, user=user))
        await separate.started(task_id)
    for allowed in ((), (NOBODY,), ("no-such-user",)):
        session = await Session.start(separate.containerizer, "of-default", "id", "-un", task_users=allowed)
        assert await session.output() == (0, f"{NOBODY}\n", "")
        with pytest.raises(ExecRefused) as refused:
            await Session.start(separate.containerizer, "of-games", "id", "-un", task_users=allowed)
        assert refused.value.code == "denied"
    session = await Session.start(separate.containerizer, "of-games", "id", "-un", task_users=(GAMES,))
    assert await session.output() == (0, f"{GAMES}\n", "")


async def test_a_command_counts_against_the_memory_of_its_task(held: Runner) -> None:
    await started(held)
    session = await Session.start(held.containerizer, "t", "python3", "-I", "-S", "-c", "bytearray(200 << 20)")
    end = await held.outcome("t")
    assert getattr(end, "limit_kind", "") == "memory", end
    assert (await session.end()).lost


async def test_a_task_that_ends_is_told_although_commands_run_beside_it(held: Runner) -> None:
    await started(held, text="while [ ! -e go ]; do sleep 0.02; done; exit 5")
    text = "trap '' HUP TERM; (env -i setsid sleep 1000 & echo $!); echo $$; sleep 1000"
    sessions = [await Session.start(held.containerizer, "t", "sh", "-c", text) for _ in range(4)]
    pids = []
    for session in sessions:
        await session.until(lambda session=session: session.execution.out.data.count(b"\n") == 2)
        pids += [int(each) for each in session.execution.out.data.split()]
    held.file("t", "go").touch()
    end = await held.outcome("t")
    assert getattr(end, "exit_code", None) == 5, end
    for session in sessions:
        assert (await session.end()).lost
    await gone(*pids)


async def test_a_killed_task_does_not_wait_for_commands_beside_it(held: Runner) -> None:
    await started(held)
    session = await Session.start(
        held.containerizer, "t", "sh", "-c", "trap '' HUP TERM; echo $$; sleep 1000; sleep 1000"
    )
    await session.until(lambda: b"\n" in session.execution.out.data)
    held.containerizer.kill("t", 1000.0)
    await held.outcome("t")
    await gone(int(session.execution.out.data))


async def test_tasks_after_one_with_sessions_have_a_cgroup_without_leftovers(held: Runner) -> None:
    for number in range(5):
        task_id = f"t{number}"
        held.containerizer.launch(LaunchSpec(task_id, ("exec sleep 1000",), True, {}, 1.0, group="f", memory=MEMORY))
        await held.started(task_id)
        session = await Session.start(held.containerizer, task_id, "true")
        held.containerizer.kill(task_id, 0.0)
        await held.outcome(task_id)
        await session.end()
