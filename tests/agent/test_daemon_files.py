"""The agent as a whole: what its tasks leave in files, and tasks that are real processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_mesos.agent.checkpoint import FileCheckpoint, MemoryCheckpoint
from broker_mesos.containerizer.memory import FakeContainerizer
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.core.api.cluster import GetCluster
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import InvalidInput, NotFound
from broker_mesos.ports.containerizer import Containerizer, OnContainerEvents
from tests.agent.support import kill, launch, task
from tests.agent.world import MakeContainerizer, World, fake, stopped

# -- files


async def test_a_file_is_read_in_chunks_and_followed_to_its_end(world: World, machine: FakeContainerizer) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    assert (await world.read("t1")).bytes() == b""
    followers = [asyncio.create_task(world.read("t1", wait=10.0)) for _ in range(50)]
    await asyncio.sleep(0)
    machine.write("t1", b"hello")
    chunks = await asyncio.gather(*followers)
    assert {(c.bytes(), c.offset, c.size, c.ended) for c in chunks} == {(b"hello", 0, 5, False)}
    last = asyncio.create_task(world.read("t1", offset=5, wait=10.0))
    await asyncio.sleep(0)
    machine.end("t1")
    chunk = await last
    assert (chunk.bytes(), chunk.ended) == (b"", True)
    part = await world.read("t1", offset=1, length=2)
    assert (part.bytes(), part.ended) == (b"el", False)
    assert (await world.read("t1", offset=3)).ended


async def test_files_that_may_not_be_read_are_refused(world: World, machine: FakeContainerizer) -> None:
    agent = world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    with pytest.raises(NotFound):
        await world.read("t9")
    with pytest.raises(NotFound):
        await world.read("t1", "core")
    with pytest.raises(InvalidInput):
        await world.read("t1", "../t2/stdout")
    with pytest.raises(InvalidInput, match="does not answer"):
        await world.ask(GetCluster())
    waiting = asyncio.create_task(world.read("t1", wait=10.0))
    await asyncio.sleep(0)
    await stopped(agent)
    world.agent_bus.disconnect()
    waiting.cancel()
    await asyncio.wait([waiting])


# -- real processes


@pytest.fixture
async def processes(world: World, tmp_path: Path) -> AsyncIterator[MakeContainerizer]:
    def make(on_events: OnContainerEvents) -> Containerizer:
        return ProcessContainerizer(tmp_path, on_events)

    yield make
    # Whatever is left of a failed test.
    left = ProcessContainerizer(tmp_path, lambda events: None)
    for _, run in world.agents:
        run.cancel()
        await asyncio.wait([run])
    await left.start()
    await left.stop(kill_tasks=True)


async def test_real_processes_are_run_read_and_killed(
    world: World, tmp_path: Path, processes: MakeContainerizer
) -> None:
    agent = world.start(processes, FileCheckpoint(tmp_path))
    await world.register()
    script = 'echo "$BMESOS_TASK_ID on $BMESOS_AGENT_ID"; echo bad >&2; exit 7'
    await world.send(launch(world.session, 1, task("t1", "cpus:1", script, shell=True)))
    status = await world.status("t1")
    assert (status.state, status.exit_code) == (TaskState.FAILED, 7)
    chunk = await world.read("t1", wait=5.0)
    assert (chunk.bytes(), chunk.ended) == (b"t1 on a1\n", True)
    assert (await world.read("t1", "stderr")).bytes() == b"bad\n"
    await world.send(launch(world.session, 2, task("t2", "cpus:1", "/bin/sleep", "1000")))
    await world.status("t2", TaskState.RUNNING)
    await world.send(kill(world.session, 3, "t2"))
    assert (await world.status("t2")).state is TaskState.KILLED
    await world.send(launch(world.session, 4, task("t3", "cpus:1", "/no/such/program")))
    assert (await world.status("t3")).state is TaskState.FAILED
    await stopped(agent, kill_tasks=True)


@pytest.mark.slow
async def test_real_processes_outlive_their_agent(world: World, tmp_path: Path, processes: MakeContainerizer) -> None:
    first = world.start(processes, FileCheckpoint(tmp_path))
    await world.register()
    wait_for_word = f"read word < {tmp_path}/pipe; exit $word"
    (tmp_path / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    await world.send(launch(world.session, 1, task("t1", "cpus:1", wait_for_word, shell=True)))
    await world.send(launch(world.session, 2, task("t2", "cpus:1", "exit 3", shell=True)))
    await world.status("t1", TaskState.RUNNING)
    assert (await world.status("t2")).exit_code == 3
    await stopped(first)
    world.agents.clear()
    world.start(processes, FileCheckpoint(tmp_path))
    registration = await world.register()
    assert [t.task_id for t in registration.list.tasks] == ["t1"]
    assert [(s.task_id, s.exit_code) for s in registration.list.outcomes] == [("t2", 3)]
    await asyncio.to_thread((tmp_path / "pipe").write_text, "9\n")
    assert (await world.status("t1")).exit_code == 9
