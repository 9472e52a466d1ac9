"""The Bus over RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from broker_mesos.bus.rabbitmq.channel import Channel
from broker_mesos.bus.rabbitmq.consumer import RabbitConsumer
from broker_mesos.bus.rabbitmq.consuming import ConsumeLink
from broker_mesos.bus.rabbitmq.link import FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS, ExchangeRights, Link, Setting
from broker_mesos.bus.rabbitmq.publishing import PublishLink
from broker_mesos.bus.rabbitmq.server import DEFAULT_TIMEOUTS, Refused, Server, Timeouts, Unreachable
from broker_mesos.bus.signals import Signal
from broker_mesos.bus.topology import Topology, restored
from broker_mesos.core.protocol.addresses import Queue
from broker_mesos.core.protocol.users import MASTER_USER
from broker_mesos.errors import BusUnavailable, Conflict
from broker_mesos.ports.bus import Delivery, Outgoing, QueueFacts, QueueInUse
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.timeouts import within
from broker_mesos.runtime.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:  # a command that submits a job loads no models
    from broker_mesos.bus.sender_check import SenderCheck
    from broker_mesos.core.api.health import BusReport
    from broker_mesos.core.protocol.wire import Message

log = logging.getLogger(__name__)


MAX_REFUSED_DELAY_SECONDS = 5.0
"""Maximum time between two attempts to consume a queue that the broker refuses, in seconds; each attempt makes a line
in the broker's log."""


