"""A broker inside the process, for ``bmesos local``, tests and simulations.

It behaves as RabbitMQ does as far as that is visible through the Bus protocol, from the same Topology: single active
and competing consumers, prefetch, redelivery at the original position, expiry at the queue's head, drop-head,
exclusive queues that end with their connection, returns, and confirms that come later. Queues without consumers do
not expire. It is deterministic: it has no randomness and no timers of its own. Lost exchanges and bindings are
restored as with RabbitMQ: at the publish that needs them, and from time to time. Faults, for tests:
``MemoryBus.disconnect`` and ``reconnect``, ``MemoryBroker.stop``, ``start``, ``wipe``, ``delete_exchange``,
``unbind``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from broker_mesos.bus.memory_queue import MemoryConsumer, MemoryQueue
from broker_mesos.bus.memory_routing import RoutingTable
from broker_mesos.bus.sender_check import SenderCheck
from broker_mesos.bus.topology import QueueSpec, Topology, conflict, difference, queue_in_use, restored
from broker_mesos.bus.window import Window, failed, too_large
from broker_mesos.core.api.health import BusReport
from broker_mesos.core.protocol.addresses import SCHEMA_VERSION, Queue
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import BusUnavailable
from broker_mesos.ports.bus import Delivery, Outgoing, QueueFacts, bad_term, expiration_ms
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.timeouts import within

BIND_AGAIN_SECONDS = 20.0
"""Interval at which every queue that is consumed or was declared is bound again, in seconds."""


class MemoryBroker:
    """The broker that all parties of one process share."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.running = True
        self._buses: list[MemoryBus] = []
        self._queues: dict[str, MemoryQueue] = {}
        self._table = RoutingTable()
        self._names = 0
        self.bind_again_seconds = BIND_AGAIN_SECONDS
        self._bind_again_at = clock.monotonic() + BIND_AGAIN_SECONDS

    # -- faults ---------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the broker: every connection ends. Durable queues keep their persistent messages."""
        self.running = False
        for bus in list(self._buses):
            bus._drop("the broker has stopped")
        for queue in self._queues.values():
            if not queue.quorum:
                queue.ready = deque(message for message in queue.ready if message.persistent)

    def start(self) -> None:
        """Start the broker after ``stop``. The buses connect again in the next turn of the event loop."""
        self.running = True
        for bus in self._buses:
            asyncio.get_running_loop().call_soon(bus._connect)

    def wipe(self) -> None:
        """Restart the broker without its disk: queues, messages and exchanges are gone."""
        self.stop()
        self._queues.clear()
        self._table.clear()
        self.start()

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange and its bindings, as an operator can. No process is notified."""
        self._table.delete(name)

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        """Delete one binding, as an operator can. No process is notified."""
        self._table.unbind(queue, [(exchange, key)])

    # -- calls of a connection ------------------------------------------------------------------------

    def attach(self, bus: MemoryBus) -> None:
        """Register a bus that was opened; it is notified when the broker starts and stops."""
        if bus not in self._buses:
            self._buses.append(bus)

    def detach(self, bus: MemoryBus) -> None:
        """Remove a bus that was closed."""
        if bus in self._buses:
            self._buses.remove(bus)

    def declare_exchanges(self, topology: Topology) -> None:
        """Declare a cluster's exchanges."""
        self._table.declare(topology)

    def declare_queue(self, spec: QueueSpec) -> MemoryQueue:
        """Declare and bind a queue. Raises Conflict if it exists with other arguments."""
        name = spec.name
        if not name:
            self._names += 1
            name = f"amq.gen-{self._names}"
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = MemoryQueue(spec, name, self.clock, lambda: self.running)
        elif queue.spec != spec:
            raise conflict(name, difference(spec, queue.spec))
        self._table.bind(name, spec.bindings)
        return queue

    def has_exchange(self, name: str) -> bool:
        """Whether an exchange exists."""
        return self._table.has(name)

    def restore(self, topology: Topology, routes: Iterable[tuple[str, str]]) -> None:
        """Declare a cluster's exchanges, and bind all queues with a consumer, and those that messages to these routes
        (exchange, routing key) are for."""
        self.declare_exchanges(topology)
        self.bind_again()
        for route in routes:
            self.bind_route(topology, *route)

    def bind_route(self, topology: Topology, exchange: str, key: str) -> None:
        """Bind the queue that messages with this exchange and routing key are for, if it exists."""
        spec = topology.destination(exchange, key)
        queue = None if spec is None else self._queues.get(spec.name)
        if queue is not None:
            self._table.bind(queue.name, queue.spec.bindings)

    def bind_again(self) -> None:
        """Bind all queues with a consumer, and those that a connected bus has declared, as processes do with
        RabbitMQ."""
        self._bind_again_at = self.clock.monotonic() + self.bind_again_seconds
        declared = {spec.name: spec for bus in self._buses if bus.connected for spec in bus.declared.values()}
        for spec in declared.values():
            found = self._queues.get(spec.name)
            if found is None or found.spec == spec:
                self.declare_queue(spec)
        for queue in list(self._queues.values()):
            if queue.consumers and queue.name not in declared:
                self._table.bind(queue.name, queue.spec.bindings)

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its messages, and end its consumers. No error if it does not exist."""
        queue = self._queues.pop(name, None)
        if queue is None:
            return
        self._table.unbind(name, queue.spec.bindings)
        for consumer in list(queue.consumers):
            consumer.end("its queue was deleted", requeue=False)

    def consumer_count(self, name: str) -> int | None:
        """The number of consumers of a queue; None if there is no such queue."""
        queue = self._queues.get(name)
        return None if queue is None else len(queue.consumers)

    def queue_facts(self, name: str) -> QueueFacts | None:
        """A queue's length and number of consumers; None if there is no such queue."""
        queue = self._queues.get(name)
        if queue is None:
            return None
        queue.drop_expired()
        return QueueFacts(len(queue.ready), len(queue.consumers))

    def route(self, exchange: str, key: str, message: Outgoing, user_id: str = "") -> bool:
        """Put a message of a user into every queue bound to its key. Returns whether there was one."""
        if self.clock.monotonic() >= self._bind_again_at:
            self.bind_again()
        names = self._table.queues(exchange, key)
        if not names:
            return False
        problem = bad_term(message.term)
        delivery = Delivery(
            type=message.type,
            body=message.body,
            message_id=message.message_id,
            tag=0,
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            term=0 if problem else message.term,
            headers={"bmesos-schema": str(SCHEMA_VERSION), **message.headers},
            routing_key=key,
            exchange=exchange,
            user_id=user_id,
            problem=problem,
        )
        expires_at = None
        if message.expiration is not None:
            expires_at = self.clock.monotonic() + expiration_ms(message.expiration) / 1000
        for name in names:
            self._queues[name].put(delivery, expires_at, message.persistent)
        return True

    def remove_consumer(self, consumer: MemoryConsumer) -> None:
        """Remove a consumer that has ended: the next one becomes active, or an exclusive queue is deleted with it."""
        queue = consumer.queue
        if self._queues.get(queue.name) is not queue:
            return
        if queue.spec.auto_delete and not queue.consumers:
            self.delete_queue(queue.name)
        else:
            queue.serve()


