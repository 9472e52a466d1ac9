"""A world of one agent as a whole, on the bus in memory; the test plays its cell."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from broker_mesos.agent.checkpoint import Journal
from broker_mesos.agent.daemon import AgentDaemon
from broker_mesos.agent.options import AgentOptions
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.containerizer.memory import FakeContainerizer
from broker_mesos.core.api.cluster import Hello, HelloAnswer
from broker_mesos.core.api.files import FileChunk, ReadFile
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentRegistered,
    RegisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.ports.bus import Bus, Consumer, outgoing
from broker_mesos.ports.containerizer import Containerizer, OnContainerEvents
from tests.agent.support import TERM

TIMEOUT = 90.0
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
        self.agent_bus: Bus = MemoryBus(self.broker, name="agent")
        self.rng = random.Random(1)
        self.session = ""
        self.cells = 1
        self.max_term = 0
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
        return HelloAnswer(cluster="default", cells=self.cells, max_term=self.max_term)

    def start(
        self, containerizer: MakeContainerizer, checkpoint: Journal, **options: Any
    ) -> tuple[AgentDaemon, asyncio.Task[None]]:
        chosen: dict[str, Any] = {
            "resources": Resources.parse("cpus:4;mem:4096"),
            "agent_id": "a1",
            "boot_id": "boot-1",
        }
        daemon = AgentDaemon(
            self.agent_bus,
            containerizer,
            checkpoint,
            self.clock,
            self.new_id,
            self.rng,
            AgentOptions(**{**chosen, **options}),
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
            AgentRegistered(session=self.session, attempt=message.attempt, cell=0, heartbeat_interval=interval)
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

    async def read(self, task_id: str, name: str = "stdout", **more: Any) -> FileChunk:
        chunk = await self.ask(ReadFile(task_id=task_id, name=name, **more))
        assert isinstance(chunk, FileChunk)
        return chunk


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