class RabbitBus:
    """A Bus over RabbitMQ. ``heartbeat`` is AMQP's, in seconds; ``name`` is what the broker lists for its
    connections; ``verifies`` whether the senders of messages are checked. Raises InvalidInput for an invalid URL or
    cluster name."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        rng: random.Random,
        cluster: str = "default",
        name: str = "bmesos",
        heartbeat: int = 2,
        window: int = 10_000,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        verifies: bool = False,
        tls: TlsFiles = NO_FILES,
    ) -> None:
        self._topology = Topology(cluster)
        self._senders: SenderCheck | None = None
        if verifies:
            from broker_mesos.bus.sender_check import SenderCheck

            self._senders = SenderCheck(self._topology, clock)
        self._clock = clock
        self._rng = rng
        server, exchange_rights = Server(url, tls), ExchangeRights()
        # Then only masters have the right to, and an attempt would be a warning in the log of the broker.
        exchange_rights.passive = verifies and server.user != MASTER_USER
        setting = Setting(server, self._topology, clock, rng, name, heartbeat, timeouts, Signal(), exchange_rights)
        self._publishing = PublishLink(setting, window)
        self._consuming = ConsumeLink(setting)
        self._consumed: set[Queue] = set()
        self._in_use_seconds = 3 * heartbeat + 5.0 if timeouts.in_use is None else timeouts.in_use
        self._publishing.on_returned = self._consuming.bind_route
        self._publishing.restore = self._restore
        self._links: tuple[Link, ...] = (self._publishing, self._consuming)

    async def open(self, timeout: float) -> None:
        for link in self._links:
            link.start()
        try:
            async with within(timeout):
                for link in self._links:
                    await link.wait_up(impatient=True)
        except TimeoutError:
            error = next((link.error for link in self._links if not link.up), None)
            await self.close()
            tried = f"{error} (tried for {timeout:g} s)"
            raise Unreachable(tried) if isinstance(error, Unreachable) else BusUnavailable(tried) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for consumer in self._consuming.consumers:
            consumer.send_acknowledgements()
        await asyncio.gather(*(link.stop() for link in self._links))

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        return self._publishing.publish(message)

    async def writable(self) -> None:
        await self._publishing.writable()

    async def wait_connected(self) -> None:
        while not all(link.up for link in self._links):
            for link in self._links:
                await link.wait_up()

    async def consume(self, queue: Queue, *, prefetch: int = 500) -> RabbitConsumer:
        spec = self._topology.queue_spec(queue)
        retry = _Retry(queue, self._clock, self._rng, self._in_use_seconds, again=queue in self._consumed)
        while True:
            # A receiver usually wants to answer: a message that the other connection cannot send yet would wait long
            # for its repeat.
            await self.wait_connected()
            try:
                consumer = await RabbitConsumer.start(await self._consuming.open_channel(), spec, prefetch)
            except (BusUnavailable, Conflict) as error:
                if isinstance(error, Refused) and error.code == 404:
                    await self._restore()
                await retry.after(error)
            else:
                self._consumed.add(queue)
                self._consuming.consumers.add(consumer)
                return consumer

    async def declare(self, queue: Queue) -> None:
        spec = self._topology.shared_spec(queue)
        try:
            await self._consuming.administer(lambda channel: channel.declare(spec))
        except Refused as error:
            if error.code != 404:
                raise
            await self._consuming.restore()
            await self._consuming.administer(lambda channel: channel.declare(spec))
        self._consuming.declared[spec.name] = spec

    async def consumers(self, queue: Queue) -> int | None:
        found = await self.inspect(queue)
        return None if found is None else found.consumers

    async def inspect(self, queue: Queue) -> QueueFacts | None:
        name = self._topology.shared_spec(queue).name
        try:
            reply = await self._consuming.administer(
                lambda channel: channel.call("queue_declare", queue=name, passive=True)
            )
        except Refused as error:
            if error.code == 404:
                return None
            raise
        return QueueFacts(int(reply.method.message_count), int(reply.method.consumer_count))

    async def health(self) -> BusReport:
        from broker_mesos.core.api.health import BusReport

        started = self._clock.monotonic()
        missing = await self._missing_exchange()
        round_trip = (self._clock.monotonic() - started) / len(self._topology.exchanges())
        if missing:
            await self._restore()
        return BusReport(
            error=restored(missing) if missing else "",
            server=self._consuming.product,
            connected=self.connected,
            blocked=self._publishing.blocked_since is not None,
            round_trip=round_trip,
            certificates=await self._publishing.server.certificates(),
        )

    async def _missing_exchange(self) -> str:
        for name in self._topology.exchanges():
            try:
                await self._consuming.administer(
                    partial(Channel.call, method="exchange_declare", exchange=name, passive=True)
                )
            except Refused as error:
                if error.code != 404:
                    raise
                return name
        return ""

    async def _restore(self, routes: Iterable[tuple[str, str]] = ()) -> None:
        if self._consuming.up:
            try:
                await self._consuming.restore(routes)
            except (BusUnavailable, Conflict) as error:
                log.warning("exchanges and bindings are not declared again: %s", error)

    @property
    def user(self) -> str:
        return self._publishing.server.user

    @property
    def verifies(self) -> bool:
        return self._senders is not None

    def verify(self, delivery: Delivery, message: Message) -> None:
        if self._senders is not None:
            self._senders.check(delivery, message)

    @property
    def blocked_reason(self) -> str:
        return self._publishing.blocked_reason

    async def delete(self, queue: Queue) -> None:
        name = self._topology.shared_spec(queue).name
        self._consuming.declared.pop(name, None)
        await self._consuming.administer(lambda channel: channel.call("queue_delete", queue=name))

    @property
    def connected(self) -> bool:
        return all(link.up for link in self._links) and self._publishing.blocked_since is None

    @property
    def connected_since(self) -> float:
        return max(link.up_since for link in self._links)


class _Retry:
    """The pauses between attempts to consume a queue that was refused, and the errors that are final. ``again``
    states that the queue was consumed before, so that no refusal is final except that of a queue in use."""

    def __init__(self, queue: Queue, clock: Clock, rng: random.Random, in_use_seconds: float, *, again: bool) -> None:
        self._queue = queue
        self._clock = clock
        self._rng = rng
        self._again = again
        self._in_use_seconds = in_use_seconds
        self._in_use_since: float | None = None
        self._delay = FIRST_DELAY_SECONDS
        self._logged = ""

    async def after(self, error: BusUnavailable | Conflict) -> None:
        """Wait before the next attempt, longer each time. Raises the error if it is final."""
        longest = MAX_DELAY_SECONDS
        if isinstance(error, QueueInUse):
            # The consumer may be a connection of this very process, which the broker does not know yet to be dead.
            now = self._clock.monotonic()
            self._in_use_since = now if self._in_use_since is None else self._in_use_since
            if now - self._in_use_since >= self._in_use_seconds:
                raise error
        elif isinstance(error, Conflict) or (isinstance(error, Refused) and error.code == 403):
            if not self._again:
                raise error
            longest = MAX_REFUSED_DELAY_SECONDS
        if str(error) != self._logged:
            self._logged = str(error)
            log.warning("cannot consume %s %s, trying again: %s", self._queue.kind, self._queue.key, error)
        await self._clock.sleep(self._delay * self._rng.uniform(0.5, 1.0))
        self._delay = min(self._delay * 2, longest)
