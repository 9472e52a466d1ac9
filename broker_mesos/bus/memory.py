"""A broker inside the process, for ``bmesos local``, tests and simulations.

It behaves as RabbitMQ does where that can be seen through the Bus protocol, from the same Topology: single
active and competing consumers, prefetch, redelivery at the original position, expiry at the queue's head,
drop-head, exclusive queues that end with their connection, returns, and confirms that come later. Queues
do not expire for want of consumers. It is deterministic: no randomness, no timers of its own.

Faults, for tests: ``MemoryBus.disconnect`` and ``reconnect``, ``MemoryBroker.stop``, ``start``, ``wipe``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from broker_mesos.bus.inbox import Inbox
from broker_mesos.bus.topology import QueueSpec, Topology, conflict
from broker_mesos.bus.window import Window, failed, too_large
from broker_mesos.core.api.health import BusReport
from broker_mesos.core.protocol.addresses import SCHEMA_VERSION, Queue
from broker_mesos.errors import BusUnavailable
from broker_mesos.ports.bus import Delivery, Outgoing, QueueFacts
from broker_mesos.ports.clock import Clock


class _Message:
    """A message in one queue. ``position`` is its place there, which it keeps when it comes back."""

    __slots__ = ("delivery", "expires_at", "persistent", "position")

    def __init__(self, delivery: Delivery, position: int, expires_at: float | None, persistent: bool) -> None:
        self.delivery = delivery
        self.position = position
        self.expires_at = expires_at
        self.persistent = persistent


class _Queue:
    """One queue. Its consumers stand in the order of registration (single active) or of turn."""

    def __init__(self, spec: QueueSpec, name: str, broker: MemoryBroker) -> None:
        self.spec = spec
        self.name = name
        self.ready: deque[_Message] = deque()
        self.consumers: deque[MemoryConsumer] = deque()
        self._broker = broker
        self._single_active = bool(spec.arguments.get("x-single-active-consumer", False))
        self._max_length = int(spec.arguments.get("x-max-length", 0))
        self._positions = 0

    @property
    def quorum(self) -> bool:
        """Whether everything in it survives a restart, persistent or not."""
        return self.spec.arguments["x-queue-type"] == "quorum"

    def put(self, delivery: Delivery, expires_at: float | None, persistent: bool) -> None:
        """Takes a message, hands it out at once if somebody has room for it."""
        self.drop_expired()
        self._positions += 1
        self.ready.append(_Message(delivery, self._positions, expires_at, persistent))
        self._hand_out()
        # Expiry comes after handing out, so that a message with no time to live reaches a waiting consumer.
        self.drop_expired()
        while self._max_length and len(self.ready) > self._max_length:
            self.ready.popleft()

    def take_back(self, messages: Iterable[_Message]) -> None:
        """Messages that were handed out return to their places."""
        back = list(messages)
        for message in back:
            if not message.delivery.redelivered:
                message.delivery = replace(message.delivery, redelivered=True)
        if back:
            self.ready = deque(sorted([*back, *self.ready], key=lambda each: each.position))

    def serve(self) -> None:
        """A consumer may have room: hand out what has not expired."""
        self.drop_expired()
        self._hand_out()

    def drop_expired(self) -> None:
        """Expiry acts at the head only, as in RabbitMQ."""
        now = self._broker.clock.monotonic()
        while self.ready:
            expires_at = self.ready[0].expires_at
            if expires_at is None or expires_at > now:
                return
            self.ready.popleft()

    def _hand_out(self) -> None:
        while self.ready and self._broker.running:
            consumer = self._next_consumer()
            if consumer is None:
                return
            consumer.take(self.ready.popleft())

    def _next_consumer(self) -> MemoryConsumer | None:
        if self._single_active:
            return self.consumers[0] if self.consumers and self.consumers[0].has_room else None
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None


class MemoryBroker:
    """The broker that all parties of one process share."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.running = True
        self._buses: list[MemoryBus] = []
        self._queues: dict[str, _Queue] = {}
        self._direct: dict[str, dict[str, list[str]]] = {}
        self._topic: dict[str, list[tuple[list[str], str]]] = {}
        self._names = 0

    # -- faults ---------------------------------------------------------------------------------------

    def stop(self) -> None:
        """As a broker that stops: every connection ends. Durable queues keep their persistent messages."""
        self.running = False
        for bus in list(self._buses):
            bus._drop("the broker has stopped")
        for queue in self._queues.values():
            if not queue.quorum:
                queue.ready = deque(message for message in queue.ready if message.persistent)

    def start(self) -> None:
        """After ``stop``: the buses connect again by themselves, in the next turn of the event loop."""
        self.running = True
        for bus in self._buses:
            asyncio.get_running_loop().call_soon(bus._connect)

    def wipe(self) -> None:
        """As a broker that restarts without its disk: queues, messages and exchanges are gone."""
        self.stop()
        self._queues.clear()
        self._direct.clear()
        self._topic.clear()
        self.start()

    # -- what a connection asks for -------------------------------------------------------------------

    def attach(self, bus: MemoryBus) -> None:
        """A bus has been opened; it is told when the broker starts and stops."""
        if bus not in self._buses:
            self._buses.append(bus)

    def detach(self, bus: MemoryBus) -> None:
        """A bus has been closed."""
        if bus in self._buses:
            self._buses.remove(bus)

    def declare_exchanges(self, topology: Topology) -> None:
        """Declares a cluster's exchanges."""
        for name, kind in topology.exchanges().items():
            if kind == "topic":
                self._topic.setdefault(name, [])
            else:
                self._direct.setdefault(name, {})

    def declare_queue(self, spec: QueueSpec) -> _Queue:
        """Declares and binds a queue. Raises Conflict if it exists with other arguments."""
        name = spec.name
        if not name:
            self._names += 1
            name = f"amq.gen-{self._names}"
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(spec, name, self)
        elif queue.spec != spec:
            raise conflict(name)
        for exchange, key in spec.bindings:
            if exchange in self._topic:
                binding = (key.split("."), name)
                if binding not in self._topic[exchange]:
                    self._topic[exchange].append(binding)
            elif name not in (names := self._direct[exchange].setdefault(key, [])):
                names.append(name)
        return queue

    def delete_queue(self, name: str) -> None:
        """Deletes a queue with what is in it, and ends its consumers. No error if there is none."""
        queue = self._queues.pop(name, None)
        if queue is None:
            return
        for exchange, key in queue.spec.bindings:
            if exchange in self._topic:
                self._topic[exchange] = [each for each in self._topic[exchange] if each[1] != name]
            elif name in (names := self._direct[exchange].get(key, [])):
                names.remove(name)
                if not names:
                    del self._direct[exchange][key]
        for consumer in list(queue.consumers):
            consumer.end("its queue was deleted", requeue=False)

    def consumer_count(self, name: str) -> int | None:
        """How many consumers a queue has, None if there is no such queue."""
        queue = self._queues.get(name)
        return None if queue is None else len(queue.consumers)

    def queue_facts(self, name: str) -> QueueFacts | None:
        """A queue's length and consumers, None if there is no such queue."""
        queue = self._queues.get(name)
        if queue is None:
            return None
        queue.drop_expired()
        return QueueFacts(len(queue.ready), len(queue.consumers))

    def route(self, exchange: str, key: str, message: Outgoing) -> bool:
        """Puts a message into every queue bound to its key; whether there was one."""
        names = self._matching(exchange, key)
        if not names:
            return False
        delivery = Delivery(
            type=message.type,
            body=message.body,
            message_id=message.message_id,
            tag=0,
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            term=message.term,
            headers={"bmesos-schema": str(SCHEMA_VERSION), **message.headers},
            routing_key=key,
        )
        expires_at = None
        if message.expiration is not None:
            expires_at = self.clock.monotonic() + message.expiration
        for name in names:
            self._queues[name].put(delivery, expires_at, message.persistent)
        return True

    def remove_consumer(self, consumer: MemoryConsumer) -> None:
        """A consumer has ended: the next one takes over, or its own queue goes with it."""
        queue = consumer.queue
        if self._queues.get(queue.name) is not queue:
            return
        if queue.spec.auto_delete and not queue.consumers:
            self.delete_queue(queue.name)
        else:
            queue.serve()

    def _matching(self, exchange: str, key: str) -> Sequence[str]:
        if not exchange:
            return [key] if key in self._queues else []
        if exchange in self._topic:
            words = key.split(".")
            return list(dict.fromkeys(name for pattern, name in self._topic[exchange] if _matches(pattern, words)))
        return tuple(self._direct.get(exchange, {}).get(key, ()))


