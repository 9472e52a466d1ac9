"""A scripted cluster for the driver's tests: a master that owns every cell, and a scheduler that records."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.cluster import HelloAnswer
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind, cell_of
from broker_mesos.core.protocol.events import Offers, Subscribed, Update
from broker_mesos.core.protocol.framework_messages import Call, FrameworkHeartbeat, Subscribe
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.ports.bus import Bus, ConsumerClosed, outgoing
from broker_mesos.sdk import Scheduler

LIMIT = 90.0
"""Seconds that a test waits for what must happen."""

M = TypeVar("M", bound=Message)


def new_id() -> str:
    return uuid.uuid4().hex[:12]


class RealClock:
    """The system's time."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FastClock(RealClock):
    """Real time, in which sleeps are twenty times shorter."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


class ManualClock:
    """Time that stands until a test advances it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return 1_600_000_000.0 + self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass; whoever sleeps wakes in order, and acts before time goes on."""
        end = self.now + seconds
        while True:
            await settle()
            self._sleepers = [each for each in self._sleepers if not each[2].done()]
            due = [each for each in self._sleepers if each[0] <= end]
            if not due:
                break
            first = min(due)
            self._sleepers.remove(first)
            self.now = max(self.now, first[0])
            first[2].set_result(None)
        self.now = end
        await settle()


async def settle() -> None:
    """Let everything that is ready run. For the memory bus only, which needs no time of its own."""
    for _ in range(50):
        await asyncio.sleep(0)


class Seen:
    """Something that changes, and can be waited for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """The condition's first true value."""
        async with asyncio.timeout(LIMIT):
            while not (value := condition()):
                self._changed.clear()
                await self._changed.wait()
        return value


class FakeMaster:
    """Owns all cells: records what it is sent, answers HELLO and SUBSCRIBE, and says what a test says."""

    def __init__(self, bus: Bus, cells: int = 2) -> None:
        self.bus = bus
        self.cells = cells
        self.calls: list[tuple[int, Call]] = []
        self.beats: list[FrameworkHeartbeat] = []
        self.seen = Seen()
        self.answers_subscribe = True
        self._demands: dict[int, int] = {}
        self._clock = FastClock()
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = [asyncio.Event() for _ in range(2 * cells)]

    async def start(self, *, hello: bool = True) -> None:
        for cell in range(self.cells):
            inbox = Queue(QueueKind.CELL_INBOX, str(cell))
            beats = Queue(QueueKind.CELL_HEARTBEATS, str(cell))
            self._spawn(self._consume(cell, inbox, self._ready[cell]))
            self._spawn(self._consume(cell, beats, self._ready[self.cells + cell]))
        async with asyncio.timeout(LIMIT):
            for ready in self._ready:
                await ready.wait()
        if hello:
            await self.answer_hello()

    async def answer_hello(self) -> None:
        responder = Responder(self.bus, Queue(QueueKind.OPERATOR_MASTER), self._hello, self._clock, new_id)
        self._spawn(responder.run())
        async with asyncio.timeout(LIMIT):
            await responder.consuming.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def of(self, kind: type[M]) -> list[tuple[int, M]]:
        """The calls of one type so far, with their cells."""
        return [(cell, call) for cell, call in self.calls if isinstance(call, kind)]

    async def got(self, kind: type[M], count: int = 1) -> list[tuple[int, M]]:
        """Waits for so many calls of a type, in all cells together."""
        await self.seen.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    async def offer(self, framework_id: str, *offers: Offer) -> None:
        await self.say(addresses.offers(framework_id), Offers(offers=offers))

    async def update(self, framework_id: str, *statuses: TaskStatus, cell: int = 0) -> str:
        return await self.say(addresses.events(framework_id), Update(cell=cell, statuses=statuses))

    async def say(self, to: addresses.Address, message: Message) -> str:
        message_id = new_id()
        async with asyncio.timeout(LIMIT):
            assert await self.bus.publish(outgoing(to, message, message_id, mandatory=True))
        return message_id

    async def _hello(self, request: Request) -> HelloAnswer:
        return HelloAnswer(cluster="test", cells=self.cells)

    async def _consume(self, cell: int, queue: Queue, ready: asyncio.Event) -> None:
        while True:
            consumer = await self.bus.consume(queue)
            ready.set()
            try:
                while True:
                    deliveries = await consumer.receive()
                    consumer.acknowledge(deliveries)
                    for delivery in deliveries:
                        self._take(cell, decode(delivery.type, delivery.body))
            except ConsumerClosed:
                pass
            finally:
                await consumer.close()

    def _take(self, cell: int, message: Message) -> None:
        if isinstance(message, FrameworkHeartbeat):
            self.beats.append(message)
        elif isinstance(message, Call):
            self.calls.append((cell, message))
        if isinstance(message, Subscribe | FrameworkHeartbeat):
            self._demands[cell] = max(self._demands.get(cell, 0), message.demand.version)
        if isinstance(message, Subscribe) and self.answers_subscribe:
            answer = Subscribed(
                framework_id=message.framework_id, cell=cell, cells=self.cells, demand=self._demands[cell]
            )
            self.bus.publish(outgoing(addresses.events(message.framework_id), answer, new_id()))
        self.seen.changed()

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))


class Recorder(Scheduler):
    """Records every callback as a tuple; ``on`` holds what a test wants done in one, by its name."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.on: dict[str, Callable[..., Any]] = {}
        self.seen = Seen()

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == name]

    async def got(self, name: str, count: int = 1) -> list[tuple[Any, ...]]:
        await self.seen.until(lambda: len(self.named(name)) >= count)
        return self.named(name)

    def registered(self, driver, framework_id):
        return self._record("registered", driver, framework_id)

    def reregistered(self, driver):
        return self._record("reregistered", driver)

    def disconnected(self, driver):
        return self._record("disconnected", driver)

    def resource_offers(self, driver, offers):
        return self._record("resource_offers", driver, [offer.offer_id for offer in offers], offers=offers)

    def offer_rescinded(self, driver, offer_id):
        return self._record("offer_rescinded", driver, offer_id)

    def status_update(self, driver, status):
        return self._record("status_update", driver, status.task_id, status.state, status=status)

    def agent_lost(self, driver, agent_id):
        return self._record("agent_lost", driver, agent_id)

    def error(self, driver, message):
        return self._record("error", driver, message)

    def _record(self, name, driver, *what, **full):
        self.events.append((name, *what))
        self.seen.changed()
        action = self.on.get(name)
        return action(driver, *(full.values() or what)) if action is not None else None


def an_offer(framework_id: str, offer_id: str = "o1", agent_id: str = "a1", cells: int = 2) -> Offer:
    return Offer(
        offer_id=offer_id,
        framework_id=framework_id,
        agent_id=agent_id,
        cell=cell_of(agent_id, cells),
        resources=Resources.parse("cpus:4;mem:4096"),
    )


def a_task(task_id: str = "t1") -> TaskInfo:
    return TaskInfo(
        task_id=task_id, resources=Resources.parse("cpus:1;mem:64"), command=CommandInfo(arguments=("true",))
    )


def a_status(task_id: str, state: TaskState = TaskState.RUNNING, **more: Any) -> TaskStatus:
    return TaskStatus(task_id=task_id, state=state, uuid=new_id(), **more)
