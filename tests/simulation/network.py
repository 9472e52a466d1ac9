"""The bus of a simulated process: MemoryBroker's queues at the far end of connections that delay and break.

As with the bus over RabbitMQ there are two connections, which break and come back by themselves: one
publishes, one consumes. Each keeps its order in both directions, neither knows the other's. What a process
has written before it dies, is stopped or is cut off may still arrive, after its consumers are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from broker_mesos.bus.inbox import Inbox
from broker_mesos.bus.memory_queue import MemoryConsumer
from broker_mesos.bus.signals import Signal
from broker_mesos.bus.topology import QueueSpec, Topology, queue_in_use
from broker_mesos.bus.window import failed, too_large
from broker_mesos.core.protocol.addresses import Exchange, Queue
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import BusUnavailable
from broker_mesos.ports.bus import Delivery, Outgoing, QueueInUse
from broker_mesos.runtime.timeouts import within
from tests.simulation.loop import Proc

if TYPE_CHECKING:
    from tests.simulation.world import Node, World

CLUSTER = "sim"


class Connection:
    """One connection from its handshake to its end, which both sides notice at different times."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.client_open = True
        self.server_open = True
        self.consumers: list[SimConsumer] = []
        """At the broker."""
        self.readers: list[SimConsumer] = []
        """In the process."""
        self.waiting: dict[asyncio.Future[Any], None] = {}
        self._world = link.world
        self._last = [0.0, 0.0]
        self._held: list[tuple[bool, Callable[[], None]]] = []

    def send(self, act: Callable[[], None]) -> None:
        """To the server, in order."""
        if self.client_open:
            self._world.loop.at(self._arrival(0), self._arrive, True, act)

    def back(self, act: Callable[[], None]) -> None:
        """To the process, in order."""
        if self.server_open:
            context = self.link.proc.context
            self._world.loop.call_at(self._arrival(1), self._arrive, False, act, context=context)

    def _arrival(self, way: int) -> float:
        at = max(self._last[way], self._world.loop.time() + self._world.latency())
        self._last[way] = at
        return at

    def _arrive(self, to_server: bool, act: Callable[[], None]) -> None:
        if self._held or self.link.node.cut_bus:
            self._held.append((to_server, act))
        elif self.server_open if to_server else self.client_open:
            act()

    def heal(self) -> None:
        """What the cut held up arrives now, if anybody is still there."""
        held, self._held = self._held, []
        for to_server, act in held:
            if to_server:
                self._world.loop.call_soon(self._arrive, True, act, context=self._world.loop.world.context)
            else:
                self._world.loop.call_soon(self._arrive, False, act, context=self.link.proc.context)

    def close_server(self) -> None:
        """The broker ends it: what was not acknowledged goes back."""
        if self.server_open:
            # The process hears of it after what is on its way, if it can hear at all.
            self.back(lambda: self.close_client("the broker closed the connection"))
            self.server_open = False
            for consumer in list(self.consumers):
                consumer.end("the connection was lost")

    def close_client(self, reason: str) -> None:
        """The process knows that it is lost."""
        if self.client_open:
            self.client_open = False
            # The broker hears of it after what was written before, as soon as it can hear at all.
            self._world.loop.at(self._arrival(0), self._arrive, True, self.close_server)
            error = BusUnavailable(reason)
            waiting, self.waiting = self.waiting, {}
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
                    future.exception()
            for consumer in self.readers:
                consumer.lost(reason)
            self.link.went_down(reason)


class Link:
    """One of a bus' two connections, again and again."""

    def __init__(self, bus: SimBus, name: str) -> None:
        self.bus = bus
        self.name = name
        self.node, self.proc, self.world = bus.node, bus.proc, bus.world
        self.connection: Connection | None = None
        self.up = False
        self.up_since = 0.0
        self.changed = Signal()
        self.reason = "the bus is not open"
        self._delay = 0.05

    def connect(self) -> None:
        """Try, and go on trying. Runs in the process."""
        if self.up or self.bus.closed or not self.proc.alive:
            return
        if self.node.cut_bus or not self.world.broker.running:
            self._again()
            return
        self.world.broker.declare_exchanges(self.bus.topology)
        if self.name == "consuming":
            for spec in self.bus.declared.values():
                self.world.broker.declare_queue(spec)
        self.connection = Connection(self)
        self.world.connections.append(self.connection)
        self.up = True
        self.up_since = self.world.loop.time()
        self._delay = 0.05
        self.changed.fire()

    def went_down(self, reason: str) -> None:
        """The connection is lost."""
        self.up = False
        self.reason = reason
        self.changed.fire()
        self._again()

    def _again(self) -> None:
        delay = self._delay * self.world.rng.uniform(0.5, 1.0)
        self._delay = min(2 * self._delay, 2.0)
        self.world.loop.call_later(delay, self.connect, context=self.proc.context)

    async def wait_up(self) -> Connection:
        """Until it stands. Raises BusUnavailable when the bus is closed."""
        while not self.up:
            if self.bus.closed:
                raise BusUnavailable("the bus was closed")
            await self.changed.wait()
        assert self.connection is not None
        return self.connection

    async def ask(self, act: Callable[[], Any]) -> Any:
        """A round trip. Raises BusUnavailable, or what the act raises."""
        if not self.up or self.connection is None:
            raise BusUnavailable(self.reason)
        future = self.world.loop.create_future()
        connection = self.connection
        connection.waiting[future] = None

        def arrived() -> None:
            try:
                result, error = act(), None
            except Exception as raised:
                result, error = None, raised
            connection.back(lambda: answer(result, error))

        def answer(result: Any, error: Exception | None) -> None:
            connection.waiting.pop(future, None)
            if not future.done():
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

        if self.proc.effect():
            connection.send(arrived)
        return await future


