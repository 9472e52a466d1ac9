"""Masters on the memory adapters: owning, handing over, fencing."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.agents import MarkAgentGone
from broker_mesos.core.api.cells import GetCell
from broker_mesos.core.api.cluster import GetCluster, Hello
from broker_mesos.core.api.story import GetStory, StoryView
from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind, operator_master
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentRegistered,
    LaunchTasks,
    RegisterAgent,
    Reregister,
)
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.events import Offers
from broker_mesos.core.protocol.framework_messages import Accept, FrameworkHeartbeat, Subscribe
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import RecordKind
from broker_mesos.core.protocol.registry import decode
from broker_mesos.errors import NotFound, Unavailable
from broker_mesos.master import term
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.context import MasterContext
from broker_mesos.master.daemon import Master
from broker_mesos.operator.gateway import Gateway
from broker_mesos.ports.bus import Outgoing, outgoing
from broker_mesos.ports.middleware import Middleware
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState


class Cluster:
    """Masters that share one memory broker and store, and a hand-driven agent and framework."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.broker = MemoryBroker(self.clock)
        self.state = MemoryStoreState()
        self.buses: list[MemoryBus] = []

    async def bus(self, name: str) -> MemoryBus:
        bus = MemoryBus(self.broker, cluster="default", name=name)
        await bus.open(1)
        self.buses.append(bus)
        return bus

    async def master(
        self, ident: str, cells: int = 1, limits: Limits | None = None, middleware: tuple[Middleware, ...] = ()
    ) -> tuple[Master, asyncio.Task]:
        store = MemoryStore(self.state, self.clock)
        await store.open(1)
        context = MasterContext(
            master_id=ident,
            cluster="default",
            bus=await self.bus(ident),
            store=store,
            records=MemoryRecords(self.state, space=SPACE),
            clock=self.clock,
            new_id=new_id,
            rng=random.Random(1),
            limits=limits or Limits(),
            middleware=middleware,
        )
        master = Master(context, cells)
        task = asyncio.create_task(master.run())
        await master.ready.wait()
        return master, task


@asynccontextmanager
async def cluster():
    made = Cluster()
    yield made
    for bus in made.buses:
        await bus.close()


async def owned(master: Master, count: int) -> None:
    while sum(1 for owner in master.owners if owner.term is not None) < count:
        await asyncio.sleep(0.01)


async def receive_until(consumer, kind):
    while True:
        for delivery in await consumer.receive(1):
            consumer.acknowledge([delivery])
            message = decode(delivery.type, delivery.body)
            if isinstance(message, kind):
                return message


async def launch_one(made: Cluster) -> LaunchTasks:
    bus = await made.bus("parties")
    commands = await bus.consume(Queue(QueueKind.AGENT_COMMANDS, "a1"))
    offers = await bus.consume(Queue(QueueKind.FRAMEWORK_OFFERS, "f1"))
    await bus.consume(Queue(QueueKind.FRAMEWORK_EVENTS, "f1"))
    info = AgentInfo(agent_id="a1", resources=Resources.parse("cpus:4;mem:4096"))
    await bus.publish(
        outgoing(addresses.updates(0), RegisterAgent(agent=info, attempt="1", cells=1), new_id(), mandatory=True)
    )
    await receive_until(commands, AgentRegistered)
    framework = FrameworkInfo(framework_id="f1")
    await bus.publish(outgoing(addresses.calls(None), Subscribe(framework_id="f1", framework=framework), new_id()))
    (offer,) = (await receive_until(offers, Offers)).offers
    task = TaskInfo(task_id="t1", resources=Resources.parse("cpus:1;mem:64"), command=CommandInfo(arguments=("true",)))
    call = Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=(task,))
    await bus.publish(outgoing(addresses.calls(0), call, new_id()))
    return await receive_until(commands, LaunchTasks)


async def test_a_master_owns_every_cell_and_answers_requests():
    async with cluster() as made:
        master, task = await made.master("m1", cells=4)
        await owned(master, 4)
        requester = Requester(await made.bus("cli"), made.clock, new_id)
        hello = await requester.request(addresses.operator_master(), Hello(), 5)
        assert hello.cells == 4
        view = await requester.request(addresses.operator_master(), GetCluster(), 5)
        assert [cell.owner for cell in view.cells] == ["m1"] * 4
        cell = await requester.request(addresses.operator_cell(2), GetCell(parts=("agents",)), 5)
        assert (cell.cell, cell.agents) == (2, ())
        await requester.close()
        master.stop()
        await task


