"""A queue of the broker inside the process, and its consumers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from broker_mesos.bus.inbox import Inbox
from broker_mesos.bus.topology import QueueSpec
from broker_mesos.ports.bus import Delivery
from broker_mesos.ports.clock import Clock


class _Message:
    """A message in one queue. ``position`` is its place in the queue, which it keeps when it comes back."""

    __slots__ = ("delivery", "expires_at", "persistent", "position")

    def __init__(self, delivery: Delivery, position: int, expires_at: float | None, persistent: bool) -> None:
        self.delivery = delivery
        self.position = position
        self.expires_at = expires_at
        self.persistent = persistent


class MemoryQueue:
    """One queue. Its consumers are ordered by registration (single active consumer) or by whose turn is next."""

    def __init__(self, spec: QueueSpec, name: str, clock: Clock, running: Callable[[], bool]) -> None:
        self.spec = spec
        self.name = name
        self.ready: deque[_Message] = deque()
        self.consumers: deque[MemoryConsumer] = deque()
        self._clock = clock
        self._running = running
        self._single_active = bool(spec.arguments.get("x-single-active-consumer", False))
        self._max_length = int(spec.arguments.get("x-max-length", 0))
        self._positions = 0

    @property
    def quorum(self) -> bool:
        """Whether it is a quorum queue, of which all messages survive a restart, persistent or not."""
        return self.spec.arguments["x-queue-type"] == "quorum"

    def put(self, delivery: Delivery, expires_at: float | None, persistent: bool) -> None:
        """Add a message, and deliver it at once if a consumer has room for it."""
        self.drop_expired()
        self._positions += 1
        self.ready.append(_Message(delivery, self._positions, expires_at, persistent))
        self._hand_out()
        # Messages expire only after delivery was tried, so that one with a time to live of 0 reaches a waiting
        # consumer.
        self.drop_expired()
        while self._max_length and len(self.ready) > self._max_length:
            self.ready.popleft()

    def take_back(self, messages: Iterable[_Message]) -> None:
        """Put messages that were delivered back at their places."""
        back = list(messages)
        for message in back:
            if not message.delivery.redelivered:
                message.delivery = replace(message.delivery, redelivered=True)
        if back:
            self.ready = deque(sorted([*back, *self.ready], key=lambda each: each.position))

    def serve(self) -> None:
        """Deliver the messages that have not expired to the consumers that have room."""
        self.drop_expired()
        self._hand_out()

    def drop_expired(self) -> None:
        """Remove expired messages from the head only, as RabbitMQ does."""
        now = self._clock.monotonic()
        while self.ready:
            expires_at = self.ready[0].expires_at
            if expires_at is None or expires_at > now:
                return
            self.ready.popleft()

    def _hand_out(self) -> None:
        while self.ready and self._running():
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


class MemoryConsumer:
    """A consumer of one queue of a MemoryBroker."""

    def __init__(self, queue: MemoryQueue, prefetch: int, on_end: Callable[[MemoryConsumer], None]) -> None:
        self.queue = queue
        self._on_end = on_end
        self._prefetch = prefetch
        self._inbox = Inbox()
        self._unacknowledged: dict[int, _Message] = {}
        self._last_tag = 0

    @property
    def queue_name(self) -> str:
        return self.queue.name

    @property
    def has_room(self) -> bool:
        """Whether the broker may deliver one more message (always, with prefetch 0)."""
        return not self._prefetch or len(self._unacknowledged) < self._prefetch

    def take(self, message: _Message) -> None:
        """Receive a message from the broker."""
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
        """Return everything unsettled to the queue, and serve the next consumer. Idempotent."""
        if self._inbox.ended:
            return
        self._inbox.end(f"the consumer of {self.queue.name} has ended: {reason}")
        self.queue.consumers.remove(self)
        if requeue:
            self.queue.take_back(self._unacknowledged.values())
        self._unacknowledged.clear()
        self._on_end(self)

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
