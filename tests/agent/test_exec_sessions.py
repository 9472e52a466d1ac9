"""The exec sessions of an agent: repeats, rights, and their ends. The commands are real ones."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker_mesos.agent.exec_sessions import ExecSessions
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.core.api.access import Caller, Principal
from broker_mesos.core.api.exec import SILENCE_SECONDS, AgentExec, ExecState, StartExec, UseExec
from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.resources import Resources
from broker_mesos.errors import Conflict, Denied, InvalidInput, NotFound
from tests.containerizer.conftest import Runner, gone

TIMEOUT = 60.0


class SteppedClock:
    """A clock that can be set ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


class Agent:
    """An agent that runs the task ``t`` of ann."""

    def __init__(self, containerizer: ProcessContainerizer) -> None:
        self.clock = SteppedClock()
        self.task = AgentTask(
            task_id="t", framework_id="f", resources=Resources.parse("cpus:1"), labels={"owner": "ann"}
        )
        self.sessions = ExecSessions(containerizer, self.clock, lambda name: self.task if name == "t" else None)
        self.sessions.agent_id = "a"
        self.caller: Caller | None = None

    async def start(self, *argv: str, exec_id: str = "", task_id: str = "t", **options: object) -> str:
        made = StartExec.model_validate(
            {"task_id": task_id, "exec_id": exec_id or uuid.uuid4().hex, "argv": argv, **options}
        )
        await self.sessions.answer(AgentExec.of(self.caller, made, None))
        return made.exec_id

    async def use(self, exec_id: str, data: bytes = b"", **fields: object) -> ExecState:
        use = {"exec_id": exec_id, "agent_id": "a", "input": base64.b64encode(data).decode(), **fields}
        return await self.sessions.answer(AgentExec.of(self.caller, None, UseExec.model_validate(use)))

    async def rest(self, exec_id: str, offset: int = 0) -> tuple[bytes, ExecState]:
        """The output from an offset to the end."""
        found = b""
        async with asyncio.timeout(TIMEOUT):
            while True:
                state = await self.use(exec_id, out=offset + len(found), wait=10)
                found += state.stdout()
                if state.ended:
                    return found, state


@pytest_asyncio.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    runner = Runner(tmp_path)
    await runner.containerizer.start()
    runner.launch("t", "sleep", "100000")
    await runner.started("t")
    made = Agent(runner.containerizer)
    yield made
    made.sessions.close()
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_start_that_is_repeated_starts_one_command(agent: Agent, tmp_path: Path) -> None:
    exec_id = uuid.uuid4().hex
    words = ("sh", "-c", "echo x >> count; read y")
    await asyncio.gather(*(agent.start(*words, exec_id=exec_id, stdin=True) for _ in range(3)))
    await agent.use(exec_id, input_end=True)
    await agent.rest(exec_id)
    assert (tmp_path / "sandboxes" / "t" / "count").read_text() == "x\n"
    with pytest.raises(Conflict, match="another session with this id"):
        await agent.start("true", exec_id=exec_id)


async def test_output_is_sent_again_until_its_offset_is_acknowledged_and_not_after_that(agent: Agent) -> None:
    exec_id = await agent.start("sh", "-c", "echo one; read x; echo two", stdin=True)
    for _ in range(2):
        assert (await agent.use(exec_id, out=0, wait=10)).stdout() == b"one\n"
    await agent.use(exec_id, b"\n")
    found, state = await agent.rest(exec_id, 4)
    assert (found, state.exit_code) == (b"two\n", 0)
    again = await agent.use(exec_id, out=0)
    assert (again.stdout(), again.out_offset, again.ended) == (b"", 8, True)
    with pytest.raises(InvalidInput, match="offset 9 is beyond the output"):
        await agent.use(exec_id, out=9)


async def test_input_that_is_repeated_is_taken_once_and_a_gap_is_refused(agent: Agent) -> None:
    exec_id = await agent.start("cat", stdin=True)
    for _ in range(3):
        assert (await agent.use(exec_id, b"abc")).accepted == 3
    assert (await agent.use(exec_id, b"bcd", input_offset=1)).accepted == 4
    with pytest.raises(InvalidInput, match="input from offset 5 on: the next one is 4"):
        await agent.use(exec_id, b"f", input_offset=5)
    for _ in range(2):
        await agent.use(exec_id, input_offset=4, input_end=True)
    assert (await agent.rest(exec_id))[0] == b"abcd"