class SimConsumer(MemoryConsumer):
    """Both ends of a consumer: the inherited part is the broker's, the inbox is the process's."""

    def __init__(self, queue: Any, bus: SimBus, prefetch: int, connection: Connection) -> None:
        super().__init__(queue, prefetch, bus.world.broker.remove_consumer)
        self._bus = bus
        self._inbox = Inbox()
        self._connection = connection
        connection.consumers.append(self)
        connection.readers.append(self)
        self._proc = bus.proc
        self._world = bus.world
        self._gone = False
        self._closed = False

    # -- the broker's end ---------------------------------------------------------------------------------

    def take(self, message: Any) -> None:
        self._last_tag += 1
        self._unacknowledged[self._last_tag] = message
        delivery = _tagged(message.delivery, self._last_tag)
        self._connection.back(lambda: self._inbox.put(delivery))

    def end(self, reason: str, *, requeue: bool = True) -> None:
        if self._gone:
            return
        self._gone = True
        if self in self._connection.consumers:
            self._connection.consumers.remove(self)
        self.queue.consumers.remove(self)
        if requeue:
            self.queue.take_back(self._unacknowledged.values())
        self._unacknowledged.clear()
        self._connection.back(lambda: self.lost(reason))
        self._on_end(self)

    def _settled(self, up_to: int, tags: list[int], requeue: bool) -> None:
        if self._gone:
            return
        if up_to:
            tags = [tag for tag in self._unacknowledged if tag <= up_to] + tags
        settled = [self._unacknowledged.pop(tag) for tag in tags if tag in self._unacknowledged]
        if requeue:
            self.queue.take_back(settled)
        if settled:
            self.queue.serve()

    # -- the process's end --------------------------------------------------------------------------------

    def lost(self, reason: str) -> None:
        """The process learns that it has ended."""
        self._inbox.end(f"the consumer of {self.queue.name} has ended: {reason}")

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, False)

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        self._settle([delivery], requeue)

    def _settle(self, deliveries: Sequence[Delivery], requeue: bool) -> None:  # type: ignore[override]
        up_to, tags = self._inbox.settle(deliveries)
        if (up_to or tags) and self._proc.effect():
            self._world.trace("ack", self._proc, self.queue.name, up_to, tags)
            if not requeue and "cell-inbox" in self.queue.name:
                self._world.monitor.inbox_acknowledged(self._proc, self.queue.name, deliveries)
            self._connection.send(lambda: self._settled(up_to, tags, requeue))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._connection.readers.remove(self)
        self.lost("it was closed")
        if self._connection.client_open:
            try:
                await self._bus.consuming.ask(lambda: self.end("it was closed"))
            except BusUnavailable:
                pass


def _tagged(delivery: Delivery, tag: int) -> Delivery:
    return replace(delivery, tag=tag)


