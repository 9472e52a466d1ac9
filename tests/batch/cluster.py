"""A scripted cell on the in-process bus, with one agent that runs whatever a test tells it to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from broker_mesos.bus.caller import CheckedAccess
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellView, GetCell
from broker_mesos.core.api.cluster import HelloAnswer
from broker_mesos.core.api.explain import GetPlacement, Placement
from broker_mesos.core.api.request import Request
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.agent_messages import RegisterAgent
from broker_mesos.core.protocol.events import Offers, Subscribed, Update
from broker_mesos.core.protocol.framework_messages import (
    Acceptance,
    AcceptingCall,
    Accepts,
    Acknowledge,
    Call,
    Decline,
    FrameworkHeartbeat,
    Kill,
    Settle,
    Subscribe,
)
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.frameworks.batch.worker import BatchSettings, BatchWorker
from broker_mesos.ports.bus import Bus, outgoing
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.store.memory import MemoryRecords, MemoryStoreState
from tests.core.cell.harness import Bench

LIMIT = 90.0
"""Seconds that a test waits for what must happen."""

Ends = Callable[[TaskInfo], TaskState | None]


def succeeds(task: TaskInfo) -> TaskState | None:
    return TaskState.FINISHED


class FakeCell:
    """Cell 0 of 1. Offers what is free while offers are wanted; tasks end as ``ends`` says (None: they run
    on)."""

    def __init__(self, bus: Bus, total: str = "cpus:4;mem:1000") -> None:
        self.bus = bus
        self.total = Resources.parse(total)
        self.free = self.total
        self.agent_state = AgentStatus.REGISTERED
        self.ends: Ends = succeeds
        self.loses_accepts = False
        self.demand = Demand(version=-1)
        self.open: dict[str, Offer] = {}
        self.tasks: dict[str, TaskInfo] = {}
        self.launched: list[TaskInfo] = []
        self.acknowledged: list[str] = []
        self.calls: list[Call] = []
        self.offered = 0
        self._changed = asyncio.Condition()
        self._work: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        clock = SystemClock()
        master = Responder(self.bus, Queue(QueueKind.OPERATOR_MASTER), self._hello, clock, new_id)
        cell = Responder(self.bus, Queue(QueueKind.OPERATOR_CELL, "0"), self._view, clock, new_id)
        for kind in (QueueKind.CELL_INBOX, QueueKind.CELL_HEARTBEATS):
            consumer = await self.bus.consume(Queue(kind, "0"))
            self._work.append(asyncio.create_task(self._consume(consumer)))
        for responder in (master, cell):
            self._work.append(asyncio.create_task(responder.run()))
            await responder.consuming.wait()

    async def close(self) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """The first true value of something that depends on what the cell was told."""
        async with asyncio.timeout(LIMIT), self._changed:
            return await self._changed.wait_for(condition)

    def of(self, kind: type[Any]) -> list[Any]:
        return [call for call in self.calls if isinstance(call, kind)]

    def say(self, *statuses: TaskStatus) -> None:
        message = Update(cell=0, statuses=statuses)
        self.bus.publish(outgoing(addresses.events("batch"), message, new_id(), mandatory=True))

    def end(self, task_id: str, state: TaskState, **fields: Any) -> None:
        """A task ends."""
        task = self.tasks.pop(task_id)
        self.free += task.resources
        codes = {TaskState.FINISHED: 0, TaskState.FAILED: 3}
        self.say(
            TaskStatus(
                **{
                    "task_id": task_id,
                    "state": state,
                    "agent_id": "a1",
                    "exit_code": codes.get(state),
                    **fields,
                }
            )
        )
        self.offer()

    def offer(self) -> None:
        if not self.demand.wanted or self.demand.version < 0 or not self.free.get("cpus"):
            return
        self.offered += 1
        made = Offer(
            offer_id=f"o{self.offered}",
            framework_id="batch",
            agent_id="a1",
            cell=0,
            hostname="h1",
            resources=self.free,
            attributes={"rack": "r1"},
            spare=self.demand.spare,
        )
        if made.spare:  # with one it is over
            self.demand = self.demand.model_copy(update={"wanted": False})
        self.open[made.offer_id] = made
        self.free = Resources.EMPTY
        self.bus.publish(outgoing(addresses.offers("batch"), Offers(offers=(made,)), new_id()))

    async def _hello(self, request: Request) -> HelloAnswer:
        return HelloAnswer(cluster="test", cells=1)

    async def _view(self, request: Request) -> Part:
        if isinstance(request, GetPlacement):
            return self._placement(request.shape)
        assert isinstance(request, GetCell)
        agent = AgentView(
            agent_id="a1",
            cell=0,
            hostname="h1",
            state=self.agent_state,
            total=self.total,
            offered=Resources.EMPTY,
            used=Resources.EMPTY,
            attributes={"rack": "r1"},
        )
        return CellView(cell=0, term=1, owner="m1", agents=(agent,))

    def _placement(self, shape: Shape) -> Placement:
        """As the cell itself says it of its only agent, as if all of it were free."""
        bench = Bench()
        bench.framework("batch", demand=Demand(version=1, wanted=False))
        info = AgentInfo(agent_id="a1", hostname="h1", resources=self.total, attributes={"rack": "r1"})
        bench.decide(RegisterAgent(agent=info, attempt="1", cells=1))
        request = GetPlacement(framework_id="batch", shape=shape)
        return placement(bench.state, bench.cell.policy, request, bench.now)

    async def _consume(self, consumer: Any) -> None:
        try:
            while True:
                deliveries = await consumer.receive()
                consumer.acknowledge(deliveries)
                async with self._changed:
                    for delivery in deliveries:
                        self._take(decode(delivery.type, delivery.body))
                    self._changed.notify_all()
        finally:
            await consumer.close()

    def _take(self, message: Message) -> None:
        speaks = isinstance(message, FrameworkHeartbeat | Subscribe)
        if speaks and message.demand.version > self.demand.version:
            self.demand = message.demand
            if self.demand.wanted:
                for kept in [each.offer_id for each in self.open.values() if each.spare]:
                    self._return(kept)
            self.offer()
        if isinstance(message, Subscribe):
            answer = Subscribed(framework_id="batch", cell=0, cells=1)
            self.bus.publish(outgoing(addresses.events("batch"), answer, new_id()))
        if not isinstance(message, Call) or isinstance(message, FrameworkHeartbeat):
            return
        self.calls.append(message)
        if isinstance(message, AcceptingCall) and not self.loses_accepts:
            for each in message.accepts if isinstance(message, Accepts) else (message,):
                assert isinstance(each, Acceptance)
                self._accept(each, message.demand)
        elif isinstance(message, Decline):
            for offer_id in message.offer_ids:
                self._return(offer_id)
        elif isinstance(message, Kill):
            for task_id in message.task_ids:
                if task_id in self.tasks:
                    self.end(task_id, TaskState.KILLED, signal=15)
        elif isinstance(message, Settle):
            for task_id, offer_id in message.claims:
                self._return(offer_id)
                if task_id not in self.tasks:
                    self.say(TaskStatus(task_id=task_id, state=TaskState.DROPPED))
        elif isinstance(message, Acknowledge):
            self.acknowledged += message.task_ids

    def _accept(self, call: Acceptance, demand: Demand | None) -> None:
        for offer_id in call.offer_ids:
            found = self.open.pop(offer_id, None)
            if found is None:
                self.say(*(TaskStatus(task_id=task.task_id, state=TaskState.DROPPED) for task in call.tasks))
                return
            self.free += found.resources
        for task in call.tasks:
            self.free -= task.resources
            self.tasks[task.task_id] = task
            self.launched.append(task)
        if demand is not None and demand.version > self.demand.version:
            self.demand = demand
        for task in call.tasks:
            state = self.ends(task)
            if state is None:
                self.say(TaskStatus(task_id=task.task_id, state=TaskState.RUNNING, agent_id="a1"))
            else:
                self.end(task.task_id, state)
        if self.demand.spare:
            self.offer()

    def _return(self, offer_id: str) -> None:
        found = self.open.pop(offer_id, None)
        if found is not None:
            self.free += found.resources


class Cluster:
    """A broker, a store, the cell, and workers."""

    def __init__(self, total: str = "cpus:4;mem:1000") -> None:
        self.clock = SystemClock()
        self.broker = MemoryBroker(self.clock)
        self.state = MemoryStoreState(self.clock)
        self.total = total
        self.buses: list[MemoryBus] = []
        self.workers: list[tuple[BatchWorker, asyncio.Task[None]]] = []

    async def __aenter__(self) -> Cluster:
        self.cell = FakeCell(await self.bus(), self.total)
        await self.cell.start()
        self.requester = Requester(await self.bus(), self.clock, new_id)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for worker, task in self.workers:
            worker.stop()
            await asyncio.wait([task], timeout=LIMIT)
            task.cancel()
        await self.requester.close()
        await self.cell.close()
        for bus in self.buses:
            await bus.close()

    async def bus(self, user: str = "") -> MemoryBus:
        bus = MemoryBus(self.broker, user=user)
        await bus.open(1.0)
        self.buses.append(bus)
        return bus

    async def worker(self, settings: BatchSettings | None = None, access: CheckedAccess | None = None) -> BatchWorker:
        """Start a worker, and wait until it serves."""
        number = len(self.workers)
        worker = BatchWorker(
            await self.bus(),
            MemoryRecords(self.state),
            self.clock,
            new_id,
            random.Random(number),
            settings,
            access=access,
        )
        task = asyncio.create_task(worker.run())
        self.workers.append((worker, task))
        async with asyncio.timeout(LIMIT):
            await worker.serving.wait()
        return worker

    async def ask(self, request: Request) -> Any:
        """One request's answer."""
        return await self.requester.request(addresses.operator_framework("batch"), request, LIMIT)