async def test_a_signal_that_is_repeated_is_sent_once(agent: Agent) -> None:
    # It waits for its signals: a handler could run just before a pause, which then never ends.
    program = (
        "import signal, sys\n"
        "both = {signal.SIGUSR1, signal.SIGUSR2}\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, both)\n"
        "print('ready', flush=True)\n"
        "while signal.sigwait(both) == signal.SIGUSR1: print('one', flush=True)\n"
        "sys.exit(5)"
    )
    exec_id = await agent.start("python3", "-c", program)
    assert (await agent.use(exec_id, out=0, wait=10)).stdout() == b"ready\n"
    for _ in range(3):
        await agent.use(exec_id, signal="USR1", signal_number=1)
    assert (await agent.use(exec_id, out=6, wait=10)).stdout() == b"one\n"
    await agent.use(exec_id, signal="USR2", signal_number=2)
    found, state = await agent.rest(exec_id, 10)
    assert (found, state.exit_code) == (b"", 5)


async def test_a_session_whose_client_is_silent_ends_with_its_command(agent: Agent) -> None:
    exec_id = await agent.start("sh", "-c", "echo $$; exec sleep 1000")
    pid = int((await agent.use(exec_id, out=0, wait=10)).stdout())
    agent.clock.ahead += SILENCE_SECONDS - 5
    assert (await agent.use(exec_id, out=0)).ended is False
    agent.clock.ahead += SILENCE_SECONDS + 1
    await gone(pid)
    with pytest.raises(NotFound, match="no such session"):
        await agent.use(exec_id, out=0)


async def test_a_session_that_is_closed_ends_at_once(agent: Agent) -> None:
    exec_id = await agent.start("sh", "-c", "echo $$; exec sleep 1000")
    pid = int((await agent.use(exec_id, out=0, wait=10)).stdout())
    await agent.use(exec_id, close=True)
    await gone(pid)


def caller(name: str, *actions: str, task_users: tuple[str, ...] = ()) -> Caller:
    return Caller(name, Principal(actions=actions, task_users=task_users))


async def test_a_principal_enters_its_own_tasks_and_others_only_with_the_right_to_any(agent: Agent) -> None:
    agent.caller = caller("ann", "exec:own")
    assert (await agent.rest(await agent.start("true")))[1].exit_code == 0
    agent.caller = caller("bob", "exec:own")
    with pytest.raises(Denied, match=r"'bob' has no right to exec:any \(the task belongs to 'ann'\)"):
        await agent.start("true")
    agent.caller = caller("bob", "exec:any")
    assert (await agent.rest(await agent.start("true")))[1].exit_code == 0
    agent.task = agent.task.model_copy(update={"labels": {}})
    agent.caller = caller("ann", "exec:own")
    with pytest.raises(Denied, match="the task belongs to 'nobody'"):
        await agent.start("true")


async def test_a_session_is_for_the_principal_that_has_started_it(agent: Agent) -> None:
    agent.caller = caller("ann", "exec:own")
    exec_id = await agent.start("cat", stdin=True)
    agent.caller = caller("bob", "exec:any")
    with pytest.raises(NotFound, match="no such session"):
        await agent.use(exec_id, b"rm -r /\n")
    with pytest.raises(Conflict, match="another session"):
        await agent.start("cat", exec_id=exec_id, stdin=True)
    agent.caller = caller("ann", "exec:own")
    await agent.use(exec_id, input_end=True)
    assert (await agent.rest(exec_id))[0] == b""


async def test_a_task_has_four_sessions_at_most_and_ended_ones_do_not_count(agent: Agent) -> None:
    for _ in range(6):
        await agent.rest(await agent.start("true"))
    for _ in range(4):
        await agent.start("sleep", "1000")
    with pytest.raises(Conflict, match="task t has 4 sessions already"):
        await agent.start("true")


async def test_a_task_that_does_not_run_here_is_refused(agent: Agent) -> None:
    with pytest.raises(Conflict, match="task other does not run on agent a"):
        await agent.start("true", task_id="other")
