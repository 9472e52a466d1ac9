"""The agent as a whole, on the bus in memory; the test plays its cell."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from broker_mesos.agent.checkpoint import FileCheckpoint, Journal, MemoryCheckpoint
from broker_mesos.agent.daemon import AgentDaemon, AgentOptions
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.containerizer.memory import Ending, FakeContainerizer
from broker_mesos.containerizer.process import ProcessContainerizer
from broker_mesos.core import addresses
from broker_mesos.core.addresses import Queue, QueueKind
from broker_mesos.core.messages import (
    AcknowledgeStatuses,
    AgentHeartbeat,
    AgentListed,
    AgentRefused,
    AgentRegistered,
    ListTasks,
    Message,
    Part,
    RegisterAgent,
    Reregister,
    TaskStatus,
    UnregisterAgent,
    UpdateStatuses,
    Usage,
    decode,
)
from broker_mesos.core.operator import FileChunk, GetCluster, Hello, HelloAnswer, ReadFile, Request
from broker_mesos.core.resources import Resources
from broker_mesos.core.tasks import TaskState
from broker_mesos.errors import BusUnavailable, Conflict, InvalidInput, NotFound
from broker_mesos.ports import Consumer, Containerizer, LaunchSpec, OnContainerEvents, Outgoing, outgoing
from broker_mesos.requests import Requester, Responder
from tests.agent.support import TERM, kill, launch, task

TIMEOUT = 20.0
M = TypeVar("M", bound=Message)
MakeContainerizer = Callable[[OnContainerEvents], Containerizer]


class LoopClock:
    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class World:
    """A broker, and the cell's side of the conversation."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.broker = MemoryBroker(self.clock)
        self.bus = MemoryBus(self.broker, name="cell")
        self.agent_bus = MemoryBus(self.broker, name="agent")
        self.rng = random.Random(1)
        self.session = ""
        self.cells = 1
        self._ids = itertools.count(1)
        self._sessions = itertools.count(1)
        self._consumers: dict[QueueKind, Consumer] = {}
        self._received: dict[QueueKind, list[Message]] = {}
        self._hello: asyncio.Task[None] | None = None
        self.requester = Requester(self.bus, self.clock, self.new_id)
        self.agents: list[tuple[AgentDaemon, asyncio.Task[None]]] = []

    def new_id(self) -> str:
        return f"id{next(self._ids)}"

    async def open(self) -> None:
        await self.bus.open(TIMEOUT)
        await self.agent_bus.open(TIMEOUT)
        await self.consume()
        self.start_master()

    def start_master(self) -> None:
        master = Responder(self.bus, Queue(QueueKind.OPERATOR_MASTER), self._answer, self.clock, self.new_id)
        self._hello = asyncio.create_task(master.run())

    async def consume(self) -> None:
        for kind in (QueueKind.CELL_INBOX, QueueKind.CELL_HEARTBEATS):
            self._consumers[kind] = await self.bus.consume(Queue(kind, "0"))
            self._received[kind] = []

    async def close(self) -> None:
        for daemon, run in self.agents:
            daemon.stop(kill_tasks=True)
            await asyncio.wait([run])
        assert self._hello is not None
        self._hello.cancel()
        await asyncio.gather(self._hello, return_exceptions=True)
        await self.requester.close()
        await self.agent_bus.close()
        await self.bus.close()

    async def _answer(self, request: Request) -> Part:
        assert isinstance(request, Hello)
        return HelloAnswer(cluster="default", cells=self.cells)

    def start(
        self, containerizer: MakeContainerizer, checkpoint: Journal, **options: object
    ) -> tuple[AgentDaemon, asyncio.Task[None]]:
        chosen = {"resources": Resources.parse("cpus:4;mem:4096"), "agent_id": "a1", "boot_id": "boot-1"}
        daemon = AgentDaemon(
            self.agent_bus,
            containerizer,
            checkpoint,
            self.clock,
            self.new_id,
            self.rng,
            AgentOptions(**{**chosen, **options}),  # type: ignore[arg-type]
        )
        run = asyncio.create_task(daemon.run())
        self.agents.append((daemon, run))
        return daemon, run

    async def send(self, message: Message, term: int = TERM) -> None:
        out = outgoing(addresses.commands("a1"), message, self.new_id(), mandatory=True, term=term)
        assert await self.bus.publish(out)

    async def expect(self, kind: type[M], queue: QueueKind = QueueKind.CELL_INBOX) -> M:
        """The next message of a kind; others before it are passed over."""
        consumer, received = self._consumers[queue], self._received[queue]
        async with asyncio.timeout(TIMEOUT):
            while True:
                while received:
                    message = received.pop(0)
                    if isinstance(message, kind):
                        return message
                deliveries = await consumer.receive()
                consumer.acknowledge(deliveries)
                received += [decode(each.type, each.body) for each in deliveries]

    async def beat(self) -> AgentHeartbeat:
        return await self.expect(AgentHeartbeat, QueueKind.CELL_HEARTBEATS)

    async def register(self, interval: float = 5.0) -> RegisterAgent:
        """Answers the agent's registration."""
        message = await self.expect(RegisterAgent)
        self.session = f"s{next(self._sessions)}"
        await self.send(
            AgentRegistered(
                session=self.session, attempt=message.attempt, cell=0, heartbeat_interval=interval
            )
        )
        return message

    async def status(self, task_id: str, *states: TaskState) -> TaskStatus:
        """The next status of a task in one of these states (default: a final one). Those of other tasks that
        have come with it are found later."""
        passed = []
        while True:
            update = await self.expect(UpdateStatuses)
            for at, status in enumerate(update.statuses):
                wanted = status.state in states if states else status.state.terminal
                if status.task_id == task_id and wanted:
                    rest = [*passed, *update.statuses[at + 1 :]]
                    if rest:
                        kept = update.model_copy(update={"statuses": tuple(rest)})
                        self._received[QueueKind.CELL_INBOX].insert(0, kept)
                    return status
                if status.task_id != task_id:
                    passed.append(status)

    async def ask(self, request: Request) -> Part:
        return await self.requester.request(addresses.operator_agent("a1"), request, TIMEOUT)

    async def read(self, task_id: str, name: str = "stdout", **more: object) -> FileChunk:
        chunk = await self.ask(ReadFile(task_id=task_id, name=name, **more))  # type: ignore[arg-type]
        assert isinstance(chunk, FileChunk)
        return chunk


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.close()


