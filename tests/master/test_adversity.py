"""A master goes on: beside an unreadable cell, with messages at the wrong door, and with a stuck bus."""

from __future__ import annotations

import asyncio
import random

import pytest

from broker_mesos.bus.dead_letters import DEAD_LETTERS
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.cells import CellView, GetCell
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.agent_messages import AgentRegistered, ListTasks, RegisterAgent
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import AgentRecord, RecordKind
from broker_mesos.core.protocol.registry import decode
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.context import MasterContext
from broker_mesos.master.daemon import Master
from broker_mesos.master.term import Term
from broker_mesos.ports.bus import Bus, Outgoing, outgoing
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.store.facts import CellFacts as StoredCell
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState

CLOCK = SystemClock()
PATIENCE = 90.0


class StuckBus(MemoryBus):
    """A bus whose broker can be told to take nothing more; it remembers what it could not send."""

    def __init__(self, broker: MemoryBroker, **options: int) -> None:
        super().__init__(broker, "default", "master", **options)
        self.free = asyncio.Event()
        self.free.set()
        self.asked = asyncio.Event()
        self.sent: list[tuple[str, asyncio.Future[bool]]] = []

    async def writable(self) -> None:
        if not self.free.is_set():
            self.asked.set()
        await self.free.wait()
        await super().writable()

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        future = super().publish(message)
        self.sent.append((message.type, future))
        return future


class Cluster:
    """A master on servers in this process, and a bus beside it."""

    def __init__(self, cells: int = 1, **options: int) -> None:
        self.broker = MemoryBroker(CLOCK)
        self.state = MemoryStoreState()
        self.bus = MemoryBus(self.broker, "default", "beside")
        self.masters_bus = StuckBus(self.broker, **options)
        context = MasterContext(
            master_id="m1",
            cluster="default",
            bus=self.masters_bus,
            store=MemoryStore(self.state, CLOCK),
            records=MemoryRecords(self.state, space=SPACE),
            clock=CLOCK,
            new_id=new_id,
            rng=random.Random(1),
            limits=Limits(),
        )
        self.master = Master(context, cells)

    async def __aenter__(self) -> Cluster:
        await self.bus.open(5)
        await self.masters_bus.open(5)
        self.running = asyncio.create_task(self.master.run())
        await self.master.ready.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.masters_bus.free.set()
        self.master.stop()
        async with asyncio.timeout(PATIENCE):
            await self.running
        await self.bus.close()
        await self.masters_bus.close()

    async def register(self, agent_id: str = "a1") -> Term:
        """An agent registers; returns the term that answered."""
        commands = await self.bus.consume(Queue(QueueKind.AGENT_COMMANDS, agent_id))
        info = AgentInfo(agent_id=agent_id, resources=Resources.parse("cpus:1"))
        call = RegisterAgent(agent=info, attempt=new_id(), cells=1)
        self.bus.publish(outgoing(addresses.updates(0), call, new_id()))
        async with asyncio.timeout(PATIENCE):
            while True:
                for each in await commands.receive():
                    commands.acknowledge([each])
                    if isinstance(decode(each.type, each.body), AgentRegistered):
                        await commands.close()
                        term = self.master.owners[0].term
                        assert term is not None
                        return term


async def first_letter(bus: Bus) -> str:
    consumer = await bus.consume(DEAD_LETTERS)
    async with asyncio.timeout(PATIENCE):
        (found,) = await consumer.receive()
    consumer.acknowledge([found])
    return found.type


async def test_message_that_is_not_for_a_cell_is_a_dead_letter_and_its_term_goes_on() -> None:
    async with Cluster() as cluster:
        before = await cluster.register()
        cluster.bus.publish(outgoing(addresses.updates(0), ListTasks(session="x"), new_id()))
        assert await first_letter(cluster.bus) == "LIST_TASKS"
        assert await cluster.register() is before


@pytest.mark.parametrize("body", [b"{", b'{"session":"x"}'])
async def test_whatever_comes_as_a_heartbeat_the_term_goes_on(body: bytes) -> None:
    async with Cluster() as cluster:
        before = await cluster.register()
        await cluster.bus.publish(Outgoing(addresses.heartbeats(0), "LIST_TASKS", body, new_id()))
        assert await cluster.register() is before


async def test_cell_whose_records_cannot_be_read_takes_no_other_cell_down() -> None:
    cluster = Cluster(cells=2)
    cluster.state.facts.cells[0] = StoredCell()
    cluster.state.facts.cells[0].records[RecordKind.TASKS]["t1"] = b'{"task_id":"t1"}'
    async with cluster:
        requester = Requester(cluster.bus, CLOCK, new_id)
        term = None
        async with asyncio.timeout(PATIENCE):
            while (term := cluster.master.owners[1].term) is None:
                await asyncio.sleep(0.01)
        answer = await requester.request(addresses.operator_cell(1), GetCell(parts=()), PATIENCE)
        assert isinstance(answer, CellView) and answer.term == term.cell.term
        assert not cluster.running.done() and cluster.master.owners[0].term is None
        await requester.close()


@pytest.mark.slow
async def test_step_down_ends_though_nothing_can_be_published() -> None:
    async with Cluster() as cluster:
        await cluster.register()
        cluster.masters_bus.asked.clear()
        cluster.masters_bus.free.clear()
        async with asyncio.timeout(PATIENCE):
            await cluster.masters_bus.asked.wait()
            await cluster.master.owners[0].step_down()


async def test_decision_with_more_messages_than_the_window_takes_sends_all_of_them() -> None:
    count = 3_000
    cluster = Cluster(window=1_200)
    stored = cluster.state.facts.cells[0] = StoredCell()
    for number in range(count):
        info = AgentInfo(agent_id=f"a{number}", resources=Resources.parse("cpus:1"))
        stored.records[RecordKind.AGENTS][info.agent_id] = AgentRecord(info=info, session="s").encode()
    async with cluster:
        await cluster.register("b1")
    asked = [future for kind, future in cluster.masters_bus.sent if kind == "REREGISTER"]
    assert len(asked) >= count
    assert not [each for each in asked if each.exception() is not None]