class MemoryConsumer:
    """A consumer of one queue of a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, queue: _Queue, bus: MemoryBus, prefetch: int) -> None:
        self.queue = queue
        self._broker = broker
        self._bus = bus
        self._prefetch = prefetch
        self._inbox = Inbox()
        self._unacknowledged: dict[int, _Message] = {}
        self._last_tag = 0

    @property
    def queue_name(self) -> str:
        return self.queue.name

    @property
    def has_room(self) -> bool:
        """Whether the broker may hand it one more (prefetch 0: always)."""
        return not self._prefetch or len(self._unacknowledged) < self._prefetch

    def take(self, message: _Message) -> None:
        """The broker hands out a message."""
        self._last_tag += 1
        self._unacknowledged[self._last_tag] = message
        self._inbox.put(replace(message.delivery, tag=self._last_tag))

    async def receive(self, limit: int = 500) -> list[Delivery]:
        return await self._inbox.receive(limit)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        if self._settle(deliveries):
            self.queue.serve()

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        settled = self._settle([delivery])
        if requeue:
            self.queue.take_back(settled)
        if settled:
            self.queue.serve()

    async def close(self) -> None:
        self.end("it was closed")

    def end(self, reason: str, *, requeue: bool = True) -> None:
        """Everything unsettled goes back, then the next consumer is served. Idempotent."""
        if self._inbox.ended:
            return
        self._inbox.end(f"the consumer of {self.queue.name} has ended: {reason}")
        self._bus.forget(self)
        self.queue.consumers.remove(self)
        if requeue:
            self.queue.take_back(self._unacknowledged.values())
        self._unacknowledged.clear()
        self._broker.remove_consumer(self)

    def _settle(self, deliveries: Sequence[Delivery]) -> list[_Message]:
        up_to, tags = self._inbox.settle(deliveries)
        if up_to:
            oldest = []
            for tag in self._unacknowledged:
                if tag > up_to:
                    break
                oldest.append(tag)
            tags = oldest + tags
        return [self._unacknowledged.pop(tag) for tag in tags]


class MemoryBus:
    """One party's connection to a MemoryBroker; a Bus."""

    def __init__(self, broker: MemoryBroker, cluster: str = "default", name: str = "", *, window: int = 10_000) -> None:
        self.name = name
        self._broker = broker
        self._topology = Topology(cluster)
        self._window = Window(window)
        self._consumers: list[MemoryConsumer] = []
        self._declared: dict[str, QueueSpec] = {}
        self._up = False
        self._held = False
        self._closed = False
        self._reason = "the bus is not open"
        self._connected_since = 0.0
        self._routed_up_to = 0
        self._confirming = False

    # -- faults ---------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """As a killed process or a cut line: consumers end, what they had goes back, pending publishes
        fail. It stays so until ``reconnect``."""
        self._held = True
        self._drop("the connection was lost")

    def reconnect(self) -> None:
        """After ``disconnect``: connect again."""
        self._held = False
        self._connect()

    # -- Bus ------------------------------------------------------------------------------------------

    async def open(self, timeout: float) -> None:
        self._broker.attach(self)
        self._connect()
        try:
            async with asyncio.timeout(timeout):
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
        if not self._broker.route(exchange, key, message):
            self._window.returned(returned)
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
        consumer = MemoryConsumer(self._broker, found, self, prefetch)
        self._consumers.append(consumer)
        found.consumers.append(consumer)
        found.serve()
        return consumer

    async def declare(self, queue: Queue) -> None:
        spec = self._topology.shared_spec(queue)
        self._check()
        self._broker.declare_queue(spec)
        self._declared[spec.name] = spec

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
        return BusReport(server="memory", connected=True, blocked=False, round_trip=0.0, in_process=True)

    async def delete(self, queue: Queue) -> None:
        name = self._topology.shared_spec(queue).name
        self._check()
        self._declared.pop(name, None)
        self._broker.delete_queue(name)

    @property
    def connected(self) -> bool:
        return self._up

    @property
    def connected_since(self) -> float:
        return self._connected_since

    # -- the connection -------------------------------------------------------------------------------

    def forget(self, consumer: MemoryConsumer) -> None:
        """A consumer of this bus has ended."""
        self._consumers.remove(consumer)

    async def _connection(self) -> None:
        while not self._up:
            if self._closed:
                raise BusUnavailable("the bus was closed")
            await self._window.changed.wait()

    def _connect(self) -> None:
        if self._up or self._held or self._closed or not self._broker.running:
            return
        self._broker.declare_exchanges(self._topology)
        for spec in self._declared.values():
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


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _matches(pattern[1:], words[1:])
