"""Takes messages from one queue, passes them to a handler, and acknowledges or returns them by its result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from zlib import crc32

from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.core.protocol.addresses import Queue
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import BusUnavailable, InvalidMessage, Unavailable
from broker_mesos.ports.bus import Bus, Consumer, Delivery
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.runtime.logs import get_logger
from broker_mesos.sdk.tracking import Bounded

log = get_logger(__name__)

RETRY_DELAYS = (0.1, 1.0)
"""Delays before a message whose handling failed is returned to its queue, in seconds: after the first and the second
try. After the third failure it goes to the dead letters."""
SET_ASIDE_SECONDS = 1.0
"""Pause before the queue is consumed again, in seconds, after its messages were left to another process."""
MAX_WAIT_SECONDS = 2.0
"""Maximum pause between tries while a server that the handler needs does not answer, in seconds."""

Handler = Callable[[Sequence[Message]], Awaitable[Mapping[int, Exception | None]]]
"""Handles messages of one type. Returns the messages that were not handled, by index: with the error, which counts as
a try, or with None for a message that stays unacknowledged and is returned when the consumer closes. An exception
counts for all messages."""


class Pump:
    """The consumer of one queue, from ``run`` to its end.

    ``tries`` counts failed tries by message, and outlives the pump. ``gate`` returns, before messages are handled,
    whether this process is to handle them: if not, they are returned to the queue, and the queue is consumed again
    after a pause. ``settled`` is called after deliveries were acknowledged to the broker.
    """

    def __init__(
        self,
        bus: Bus,
        queue: Queue,
        handler: Handler,
        accepts: tuple[type[Message], ...],
        *,
        clock: Clock,
        new_id: NewId,
        tries: Bounded[str, int],
        prefetch: int,
        gate: Callable[[], Awaitable[bool]] | None = None,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._handler = handler
        self._accepts = accepts
        self._clock = clock
        self._new_id = new_id
        self._tries = tries
        self._prefetch = prefetch
        self._gate = gate
        self._settled = settled
        self._returning: set[asyncio.Task[None]] = set()
        self._ending = False
        self._waiting = True
        self._task: asyncio.Task[None] | None = None
        self.consuming = asyncio.Event()
        """Set while the queue is consumed."""

    async def run(self) -> None:
        """Consume until ``end``. Raises ConsumerClosed."""
        self._task = asyncio.current_task()
        while not self._is_ending():
            consumer = await self._bus.consume(self._queue, prefetch=self._prefetch)
            self.consuming.set()
            try:
                await self._work_off(consumer)
            finally:
                self.consuming.clear()
                for task in self._returning:
                    task.cancel()
                await consumer.close()
            if not self._is_ending():
                await self._clock.sleep(SET_ASIDE_SECONDS)

    async def _work_off(self, consumer: Consumer) -> None:
        while not self._is_ending():
            deliveries = await consumer.receive()
            if self._gate is not None and not await self._gate():
                return
            self._waiting = False
            for group in _groups(deliveries):
                if self._is_ending():
                    return
                await self._handle(consumer, group)
            self._waiting = True

    def _is_ending(self) -> bool:
        return self._ending

    def end(self) -> None:
        """End after the messages that are being handled; the others are returned to the queue."""
        self._ending = True
        if self._waiting and self._task is not None:
            self._task.cancel()

    async def _handle(self, consumer: Consumer, group: Sequence[Delivery]) -> None:
        deliveries: list[Delivery] = []
        messages: list[Message] = []
        for delivery in group:
            try:
                if delivery.problem:
                    raise InvalidMessage(f"{delivery.type}: {delivery.problem}")
                message = decode(delivery.type, delivery.body)
                if not isinstance(message, self._accepts):
                    raise InvalidMessage(f"{delivery.type} is not for a framework's {self._queue.kind} queue")
                self._bus.verify(delivery, message)
            except InvalidMessage as error:
                await self._bury(consumer, delivery, str(error), 0)
            else:
                deliveries.append(delivery)
                messages.append(message)
        if not messages:
            return
        unhandled = await self._attempt(messages)
        done = [delivery for index, delivery in enumerate(deliveries) if index not in unhandled]
        if done:
            consumer.acknowledge(done)
            for delivery in done:
                self._tries.pop(_name(delivery), None)
        self._settled()
        for index, failure in unhandled.items():
            if failure is not None:
                await self._failed(consumer, deliveries[index], failure)

    async def _attempt(self, messages: Sequence[Message]) -> Mapping[int, Exception | None]:
        pause = 0.1
        while True:
            try:
                return await self._handler(messages)
            except Unavailable as error:
                log.warning("a server that the scheduler needs does not answer", error=str(error))
                self._waiting = True
                await self._clock.sleep(pause)
                self._waiting = False
                pause = min(2 * pause, MAX_WAIT_SECONDS)
            except Exception as error:
                log.exception("a callback of the scheduler failed", type=messages[0].TYPE)
                return dict.fromkeys(range(len(messages)), error)

    async def _failed(self, consumer: Consumer, delivery: Delivery, error: Exception) -> None:
        tries = self._tries.get(_name(delivery), 0) + 1
        if tries > len(RETRY_DELAYS):
            self._tries.pop(_name(delivery), None)
            reason = f"{tries} tries failed: {type(error).__name__}: {error}"
            await self._bury(consumer, delivery, reason, tries)
            return
        self._tries[_name(delivery)] = tries
        self._give_back(consumer, delivery, RETRY_DELAYS[tries - 1])

    async def _bury(self, consumer: Consumer, delivery: Delivery, reason: str, tries: int) -> None:
        log.error("a message goes to the dead letters", type=delivery.type, reason=reason)
        dead = letter(delivery, self._queue, reason, tries=tries, letter_id=self._new_id(), now=self._clock.time())
        try:
            await park(self._bus, dead)
            parked = True
        except BusUnavailable:
            parked = False
        if parked:
            consumer.acknowledge([delivery])
        else:
            self._give_back(consumer, delivery, RETRY_DELAYS[-1])

    def _give_back(self, consumer: Consumer, delivery: Delivery, delay: float) -> None:
        async def wait_and_return() -> None:
            await self._clock.sleep(delay)
            consumer.reject(delivery, requeue=True)

        task = asyncio.create_task(wait_and_return())
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)


def _name(delivery: Delivery) -> str:
    return delivery.message_id or f"{delivery.type}.{crc32(delivery.body)}"


def _groups(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Groups of consecutive messages of one type; a message that was delivered before is alone in its group, since it
    may be the one that fails."""
    group: list[Delivery] = []
    for delivery in deliveries:
        if group and (delivery.redelivered or group[-1].redelivered or delivery.type != group[-1].type):
            yield group
            group = []
        group.append(delivery)
    if group:
        yield group


async def finish(tasks: Sequence[asyncio.Task[None]], timeout: float) -> None:
    """Wait for tasks that were asked to end; cancel those that have not ended within ``timeout`` seconds."""
    if tasks:
        try:
            _, late = await asyncio.wait(tasks, timeout=timeout)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task in late:
            log.warning("a callback of the scheduler did not return in time", seconds=timeout)
            task.cancel()
        if late:
            # The tasks are not awaited directly: the caller's own cancellation would look like theirs.
            await asyncio.wait(late)
