"""The agent as a whole, on the bus in memory; the test plays its cell."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broker_mesos.agent.checkpoint import FileCheckpoint, MemoryCheckpoint
from broker_mesos.bus.memory import MemoryBus
from broker_mesos.containerizer.memory import Ending, FakeContainerizer
from broker_mesos.core.api.files import ReadFile
from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.agent_messages import (
    AcknowledgeStatuses,
    AgentListed,
    AgentRefused,
    ListTasks,
    RegisterAgent,
    Reregister,
    UnregisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.users import MASTER_USER
from broker_mesos.errors import BusUnavailable, Conflict, Denied, NotFound
from broker_mesos.ports.bus import Consumer, Outgoing, outgoing
from broker_mesos.ports.containerizer import LaunchSpec
from tests.agent.support import TERM, launch
from tests.agent.world import TIMEOUT, World, fake, killed, stopped
from tests.master.test_poison import parked


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


async def test_an_acknowledged_outcome_is_forgotten_everywhere(world: World, machine: FakeContainerizer) -> None:
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


async def test_a_command_to_an_earlier_session_of_a_restarted_agent_never_starts(
    world: World, machine: FakeContainerizer
) -> None:
    launched: list[LaunchSpec] = []
    machine = FakeContainerizer(world.clock, on_launch=launched.append)
    checkpoint = MemoryCheckpoint()
    first = world.start(fake(machine), checkpoint)
    await world.register()
    await world.beat()
    earlier = world.session
    await killed(first, world)
    checkpoint.close()
    world.start(fake(machine), checkpoint)
    await world.register()
    await world.send(launch(earlier, 1, "late"))
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


async def test_stopping_with_the_tasks_ends_them_and_unregisters(world: World, machine: FakeContainerizer) -> None:
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


async def test_a_refused_agent_asks_again_and_goes_to_its_cell(world: World, machine: FakeContainerizer) -> None:
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


async def test_after_a_lost_connection_the_agent_registers_anew(world: World, machine: FakeContainerizer) -> None:
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


async def test_after_a_wiped_broker_the_agent_registers_anew(world: World, machine: FakeContainerizer) -> None:
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


async def test_a_statuses_message_that_was_not_taken_is_sent_again(world: World, machine: FakeContainerizer) -> None:
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


async def test_malformed_commands_are_buried_and_harm_nothing(world: World, machine: FakeContainerizer) -> None:
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


async def test_a_second_agent_of_one_id_ends_with_a_clear_error_and_takes_nothing_from_the_first(
    world: World, machine: FakeContainerizer
) -> None:
    """As from a copied work folder, on another machine."""
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    _, second = world.start(fake(FakeContainerizer(world.clock)), MemoryCheckpoint(), boot_id="boot-2")
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(Conflict, match="same id"):
            await second
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    assert machine.running == ["t1"]


async def test_a_command_above_the_bound_of_terms_is_a_dead_letter_and_the_agent_works_on_under_a_new_bound(
    world: World, machine: FakeContainerizer
) -> None:
    """Its bound may be too low: its machine was suspended for days."""
    world.max_term = TERM + 10_000_000
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t0"), TERM + 20_000_000)
    dead = await world.bus.consume(Queue(QueueKind.DEAD_LETTERS))
    [letter] = await dead.receive()
    assert "out of bounds" in letter.headers["reason"]
    world.max_term = TERM + 40_000_000
    await world.register()
    await world.send(launch(world.session, 1, "t1"), TERM + 20_000_000)
    await world.status("t1", TaskState.RUNNING)
    assert machine.running == ["t1"]


async def test_an_agent_that_had_a_session_keeps_its_tasks_while_another_one_receives_its_commands(
    world: World, machine: FakeContainerizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one, from a copied work folder, was faster when all connections broke."""
    _, first = world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    consume, refused = world.agent_bus.consume, asyncio.Event()

    async def consume_and_note(queue: Queue, **more: int) -> Consumer:
        try:
            return await consume(queue, **more)
        except Conflict:
            refused.set()
            raise

    monkeypatch.setattr(world.agent_bus, "consume", consume_and_note)
    world.agent_bus.disconnect()
    clone = await world.bus.consume(Queue(QueueKind.AGENT_COMMANDS, "a1"))
    world.agent_bus.reconnect()
    async with asyncio.timeout(TIMEOUT):
        await refused.wait()
    await asyncio.sleep(0)
    assert not first.done()
    await clone.close()
    again = await world.register()
    assert [each.task_id for each in again.list.tasks] == ["t1"] and machine.running == ["t1"]