async def test_an_accepted_task_is_launched_on_its_agent():
    async with cluster() as made:
        master, task = await made.master("m1")
        launch = await launch_one(made)
        assert [each.task.task_id for each in launch.launches] == ["t1"]
        assert launch.number == 1
        master.stop()
        await task


async def test_the_owners_of_all_cells_have_the_story_of_a_task():
    async with cluster() as made:
        master, running = await made.master("m1", cells=1)
        await launch_one(made)
        requester = Requester(await made.bus("cli"), made.clock, new_id)
        gateway = Gateway(requester)
        found = await gateway.handle(GetStory(id="t1"), 5)
        assert isinstance(found, StoryView) and not found.missing
        (decision,) = found.decisions
        assert (decision.cause, decision.sender, decision.effects) == ("ACCEPT", "f1", (("launch", "t1", "a1"),))
        assert found.since is not None and found.since <= decision.at <= made.clock.time()
        with pytest.raises(NotFound, match="no decision about t9"):
            await gateway.handle(GetStory(id="t9"), 5)
        await requester.close()
        master.stop()
        await running


async def test_an_agent_with_a_term_that_nobody_gave_out_takes_no_cell_down():
    async with cluster() as made:
        master, task = await made.master("m1", cells=1)
        await owned(master, 1)
        bus = await made.bus("stranger")
        info = AgentInfo(agent_id="a2", resources=Resources.parse("cpus:4;mem:4096"))
        bad = RegisterAgent(agent=info, attempt="1", cells=1, highest_term=2**52 - 1)
        await bus.publish(outgoing(addresses.updates(0), bad, new_id(), mandatory=True))
        # The cell works on, under a term of its own, for everybody else.
        async with asyncio.timeout(90):
            await launch_one(made)
        assert master.owners[0].term.cell.term < 2**52 - 1
        master.stop()
        await task


async def test_a_master_sends_agents_a_bound_of_terms_that_is_above_its_store_clock_and_every_owners_term():
    async with cluster() as made:
        master, task = await made.master("m1", cells=1)
        await owned(master, 1)
        term = master.owners[0].term.cell.term
        # The clock of the store was two days ahead when the owner got its term, and is set right.
        behind = made.clock.time() - 2 * 86_400.0
        made.state.clock = SimpleNamespace(time=lambda: behind)
        master._max_term_until = 0.0
        async with asyncio.timeout(90):
            while not master._max_term_until:
                await asyncio.sleep(0.01)
        answer = await Requester(await made.bus("a1"), made.clock, new_id).request(
            operator_master(), Hello(agent_id="a1"), 20
        )
        assert term + 86_400_000 <= answer.max_term < term + 2 * 86_400_000
        master.stop()
        await task


async def test_a_standby_takes_over_with_all_that_was_committed():
    async with cluster() as made:
        first, first_task = await made.master("m1")
        await owned(first, 1)
        second, second_task = await made.master("m2")
        await launch_one(made)
        term = first.owners[0].term.cell.term
        first.stop()
        await first_task
        await owned(second, 1)
        cell = second.owners[0].term.cell
        assert cell.term > term
        assert list(cell.state.tasks) == ["t1"]
        assert str(cell.state.agents["a1"].used) == "cpus:1;mem:64"
        second.stop()
        await second_task


async def test_what_a_cell_cannot_read_is_found_among_the_dead_letters_with_the_reason():
    async with cluster() as made:
        master, task = await made.master("m1")
        bus = await made.bus("somebody")
        bodies = {"NO_SUCH_TYPE": b"{}", "ACCEPT": b"not JSON"}
        for kind, body in bodies.items():
            await bus.publish(Outgoing(addresses.updates(0), kind, body, f"id-{kind}"))
        launch = await launch_one(made)
        assert launch.number == 1
        # Only now does anybody look.
        consumer = await bus.consume(Queue(QueueKind.DEAD_LETTERS))
        letters = []
        while len(letters) < len(bodies):
            letters += await consumer.receive()
        assert [(letter.message_id, letter.type) for letter in letters] == [(f"id-{kind}", kind) for kind in bodies]
        assert all(letter.type in letter.headers["reason"] for letter in letters)
        assert {letter.headers["from"] for letter in letters} == {"cell-inbox.0"}
        master.stop()
        await task