class MemoryBus:
    """One party's connection to a MemoryBroker. It implements Bus."""

    def __init__(
        self,
        broker: MemoryBroker,
        cluster: str = "default",
        name: str = "",
        *,
        window: int = 10_000,
        user: str = "",
        verifies: bool = False,
    ) -> None:
        """``user`` is the name that the messages of this party have as their sender; ``verifies`` states whether it
        checks the senders of what it receives."""
        self.name = name
        self.user = user
        self._broker = broker
        self._topology = Topology(cluster)
        self._senders = SenderCheck(self._topology, broker.clock) if verifies else None
        self._window = Window(window)
        self._consumers: list[MemoryConsumer] = []
        self.declared: dict[str, QueueSpec] = {}
        self._up = False
        self._cut_off = False
        self._closed = False
        self._reason = "the bus is not open"
        self._connected_since = 0.0
        self._routed_up_to = 0
        self._confirming = False

    # -- faults ---------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Disconnect as a killed process or a broken network does: consumers end, their unsettled messages go back,
        pending publishes fail. The bus stays disconnected until ``reconnect``."""
        self._cut_off = True
        self._drop("the connection was lost")

    def reconnect(self) -> None:
        """Connect again after ``disconnect``."""
        self._cut_off = False
        self._connect()

    # -- Bus ------------------------------------------------------------------------------------------

    async def open(self, timeout: float) -> None:
        self._broker.attach(self)
        self._connect()
        try:
            async with within(timeout):
                await self._connection()
        except TimeoutError:
            await self.close()
            raise BusUnavailable(f"the broker in this process did not start within {timeout:g} s") from None

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._broker.detach(self)
            self._drop("the bus was closed")

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        refusal = too_large(message)
        if refusal is not None:
            return failed(refusal)
        if not self._up:
            return failed(BusUnavailable(self._reason))
        if self._window.full:
            return failed(BusUnavailable(f"{len(self._window)} messages are unconfirmed; wait until writable"))
        exchange, key = self._topology.route(message.to)
        returned = (exchange, key, message.message_id)
        self._routed_up_to, future = self._window.add(message, returned, 0.0)
        if not self._broker.has_exchange(exchange):
            reason = f"no exchange {exchange!r}: it is declared again, with its bindings"
            routes = self._window.routes()
            self._window.fail(reason)
            self._broker.restore(self._topology, routes)
            return future
        if not self._broker.route(exchange, key, message, self.user):
            self._window.returned(returned)
            if message.mandatory:
                self._broker.bind_route(self._topology, exchange, key)
        if not self._confirming:
            self._confirming = True
            asyncio.get_running_loop().call_soon(self._confirm)
        return future

    async def writable(self) -> None:
        while True:
            if not self._up:
                raise BusUnavailable(self._reason)
            if not self._window.throttled:
                return
            await self._window.changed.wait()

    async def wait_connected(self) -> None:
        await self._connection()

    async def consume(self, queue: Queue, *, prefetch: int = 500) -> MemoryConsumer:
        await self._connection()
        found = self._broker.declare_queue(self._topology.queue_spec(queue))
        if found.spec.exclusive and found.consumers:
            raise queue_in_use(found.name)
        consumer = MemoryConsumer(found, prefetch, self._forget)
        self._consumers.append(consumer)
        found.consumers.append(consumer)
        found.serve()
        return consumer

    async def declare(self, queue: Queue) -> None:
        spec = self._topology.shared_spec(queue)
        self._check()
        self._broker.declare_queue(spec)
        self.declared[spec.name] = spec

    async def consumers(self, queue: Queue) -> int | None:
        name = self._topology.shared_spec(queue).name
        self._check()
        return self._broker.consumer_count(name)

    async def inspect(self, queue: Queue) -> QueueFacts | None:
        name = self._topology.shared_spec(queue).name
        self._check()
        return self._broker.queue_facts(name)

    async def health(self) -> BusReport:
        self._check()
        missing = [name for name in self._topology.exchanges() if not self._broker.has_exchange(name)]
        if missing:
            self._broker.restore(self._topology, [])
        error = restored(missing[0]) if missing else ""
        return BusReport(error=error, server="memory", connected=True, blocked=False, round_trip=0.0, in_process=True)

    async def delete(self, queue: Queue) -> None:
        name = self._topology.shared_spec(queue).name
        self._check()
        self.declared.pop(name, None)
        self._broker.delete_queue(name)

    @property
    def connected(self) -> bool:
        return self._up

    @property
    def verifies(self) -> bool:
        return self._senders is not None

    def verify(self, delivery: Delivery, message: Message) -> None:
        if self._senders is not None:
            self._senders.check(delivery, message)

    @property
    def blocked_reason(self) -> str:
        return ""

    @property
    def connected_since(self) -> float:
        return self._connected_since

    # -- the connection -------------------------------------------------------------------------------

    def _forget(self, consumer: MemoryConsumer) -> None:
        self._consumers.remove(consumer)
        self._broker.remove_consumer(consumer)

    async def _connection(self) -> None:
        while not self._up:
            if self._closed:
                raise BusUnavailable("the bus was closed")
            await self._window.changed.wait()

    def _connect(self) -> None:
        if self._up or self._cut_off or self._closed or not self._broker.running:
            return
        self._broker.declare_exchanges(self._topology)
        for spec in self.declared.values():
            self._broker.declare_queue(spec)
        self._up = True
        self._connected_since = self._broker.clock.monotonic()
        self._window.changed.fire()

    def _drop(self, reason: str) -> None:
        self._up = False
        self._reason = f"not connected to the broker in this process: {reason}"
        self._window.fail(self._reason)
        for consumer in list(self._consumers):
            consumer.end(reason)

    def _confirm(self) -> None:
        self._confirming = False
        self._window.settle(self._routed_up_to, multiple=True)

    def _check(self) -> None:
        if not self._up:
            raise BusUnavailable(self._reason)