@pytest.fixture
def machine(world: World) -> FakeContainerizer:
    return FakeContainerizer(world.clock)


def fake(machine: FakeContainerizer) -> MakeContainerizer:
    return machine.for_agent


async def stopped(agent: tuple[AgentDaemon, asyncio.Task[None]], *, kill_tasks: bool = False) -> None:
    agent[0].stop(kill_tasks=kill_tasks)
    async with asyncio.timeout(TIMEOUT):
        await agent[1]


async def killed(agent: tuple[AgentDaemon, asyncio.Task[None]], world: World) -> None:
    """As ``kill -9``, as far as one process can: nothing is said any more."""
    world.agent_bus.disconnect()
    agent[1].cancel()
    await asyncio.wait([agent[1]])
    world.agent_bus.reconnect()
    world.agents.remove(agent)


async def test_an_agent_registers_beats_and_runs_a_task(world: World, machine: FakeContainerizer) -> None:
    usage = Usage(cpu_percent=12.5, mem_mb=100.0)
    daemon, _ = world.start(
        fake(machine), MemoryCheckpoint(), hostname="h1", attributes={"rack": "r1"}, usage=lambda: usage
    )
    registration = await world.register()
    assert registration.agent.hostname == "h1" and registration.agent.attributes == {"rack": "r1"}
    assert registration.agent.resources == Resources.parse("cpus:4;mem:4096")
    beat = await world.beat()
    assert (beat.session, beat.usage, beat.running) == (world.session, usage, 0)
    await world.send(launch(world.session, 1, "t1"))
    running = await world.status("t1", TaskState.RUNNING)
    assert running.agent_id == "a1" and daemon.registered.is_set()
    machine.end("t1", 3)
    status = await world.status("t1")
    assert (status.state, status.exit_code) == (TaskState.FAILED, 3)


async def test_heartbeats_keep_coming(world: World, machine: FakeContainerizer) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.register(interval=0.05)
    for _ in range(3):
        await world.beat()


async def test_statuses_of_many_tasks_travel_in_few_messages(world: World) -> None:
    machine = FakeContainerizer(world.clock, lambda spec: Ending(0.0))
    world.start(fake(machine), MemoryCheckpoint(), resources=Resources.parse("cpus:500;mem:50000"))
    await world.register()
    await world.send(launch(world.session, 1, *(f"t{i}" for i in range(500))))
    ended: set[str] = set()
    updates = 0
    while len(ended) < 500:
        update = await world.expect(UpdateStatuses)
        updates += 1
        ended |= {s.task_id for s in update.statuses if s.state is TaskState.FINISHED}
    assert updates <= 5