async def test_a_clone_that_the_cell_refuses_leaves_the_commands_to_the_first_agent_and_ends(
    world: World, machine: FakeContainerizer
) -> None:
    _, clone = world.start(fake(machine), MemoryCheckpoint(), boot_id="boot-2")
    refused = await world.expect(RegisterAgent)
    await world.send(AgentRefused(message="in use", cells=1, attempt=refused.attempt, retry_after=0.1))
    async with asyncio.timeout(TIMEOUT):
        first = None
        while first is None:
            try:
                first = await world.bus.consume(Queue(QueueKind.AGENT_COMMANDS, "a1"))
            except Conflict:
                await asyncio.sleep(0)
        with pytest.raises(Conflict, match="same id"):
            await clone
    await first.close()


async def test_an_agent_that_the_cell_refuses_for_now_registers_again_when_nobody_takes_its_queue(
    world: World, machine: FakeContainerizer
) -> None:
    """As after a reboot within seconds."""
    world.start(fake(machine), MemoryCheckpoint(), boot_id="boot-2")
    refused = await world.expect(RegisterAgent)
    await world.send(AgentRefused(message="in use", cells=1, attempt=refused.attempt, retry_after=0.01))
    again = await world.register()
    assert again.attempt != refused.attempt


async def test_a_refusal_of_another_attempt_changes_nothing(world: World, machine: FakeContainerizer) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(AgentRefused(message="in use", cells=1, attempt="q.1", retry_after=60.0))
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)


async def test_publishing_while_the_bus_is_down_raises_nowhere(world: World, machine: FakeContainerizer) -> None:
    agent = world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    world.agent_bus.disconnect()
    machine.end("t1")
    await stopped(agent)
    with pytest.raises(BusUnavailable):
        await world.agent_bus.publish(outgoing(addresses.updates(0), Reregister(), "x"))


async def test_with_security_an_agent_obeys_masters_only(world: World, machine: FakeContainerizer) -> None:
    world.agent_bus = MemoryBus(world.broker, user="a1", verifies=True)
    await world.agent_bus.open(TIMEOUT)
    world.bus.user = MASTER_USER
    daemon, _ = world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    world.bus.user = "agent-2"
    await world.send(launch(world.session, 1, "forged"))
    world.bus.user = MASTER_USER
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    assert "forged" not in daemon.state.tasks
    (letter,) = await parked(world.bus, 1)
    assert letter.type == "LAUNCH_TASKS" and "only a master" in letter.headers["reason"]


async def test_with_security_an_agent_shows_files_to_the_web_server_only(
    world: World, machine: FakeContainerizer
) -> None:
    world.agent_bus = MemoryBus(world.broker, user="a1", verifies=True)
    await world.agent_bus.open(TIMEOUT)
    world.bus.user = MASTER_USER
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    for user, error in (("ann", Denied), ("web", NotFound)):
        world.bus.user = user
        with pytest.raises(error):
            await world.requester.request(addresses.operator_agent("a1"), ReadFile(task_id="t1"), TIMEOUT)


async def test_with_security_an_agent_has_the_name_of_its_user(world: World, machine: FakeContainerizer) -> None:
    world.agent_bus = MemoryBus(world.broker, user="agent-2", verifies=True)
    _, run = world.start(fake(machine), MemoryCheckpoint())
    with pytest.raises(Conflict, match="agent a1, and its user on the broker is 'agent-2'"):
        await run