@pytest.mark.slow
async def test_cells_spread_over_the_masters_that_join():
    async with cluster() as made:
        first, first_task = await made.master("m1", cells=4)
        await owned(first, 4)
        second, second_task = await made.master("m2", cells=4)
        async with asyncio.timeout(90):
            await owned(second, 2)
        assert sum(1 for owner in first.owners if owner.term is not None) == 2
        for master, task in ((first, first_task), (second, second_task)):
            master.stop()
            await task


@pytest.mark.slow
async def test_a_master_without_its_broker_does_not_count_when_cells_are_shared():
    async with cluster() as made:
        first, first_task = await made.master("m1", cells=4)
        second, second_task = await made.master("m2", cells=4)
        lost = made.buses[-1]
        async with asyncio.timeout(90):
            await owned(second, 2)
            lost.disconnect()
            store = MemoryStore(made.state, SystemClock())
            while [each.master_id for each in await store.masters()] != ["m1"]:
                await asyncio.sleep(0.05)
            await owned(first, 4)
            lost.reconnect()
            await owned(second, 2)
        for master, task in ((first, first_task), (second, second_task)):
            master.stop()
            await task


async def test_an_operator_is_answered_only_when_the_deed_is_committed():
    async with cluster() as made:
        master, task = await made.master("m1")
        await launch_one(made)
        requester = Requester(await made.bus("cli"), made.clock, new_id)
        gone = MarkAgentGone(agent_id="a1")
        made.state.available = False
        with pytest.raises(Unavailable):
            await requester.request(addresses.operator_cell(0), gone, 0.3)
        made.state.available = True
        await owned(master, 1)
        answer = await requester.request(addresses.operator_cell(0), gone, 5)
        assert answer.tasks == 1
        assert made.state.facts.cells[0].records[RecordKind.AGENTS]["a1"].count(b'"gone"') == 1
        await requester.close()
        master.stop()
        await task


async def test_what_a_heartbeat_says_for_the_first_time_is_heard_at_once():
    async with cluster() as made:
        quiet = Limits(allocation=3600.0)  # only what is heard makes the cell decide
        master, task = await made.master("m1", limits=quiet)
        bus = await made.bus("parties")
        commands = await bus.consume(Queue(QueueKind.AGENT_COMMANDS, "a1"))
        offers = await bus.consume(Queue(QueueKind.FRAMEWORK_OFFERS, "f1"))
        info = AgentInfo(agent_id="a1", resources=Resources.parse("cpus:4;mem:4096"))
        register = RegisterAgent(agent=info, attempt="1", cells=1)
        await bus.publish(outgoing(addresses.updates(0), register, new_id(), mandatory=True))
        await receive_until(commands, AgentRegistered)
        framework = FrameworkInfo(framework_id="f1")
        for version in (1, 2):
            shape = Shape(resources=Resources.parse(f"cpus:{version};mem:64"))
            wants = Demand(version=version, shapes=(shape,))
            beat = FrameworkHeartbeat(framework_id="f1", framework=framework, demand=wants)
            await bus.publish(outgoing(addresses.heartbeats(0), beat, new_id(), persistent=False))
            async with asyncio.timeout(90):
                (offer,) = (await receive_until(offers, Offers)).offers
            assert offer.resources.contains(shape.resources)
        stranger = await bus.consume(Queue(QueueKind.AGENT_COMMANDS, "a2"))
        for agent_id, consumer in (("a2", stranger), ("a1", commands)):
            lives = AgentHeartbeat(agent_id=agent_id, session="of another owner")
            await bus.publish(outgoing(addresses.heartbeats(0), lives, new_id(), persistent=False))
            async with asyncio.timeout(90):
                await receive_until(consumer, Reregister)
        master.stop()
        await task


async def test_an_owner_with_messages_left_in_its_inbox_ends_no_offers_for_being_late(monkeypatch):
    told: list[bool] = []
    decided = asyncio.Event()
    decide = Cell.decide

    def watched(self, inputs, now, *, behind=False, full=False):
        told.append(behind)
        if behind:
            decided.set()
        return decide(self, inputs, now, behind=behind, full=full)

    monkeypatch.setattr(Cell, "decide", watched)
    monkeypatch.setattr(term, "MAX_BATCH", 2)
    async with cluster() as made:
        master, task = await made.master("m1")
        await owned(master, 1)
        assert not any(told)
        bus = await made.bus("agents")
        for _ in range(20):
            bus.publish(outgoing(addresses.calls(0), Ping(), new_id()))
        async with asyncio.timeout(90):
            await decided.wait()
        master.stop()
        await task