async def test_an_acknowledged_outcome_is_forgotten_everywhere(
    world: World, machine: FakeContainerizer
) -> None:
    checkpoint = MemoryCheckpoint()
    agent = world.start(fake(machine), checkpoint)
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    machine.end("t1")
    status = await world.status("t1")
    assert set(checkpoint.saved.outcomes) == {"t1"}
    await world.send(AcknowledgeStatuses(uuids=(status.uuid,)))
    await world.send(ListTasks(session=world.session))
    listed = await world.expect(AgentListed)
    assert listed.list.outcomes == () and listed.list.applied == 1
    assert checkpoint.saved.outcomes == {} and await machine.start() == []
    await stopped(agent)


async def test_killed_agents_successor_adopts_its_tasks(world: World, machine: FakeContainerizer) -> None:
    checkpoint = MemoryCheckpoint()
    first = world.start(fake(machine), checkpoint)
    await world.register()
    await world.send(launch(world.session, 1, "t1", "t2"))
    await world.status("t2", TaskState.RUNNING)
    await killed(first, world)
    machine.end("t2", 5)
    checkpoint.close()
    world.start(fake(machine), checkpoint, agent_id="ignored")
    registration = await world.register()
    assert registration.agent.agent_id == "a1"
    assert [t.task_id for t in registration.list.tasks] == ["t1"]
    assert [(s.task_id, s.exit_code) for s in registration.list.outcomes] == [("t2", 5)]
    machine.end("t1")
    assert (await world.status("t1")).state is TaskState.FINISHED


async def test_a_rebooted_machines_tasks_are_lost(world: World, machine: FakeContainerizer) -> None:
    checkpoint = MemoryCheckpoint()
    first = world.start(fake(machine), checkpoint)
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    await killed(first, world)
    machine.reboot()
    checkpoint.close()
    world.start(fake(machine), checkpoint, boot_id="boot-2")
    registration = await world.register()
    assert registration.boot_id == "boot-2" and registration.list.tasks == ()
    assert [s.state for s in registration.list.outcomes] == [TaskState.LOST]


async def test_a_command_in_the_queue_of_a_restarted_agent_never_starts(
    world: World, machine: FakeContainerizer
) -> None:
    launched: list[LaunchSpec] = []
    machine = FakeContainerizer(world.clock, on_launch=launched.append)
    checkpoint = MemoryCheckpoint()
    first = world.start(fake(machine), checkpoint)
    await world.register()
    await world.beat()
    await killed(first, world)
    await world.send(launch(world.session, 1, "late"))
    checkpoint.close()
    world.start(fake(machine), checkpoint)
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    assert [spec.task_id for spec in launched] == ["t1"]


async def test_stopping_leaves_the_tasks_and_says_nothing(world: World, machine: FakeContainerizer) -> None:
    agent = world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    await stopped(agent)
    assert machine.running == ["t1"]


async def test_stopping_with_the_tasks_ends_them_and_unregisters(
    world: World, machine: FakeContainerizer
) -> None:
    agent = world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    await stopped(agent, kill_tasks=True)
    assert machine.running == []
    assert (await world.status("t1")).state is TaskState.KILLED
    assert (await world.expect(UnregisterAgent)).session == world.session


async def test_an_agent_that_is_alone_waits_for_a_master(world: World, machine: FakeContainerizer) -> None:
    assert world._hello is not None
    world._hello.cancel()
    await asyncio.gather(world._hello, return_exceptions=True)
    await world.bus.delete(Queue(QueueKind.OPERATOR_MASTER))
    world.start(fake(machine), MemoryCheckpoint())
    await asyncio.sleep(0)
    world.start_master()
    await world.register()


async def test_a_refused_agent_asks_again_and_goes_to_its_cell(
    world: World, machine: FakeContainerizer
) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.expect(RegisterAgent)
    world.cells = 2
    inbox = await world.bus.consume(Queue(QueueKind.CELL_INBOX, str(addresses.cell_of("a1", 2))))
    await world.send(AgentRefused(message="not mine", cells=2))
    consumer = world._consumers[QueueKind.CELL_INBOX] if addresses.cell_of("a1", 2) == 0 else inbox
    async with asyncio.timeout(TIMEOUT):
        while True:
            [delivery, *_] = await consumer.receive(1)
            message = decode(delivery.type, delivery.body)
            if isinstance(message, RegisterAgent) and message.cells == 2:
                break