class SimBus:
    """A Bus."""

    def __init__(self, world: World, node: Node, proc: Proc, heartbeat: float) -> None:
        self.world = world
        self.node = node
        self.proc = proc
        self.heartbeat = heartbeat
        self.topology = Topology(CLUSTER)
        self.declared: dict[str, QueueSpec] = {}
        self.closed = False
        self.publishing = Link(self, "publishing")
        self.consuming = Link(self, "consuming")

    @property
    def links(self) -> tuple[Link, Link]:
        """Both."""
        return (self.publishing, self.consuming)

    @property
    def user(self) -> str:
        """The name of the broker's user: there are none here."""
        return ""

    # -- faults -------------------------------------------------------------------------------------------

    def sever(self, when: Callable[[], float], still: Callable[[], bool] = lambda: True) -> None:
        """The broker gives both connections up, each after ``when()`` seconds, if ``still`` then."""
        for link in self.links:
            connection = link.connection
            if connection is not None:
                late = 1.0 if link is self.consuming else self.world.rng.choice((1.0, 1.5))
                self.world.loop.after(late * when(), _close_server, connection, still)

    def give_up(self, when: Callable[[], float], still: Callable[[], bool]) -> None:
        """The process gives both up, since nothing comes."""
        for link in self.links:
            connection = link.connection
            if connection is not None:
                self.world.loop.call_later(when(), _close_client, connection, still, context=self.proc.context)

    def heal(self) -> None:
        """A cut has ended."""
        for link in self.links:
            if link.connection is not None:
                link.connection.heal()

    def _drop(self, reason: str) -> None:
        """Called by the broker when it stops."""
        for link in self.links:
            if link.connection is not None:
                link.connection.close_server()

    def _connect(self) -> None:
        """Called by the broker when it starts: the links come by themselves."""

    def forget(self, consumer: MemoryConsumer) -> None:
        """Called by the inherited part of a consumer."""

    # -- Bus ----------------------------------------------------------------------------------------------

    async def open(self, timeout: float) -> None:
        self.world.broker.attach(self)  # type: ignore[arg-type]
        for link in self.links:
            link.connect()
        try:
            async with within(timeout):
                for link in self.links:
                    await link.wait_up()
        except TimeoutError:
            await self.close()
            raise BusUnavailable("no broker") from None

    async def close(self) -> None:
        if self.closed or not self.proc.effect():
            return
        self.closed = True
        self.world.broker.detach(self)  # type: ignore[arg-type]
        for link in self.links:
            if (connection := link.connection) is not None and link.up:
                connection.send(connection.close_server)
                connection.close_client("the bus was closed")
            link.changed.fire()

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        refusal = too_large(message)
        if refusal is not None:
            return failed(refusal)
        link, world = self.publishing, self.world
        future = world.loop.create_future()
        if not self.proc.effect():
            return future
        connection = link.connection
        if not link.up or connection is None:
            return failed(BusUnavailable(link.reason))
        world.trace("publish", self.proc, message.to.key, message.type, message.message_id)
        world.monitor.publishes(message)
        connection.waiting[future] = None

        def arrived() -> None:
            world.monitor.arrived(message.message_id)
            lost = message.to.exchange is Exchange.HEARTBEATS and world.beats_lost
            exchange, key = self.topology.route(message.to)
            routed = lost or world.broker.route(exchange, key, message)
            connection.back(lambda: confirmed(routed or not message.mandatory))

        def confirmed(routed: bool) -> None:
            connection.waiting.pop(future, None)
            if not future.done():
                future.set_result(routed)

        connection.send(arrived)
        return future

    async def writable(self) -> None:
        if not self.publishing.up:
            raise BusUnavailable(self.publishing.reason)

    async def wait_connected(self) -> None:
        while not self.connected:
            for link in self.links:
                await link.wait_up()

    async def consume(self, queue: Queue, *, prefetch: int = 500) -> SimConsumer:
        spec = self.topology.queue_spec(queue)
        in_use_since: float | None = None
        while True:
            connection = await self.consuming.wait_up()

            def begin(connection: Connection = connection) -> SimConsumer:
                found = self.world.broker.declare_queue(spec)
                if spec.exclusive and spec.name and found.consumers:
                    raise queue_in_use(found.name)
                consumer = SimConsumer(found, self, prefetch, connection)
                found.consumers.append(consumer)
                # Its first deliveries follow the answer.
                self.world.loop.call_soon(found.serve, context=self.world.loop.world.context)
                return consumer

            try:
                return await self.consuming.ask(begin)
            except BusUnavailable:
                in_use_since = None
                await asyncio.sleep(0.01)
            except QueueInUse:
                # Perhaps an old connection of this process, which the broker does not know yet to be dead.
                now = self.world.loop.time()
                in_use_since = now if in_use_since is None else in_use_since
                if now - in_use_since >= 3 * self.heartbeat + 5.0:
                    raise
                await asyncio.sleep(0.5)

    async def declare(self, queue: Queue) -> None:
        spec = self.topology.shared_spec(queue)
        await self.consuming.ask(lambda: self.world.broker.declare_queue(spec))
        self.declared[spec.name] = spec

    async def consumers(self, queue: Queue) -> int | None:
        name = self.topology.shared_spec(queue).name
        return await self.consuming.ask(lambda: self.world.broker.consumer_count(name))

    async def delete(self, queue: Queue) -> None:
        name = self.topology.shared_spec(queue).name
        self.declared.pop(name, None)
        await self.consuming.ask(lambda: self.world.broker.delete_queue(name))

    @property
    def connected(self) -> bool:
        return self.publishing.up and self.consuming.up

    @property
    def verifies(self) -> bool:
        return False

    def verify(self, delivery: Delivery, message: Message) -> None:
        pass

    @property
    def blocked_reason(self) -> str:
        return ""

    @property
    def connected_since(self) -> float:
        return max(link.up_since for link in self.links)


def _close_server(connection: Connection, still: Callable[[], bool]) -> None:
    if still():
        connection.close_server()


def _close_client(connection: Connection, still: Callable[[], bool]) -> None:
    if still():
        connection.close_client("nothing was heard of the broker")