async def test_after_a_lost_connection_the_agent_registers_anew(
    world: World, machine: FakeContainerizer
) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1", "t2"))
    await world.status("t2", TaskState.RUNNING)
    world.agent_bus.disconnect()
    machine.end("t1", 4)
    await asyncio.sleep(0)
    world.agent_bus.reconnect()
    registration = await world.register()
    assert [t.task_id for t in registration.list.tasks] == ["t2"]
    assert [(s.task_id, s.exit_code) for s in registration.list.outcomes] == [("t1", 4)]


async def test_after_a_wiped_broker_the_agent_registers_anew(
    world: World, machine: FakeContainerizer
) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    world.broker.wipe()
    await world.consume()
    registration = await world.register()
    assert [t.task_id for t in registration.list.tasks] == ["t1"]
    await world.send(launch(world.session, 1, "t2"))
    await world.status("t2", TaskState.RUNNING)


async def test_a_statuses_message_that_was_not_taken_is_sent_again(
    world: World, machine: FakeContainerizer
) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    # Only publishing fails: the consumer does not notice.
    up, world.agent_bus._up = world.agent_bus._up, False
    machine.end("t1", 6)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.agent_bus._up = up
    assert (await world.status("t1")).exit_code == 6


async def test_malformed_commands_are_buried_and_harm_nothing(
    world: World, machine: FakeContainerizer
) -> None:
    await world.bus.declare(Queue(QueueKind.DEAD_LETTERS))
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.beat()
    for kind, body in (("LAUNCH_TASKS", b'{"session": 1'), ("NONSENSE", b"{}"), ("KILL_TASKS", b"\xff")):
        bad = Outgoing(addresses.commands("a1"), kind, body, world.new_id(), term=TERM)
        await world.bus.publish(bad)
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    dead = await world.bus.consume(Queue(QueueKind.DEAD_LETTERS))
    deliveries = await dead.receive()
    assert [d.type for d in deliveries] == ["LAUNCH_TASKS", "NONSENSE", "KILL_TASKS"]
    assert "unknown message type" in deliveries[1].headers["reason"]


async def test_a_full_disk_drops_the_launch_starts_nothing_and_lends_nothing(
    world: World, machine: FakeContainerizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = MemoryCheckpoint()
    world.start(fake(machine), checkpoint)
    await world.register()
    await world.beat()

    def full(entries: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "append", full)
        await world.send(launch(world.session, 1, "t1"))
        closed = await world.expect(RegisterAgent)
    [status] = closed.list.outcomes
    assert status.state is TaskState.DROPPED and "No space left" in status.message
    assert machine.running == [] and not closed.agent.resources


async def test_a_second_agent_in_a_work_folder_ends_with_a_clear_error(
    world: World, machine: FakeContainerizer, tmp_path: Path
) -> None:
    world.start(fake(machine), FileCheckpoint(tmp_path))
    await world.register()
    second = world.start(fake(FakeContainerizer(world.clock)), FileCheckpoint(tmp_path))
    with pytest.raises(Conflict, match="another agent"):
        await second[1]


async def test_old_sandboxes_are_swept(world: World) -> None:
    swept: asyncio.Queue[tuple[float, float]] = asyncio.Queue()
    percent = [50.0]

    class Sweeping(FakeContainerizer):
        async def sweep(self, keep_seconds: float, now: float) -> list[str]:
            swept.put_nowait((keep_seconds, now))
            return ["t1"]

    machine = Sweeping(world.clock)
    world.start(fake(machine), MemoryCheckpoint(), sweep_interval=0.001, disk_percent=lambda: percent[0])
    async with asyncio.timeout(TIMEOUT):
        assert (await swept.get())[0] == 7 * 86_400
        percent[0] = 95.0
        while (await swept.get())[0] != 86_400:
            pass


# -- files


async def test_a_file_is_read_in_chunks_and_followed_to_its_end(
    world: World, machine: FakeContainerizer
) -> None:
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
async def test_real_processes_outlive_their_agent(
    world: World, tmp_path: Path, processes: MakeContainerizer
) -> None:
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


async def test_publishing_while_the_bus_is_down_raises_nowhere(
    world: World, machine: FakeContainerizer
) -> None:
    agent = world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    world.agent_bus.disconnect()
    machine.end("t1")
    await stopped(agent)
    with pytest.raises(BusUnavailable):
        await world.agent_bus.publish(outgoing(addresses.updates(0), Reregister(), "x"))
