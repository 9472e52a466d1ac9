"""The Bus over RabbitMQ: two connections of pika's in one asyncio loop, which come back by themselves.

One connection publishes, the other consumes and declares, since an alarm on the broker stops reading a
publishing connection, acknowledgements included. Every consumer has a channel of its own, because closing
the channel is the one way of giving messages back in their order. This is the only file that knows pika.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosed, ShortStringTooLong

from broker_mesos.bus.inbox import Inbox
from broker_mesos.bus.signals import Signal
from broker_mesos.bus.topology import QueueSpec, Topology, conflict
from broker_mesos.bus.window import Window, failed, too_large
from broker_mesos.core.addresses import Queue
from broker_mesos.errors import BusUnavailable, Conflict, InvalidInput
from broker_mesos.ports import SCHEMA_VERSION, Clock, Delivery, Outgoing

log = logging.getLogger(__name__)
# pika reports with tracebacks what is translated here into one line.
logging.getLogger("pika").setLevel(logging.CRITICAL)

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 2.0


class Timeouts(NamedTuple):
    """Seconds that the bus waits for the broker."""

    handshake: float = 5.0
    """From the TCP connect to an open connection: a paused broker accepts, and then says nothing."""
    call: float = 10.0
    """A declaration and the like."""
    blocked: float = 15.0
    """An alarm on the broker; then what is pending fails, and publishing until its end."""
    confirm: float = 30.0
    """The oldest confirm; then the publishing connection is given up (a quorum queue without a quorum)."""
    close: float = 2.0
    """An orderly end."""


DEFAULT_TIMEOUTS = Timeouts()


class _Refused(BusUnavailable):
    """The broker closed the channel because of what was asked, with this AMQP code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Denied(BusUnavailable):
    """Credentials or the vhost are wrong: trying again is of no use to a caller that waits."""


class _Server:
    """Where the broker is, and errors about it in our words: never with a password."""

    def __init__(self, url: str) -> None:
        try:
            if not url.startswith(("amqp://", "amqps://")):
                raise ValueError(url)
            parameters = pika.URLParameters(url)
            self.host = str(parameters.host)
            self.port = int(parameters.port)
            self.vhost = str(parameters.virtual_host)
            self.user = str(getattr(parameters.credentials, "username", ""))
        except Exception:  # its text may hold the URL
            raise InvalidInput(
                "this is no AMQP URL: write amqp://user:password@host:5672/vhost, or amqps:// for TLS"
            ) from None
        self._url = url
        self.where = f"RabbitMQ at {self.host}:{self.port}, vhost {self.vhost!r}"

    def parameters(self, name: str, heartbeat: int, timeouts: Timeouts) -> pika.URLParameters:
        """pika's parameters for one connection attempt, whose repetition is ours."""
        parameters = pika.URLParameters(self._url)
        parameters.heartbeat = heartbeat
        parameters.blocked_connection_timeout = None
        parameters.connection_attempts = 1
        parameters.socket_timeout = timeouts.handshake
        parameters.stack_timeout = timeouts.handshake
        parameters.client_properties = {"connection_name": name, "product": "broker_mesos"}
        return parameters

    def error(self, error: BaseException) -> BusUnavailable:
        """What to tell a user about an exception of pika's or of the system's."""
        for cause in _causes(error):
            if isinstance(cause, ChannelClosed):
                return _Refused(f"{self.where}: {cause.reply_text}", cause.reply_code)
            if isinstance(cause, OSError) and (cause.strerror or str(cause)):
                return BusUnavailable(
                    f"{self.where} cannot be reached ({cause.strerror or cause}): "
                    "check that it runs, and the AMQP URL"
                )
        # pika wraps what the broker said during the handshake into the text of another exception. Without
        # a code, the same exceptions only mean that the broker went away while we were knocking.
        text = repr(error)
        if "ConnectionClosedByBroker: (403)" in text:
            return _Denied(
                f"{self.where} refused the user {self.user!r}: check user and password in the AMQP URL"
            )
        if "ConnectionClosedByBroker: (530)" in text:
            return _Denied(
                f"{self.where}: there is no such vhost, or the user {self.user!r} may not use it: "
                "create it (rabbitmqctl add_vhost, set_permissions) or name another one in the AMQP URL"
            )
        if "Timeout" in text:
            return BusUnavailable(f"{self.where} does not answer: is it paused, or is this another server?")
        return BusUnavailable(f"{self.where}: the connection was lost ({_short(error)})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that pika has wrapped into it, outermost first."""
    found: list[object] = [error]
    for each in found:
        if isinstance(each, BaseException):
            yield each
            nested = [*getattr(each, "exceptions", ()), getattr(each, "exception", None), *each.args]
            found += [cause for cause in nested if not any(cause is known for known in found)]


def _short(error: BaseException) -> str:
    text = getattr(error, "reply_text", "") or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]


class _Channel:
    """A channel whose calls are awaited, and end with an error when it closes instead of never."""

    def __init__(self, server: _Server, timeouts: Timeouts) -> None:
        self.raw: Channel
        self.on_closed: Callable[[BusUnavailable], None] = lambda error: None
        self.closed: asyncio.Future[BusUnavailable] = asyncio.get_running_loop().create_future()
        self._server = server
        self._timeouts = timeouts
        self._replies: set[asyncio.Future[Any]] = set()

    @classmethod
    async def open(cls, connection: Any, server: _Server, timeouts: Timeouts) -> _Channel:
        """A new channel of a connection. Raises BusUnavailable."""
        channel = cls(server, timeouts)

        def start(callback: Callable[[object], None]) -> None:
            channel.raw = connection.channel(on_open_callback=callback)
            channel.raw.add_on_close_callback(channel._closed)
            # pika cancels consumers before it closes a channel. The broker would then give the queue to the
            # next consumer before what we hold is back, which puts it out of order.
            setattr(channel.raw, "basic_cancel", lambda *args, **kwargs: None)  # noqa: B010

        await channel._await_reply("channel", start)
        return channel

    @property
    def is_open(self) -> bool:
        """Whether something can be sent."""
        return not self.closed.done() and self.raw.is_open

    async def call(self, method: str, **arguments: Any) -> Any:
        """A method of pika's channel with its ``callback``; returns the broker's reply.

        Raises BusUnavailable, as _Refused when the broker closed the channel over it.
        """

        def start(callback: Callable[[object], None]) -> None:
            getattr(self.raw, method)(callback=callback, **arguments)

        return await self._await_reply(method, start)

    async def declare(self, spec: QueueSpec) -> str:
        """Declare and bind a queue; returns its name. Raises Conflict if it exists otherwise."""
        try:
            reply = await self.call(
                "queue_declare",
                queue=spec.name,
                durable=spec.durable,
                exclusive=spec.exclusive,
                auto_delete=spec.auto_delete,
                arguments=dict(spec.arguments),
            )
        except _Refused as error:
            raise conflict(spec.name) if error.code == 406 else error from None
        name = str(reply.method.queue)
        for exchange, key in spec.bindings:
            await self.call("queue_bind", queue=name, exchange=exchange, routing_key=key)
        return name

    async def declare_exchanges(self, topology: Topology) -> None:
        """Declare a cluster's exchanges. Raises Conflict if one exists with another type."""
        for name, kind in topology.exchanges().items():
            try:
                await self.call("exchange_declare", exchange=name, exchange_type=kind, durable=True)
            except _Refused as error:
                raise conflict(name) if error.code == 406 else error from None

    def discard(self) -> None:
        """Close it without waiting. Idempotent."""
        if self.is_open:
            self.raw.close()

    async def close(self) -> None:
        """Close it, and wait until the broker has. Never raises, never takes long."""
        self.discard()
        await asyncio.wait([self.closed], timeout=self._timeouts.close)

    async def _await_reply(self, what: str, start: Callable[[Callable[[object], None]], None]) -> Any:
        if self.closed.done():
            raise self.closed.result()
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies.add(reply)
        try:
            start(lambda frame: None if reply.done() else reply.set_result(frame))
            async with asyncio.timeout(self._timeouts.call):
                return await reply
        except AMQPError as error:
            raise self._server.error(error) from None
        except TimeoutError:
            raise BusUnavailable(
                f"{self._server.where} did not answer {what} within {self._timeouts.call:g} s"
            ) from None
        finally:
            self._replies.discard(reply)

    def _closed(self, channel: Channel, reason: Exception) -> None:
        error = self._server.error(reason)
        if not self.closed.done():
            self.closed.set_result(error)
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(error)
        self.on_closed(error)


class RabbitConsumer:
    """A consumer on a channel of its own."""

    def __init__(self, channel: _Channel, queue_name: str) -> None:
        self._channel = channel
        self._queue_name = queue_name
        self._inbox = Inbox()
        channel.on_closed = lambda error: self._end(str(error))
        channel.raw.add_on_cancel_callback(lambda frame: self._cancelled())

    @classmethod
    async def start(cls, channel: _Channel, spec: QueueSpec, prefetch: int) -> RabbitConsumer:
        """Declare the queue and consume it on a fresh channel."""
        try:
            consumer = cls(channel, await channel.declare(spec))
            await channel.call("basic_qos", prefetch_count=min(prefetch, 65_535))
            await channel.call("basic_consume", queue=consumer.queue_name, on_message_callback=consumer._take)
        except BaseException:
            channel.discard()
            raise
        return consumer

    @property
    def queue_name(self) -> str:
        return self._queue_name

    async def receive(self, limit: int = 500) -> list[Delivery]:
        return await self._inbox.receive(limit)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        up_to, tags = self._inbox.settle(deliveries)
        if not self._channel.is_open:
            return
        if up_to:
            self._channel.raw.basic_ack(up_to, multiple=True)
        for tag in tags:
            self._channel.raw.basic_ack(tag)

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        up_to, tags = self._inbox.settle([delivery])
        if self._channel.is_open and (up_to or tags):
            self._channel.raw.basic_reject(delivery.tag, requeue=requeue)

    async def close(self) -> None:
        self._end("it was closed")
        await self._channel.close()

    def _take(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        self._inbox.put(_delivery(method, properties, body))

    def _cancelled(self) -> None:
        self._end("its queue was deleted")
        self._channel.discard()

    def _end(self, reason: str) -> None:
        self._inbox.end(f"the consumer of {self._queue_name} has ended: {reason}")


def _delivery(method: Any, properties: Any, body: bytes) -> Delivery:
    """A delivery, whoever published it: what does not fit is left out."""
    headers = {}
    term = 0
    for name, value in (properties.headers or {}).items():
        if name == "bmesos-term":
            term = value if isinstance(value, int) else 0
        elif isinstance(value, (str, int, float)):
            headers[str(name)] = str(value)
    return Delivery(
        type=properties.type or "",
        body=body,
        message_id=properties.message_id or "",
        tag=method.delivery_tag,
        redelivered=bool(method.redelivered),
        reply_to=properties.reply_to or "",
        correlation_id=properties.correlation_id or "",
        term=term,
        headers=headers,
        routing_key=method.routing_key or "",
    )


def _properties(message: Outgoing) -> pika.BasicProperties:
    headers: dict[str, str | int] = {"bmesos-schema": SCHEMA_VERSION, **message.headers}
    if message.term:
        headers["bmesos-term"] = message.term
    return pika.BasicProperties(
        content_type="application/json",
        headers=headers,
        delivery_mode=2 if message.persistent else 1,
        type=message.type,
        message_id=message.message_id,
        reply_to=message.reply_to or None,
        correlation_id=message.correlation_id or None,
        expiration=None if message.expiration is None else str(max(0, round(message.expiration * 1000))),
    )


class _Link:
    """A connection that comes back by itself, with jittered back-off, until stopped."""

    def __init__(self, bus: RabbitBus, role: str) -> None:
        self.bus = bus
        self.server = bus.server
        self.timeouts = bus.timeouts
        self.up = False
        self.up_since = 0.0
        self.stopped = False
        self.changed = Signal()
        self.error: BusUnavailable | Conflict = BusUnavailable(f"{self.server.where}: the bus is not open")
        self.connection: Any  # an AsyncioConnection, of which the stubs know half
        self._role = role
        self._task: asyncio.Task[None] | None = None

    async def set_up(self) -> None:
        """What a fresh connection needs before it is up."""
        raise NotImplementedError

    def went_down(self, reason: str) -> None:
        """The connection, which was up or nearly, is lost."""

    def check(self) -> None:
        """Called in each interval while up."""

    def start(self) -> None:
        """Connect, again and again."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"{self.bus.name} {self._role} connection")

    async def stop(self) -> None:
        """Disconnect in order, within the time for it."""
        self.stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.changed.fire()

    async def wait_up(self, *, impatient: bool = False) -> None:
        """Wait until up. Raises BusUnavailable when stopped; if impatient, also the error of an attempt
        whose repetition is of no use."""
        while not self.up:
            if self.stopped:
                raise BusUnavailable(f"{self.server.where}: the bus was closed")
            if impatient and isinstance(self.error, _Denied | Conflict):
                raise self.error
            await self.changed.wait()

    def ensure_up(self) -> None:
        """Raises BusUnavailable, with the last reason, when down."""
        if not self.up:
            raise BusUnavailable(str(self.error))

    async def _run(self) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                closed = await self._connect()
                try:
                    await self.set_up()
                    self._mark_up()
                    await self._watch(closed)
                finally:
                    if self.up and self.bus.clock.monotonic() - self.up_since > _LONGEST_DELAY:
                        delay = _FIRST_DELAY
                    await self._disconnect(closed)
            except (BusUnavailable, Conflict) as error:
                self._mark_down(error)
            except asyncio.CancelledError:
                self._mark_down(BusUnavailable(f"{self.server.where}: the bus was closed"))
                raise
            await self.bus.clock.sleep(delay * self.bus.rng.uniform(0.5, 1.0))
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _connect(self) -> asyncio.Future[BusUnavailable]:
        """Open a connection; returns the future of its end."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        closed: asyncio.Future[BusUnavailable] = loop.create_future()

        def on_open(_: object) -> None:
            if not opened.done():
                opened.set_result(None)

        def on_end(_: object, error: BaseException) -> None:
            if not closed.done():
                closed.set_result(self.server.error(error))
            if not opened.done():
                opened.set_exception(closed.result())

        self.connection = AsyncioConnection(
            self.server.parameters(f"{self.bus.name} ({self._role})", self.bus.heartbeat, self.timeouts),
            on_open_callback=on_open,
            on_open_error_callback=on_end,
            on_close_callback=on_end,
            custom_ioloop=loop,
        )
        try:
            # pika has the same limit and ends with an error by itself; ours is for what it overlooks.
            async with asyncio.timeout(self.timeouts.handshake + 1):
                await opened
        except TimeoutError:
            await self._disconnect(closed)
            raise BusUnavailable(f"{self.server.where} does not answer: is it paused?") from None
        except BaseException:
            await self._disconnect(closed)
            raise
        return closed

    async def _watch(self, closed: asyncio.Future[BusUnavailable]) -> None:
        """Until the connection ends. pika itself takes heartbeat + 5 s to notice that nothing comes."""
        interval = min(self.bus.heartbeat, self.timeouts.blocked / 4, self.timeouts.confirm / 4)
        heard, received = self.bus.clock.monotonic(), -1
        while not closed.done():
            await asyncio.wait([closed], timeout=interval)
            self.check()
            now = self.bus.clock.monotonic()
            if self.connection.bytes_received != received:
                heard, received = now, self.connection.bytes_received
            elif now - heard > 3 * self.bus.heartbeat:
                self._terminate()
                raise BusUnavailable(f"{self.server.where}: nothing heard for {now - heard:.0f} s")
        raise closed.result()

    async def _disconnect(self, closed: asyncio.Future[BusUnavailable]) -> None:
        if not closed.done() and not (self.connection.is_closing or self.connection.is_closed):
            self.connection.close()
            await asyncio.wait([closed], timeout=self.timeouts.close)
        if not closed.done():
            self._terminate()

    def _terminate(self) -> None:
        # There is no public way to drop a connection whose other end says nothing.
        self.connection._terminate_stream(pika.exceptions.StreamLostError("given up"))

    def _mark_up(self) -> None:
        self.up = True
        self.up_since = self.bus.clock.monotonic()
        log.info("%s: connected to %s", self._role, self.server.where)
        self.changed.fire()

    def _mark_down(self, error: BusUnavailable | Conflict) -> None:
        if not self.stopped and (self.up or str(error) != str(self.error)):
            log.warning("%s: %s", self._role, error)
        self.up = False
        self.error = error
        self.went_down(str(error))
        self.changed.fire()


class _PublishLink(_Link):
    """The publishing connection: one channel with confirms. Whatever closes that channel (an exchange that
    is gone) ends the connection too; the next one declares the exchanges again."""

    def __init__(self, bus: RabbitBus, window: int) -> None:
        super().__init__(bus, "publish")
        self.window = Window(window)
        self.blocked_since: float | None = None
        self.refusing = False
        self._channel: _Channel

    async def set_up(self) -> None:
        self.connection.add_on_connection_blocked_callback(lambda *_: self._blocked())
        self.connection.add_on_connection_unblocked_callback(lambda *_: self._unblocked())
        channel = await _Channel.open(self.connection, self.server, self.timeouts)
        await channel.declare_exchanges(self.bus.topology)
        self.window.restart()
        channel.raw.add_on_return_callback(self._returned)
        await channel.call("confirm_delivery", ack_nack_callback=self._confirmed)
        channel.on_closed = self._channel_closed
        self._channel = channel

    def went_down(self, reason: str) -> None:
        self.blocked_since = None
        self.refusing = False
        self.window.fail(reason)

    def check(self) -> None:
        now = self.bus.clock.monotonic()
        if self.blocked_since is not None:
            if now - self.blocked_since >= self.timeouts.blocked and not self.refusing:
                self.refusing = True
                self.window.fail(self._blocked_text())
            return
        since = self.window.oldest_since
        if since is not None and now - since > self.timeouts.confirm:
            raise BusUnavailable(f"{self.server.where}: no confirm within {self.timeouts.confirm:g} s")

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        """As ``Bus.publish``."""
        refusal = too_large(message)
        if refusal is not None:
            return failed(refusal)
        if not self.up:
            return failed(BusUnavailable(str(self.error)))
        if self.refusing:
            return failed(BusUnavailable(self._blocked_text()))
        if self.window.full:
            return failed(BusUnavailable(f"{len(self.window)} messages are unconfirmed: wait until writable"))
        exchange, key = self.bus.topology.route(message.to)
        try:
            self._channel.raw.basic_publish(
                exchange, key, message.body, _properties(message), mandatory=message.mandatory
            )
        except ShortStringTooLong as error:
            return failed(InvalidInput(f"{message.type}: a key or id of over 255 bytes ({error})"))
        except AMQPError as error:
            return failed(self.server.error(error))
        # Only now, since the broker counts what it was sent.
        return self.window.add(message, (exchange, key, message.message_id), self.bus.clock.monotonic())[1]

    async def writable(self) -> None:
        """As ``Bus.writable``."""
        while True:
            self.ensure_up()
            if self.blocked_since is None and not self.window.throttled:
                return
            await self.window.changed.wait()

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        error = None
        if method.NAME != "Basic.Ack":
            error = BusUnavailable(f"{self.server.where} could not take the message: send it again")
        self.window.settle(method.delivery_tag, multiple=method.multiple, error=error)

    def _returned(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        self.window.returned((method.exchange, method.routing_key, properties.message_id or ""))

    def _channel_closed(self, error: BusUnavailable) -> None:
        if self.up:
            self.up = False
            self.error = error
            self.window.fail(str(error))
            if self.connection.is_open:
                self.connection.close()

    def _blocked(self) -> None:
        if self.blocked_since is None:
            self.blocked_since = self.bus.clock.monotonic()
            log.warning("%s", self._blocked_text())

    def _unblocked(self) -> None:
        self.blocked_since = None
        self.refusing = False
        self.up_since = self.bus.clock.monotonic()
        log.info("%s takes messages again", self.server.where)
        self.window.changed.fire()

    def _blocked_text(self) -> str:
        return (
            f"{self.server.where} takes no messages: it has raised an alarm over memory or disk "
            "(rabbitmq-diagnostics alarms)"
        )


class _ConsumeLink(_Link):
    """The connection that consumes and declares."""

    def __init__(self, bus: RabbitBus) -> None:
        super().__init__(bus, "consume")
        self.declared: dict[str, QueueSpec] = {}
        self._admin: _Channel | None = None
        self._one_at_a_time = asyncio.Lock()

    async def set_up(self) -> None:
        channel = self._admin = await self.open_channel()
        await channel.declare_exchanges(self.bus.topology)
        for spec in list(self.declared.values()):
            try:
                await channel.declare(spec)
            except Conflict as error:
                log.error("%s", error)
                self.declared.pop(spec.name, None)
                channel = self._admin = await self.open_channel()

    async def open_channel(self) -> _Channel:
        """A fresh channel."""
        return await _Channel.open(self.connection, self.server, self.timeouts)

    async def administer(self, action: Callable[[_Channel], Awaitable[Any]]) -> Any:
        """Do something on the channel for declarations, which a refusal closes; one call at a time."""
        self.ensure_up()
        async with self._one_at_a_time:
            self.ensure_up()
            if self._admin is None or not self._admin.is_open:
                self._admin = await self.open_channel()
            return await action(self._admin)

    async def declare_exchanges(self) -> None:
        """Declare the exchanges again: somebody has deleted one."""
        await self.administer(lambda channel: channel.declare_exchanges(self.bus.topology))


class RabbitBus:
    """A Bus over RabbitMQ. ``heartbeat`` is AMQP's, in seconds; ``name`` is what the broker shows for its
    connections. Raises InvalidInput for a URL or cluster name that cannot be right."""

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
    ) -> None:
        self.name = name
        self.clock = clock
        self.rng = rng
        self.heartbeat = heartbeat
        self.timeouts = timeouts
        self.server = _Server(url)
        self.topology = Topology(cluster)
        self._publishing = _PublishLink(self, window)
        self._consuming = _ConsumeLink(self)
        self._links: tuple[_Link, ...] = (self._publishing, self._consuming)

    async def open(self, timeout: float) -> None:
        for link in self._links:
            link.start()
        try:
            async with asyncio.timeout(timeout):
                for link in self._links:
                    await link.wait_up(impatient=True)
        except TimeoutError:
            error = next((link.error for link in self._links if not link.up), None)
            await self.close()
            raise BusUnavailable(f"{error} (tried for {timeout:g} s)") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await asyncio.gather(*(link.stop() for link in self._links))

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        return self._publishing.publish(message)

    async def writable(self) -> None:
        await self._publishing.writable()

    async def consume(self, queue: Queue, *, prefetch: int = 500) -> RabbitConsumer:
        spec = self.topology.queue_spec(queue)
        while True:
            await self._consuming.wait_up()
            try:
                return await RabbitConsumer.start(await self._consuming.open_channel(), spec, prefetch)
            except _Refused as error:
                if error.code == 403:
                    raise
                if error.code == 404:
                    await self._consuming.declare_exchanges()
            except BusUnavailable as error:
                log.warning("consuming %s: %s", queue, error)
            await self.clock.sleep(_FIRST_DELAY * self.rng.uniform(0.5, 1.0))

    async def declare(self, queue: Queue) -> None:
        spec = self.topology.shared_spec(queue)
        try:
            await self._consuming.administer(lambda channel: channel.declare(spec))
        except _Refused as error:
            if error.code != 404:
                raise
            await self._consuming.declare_exchanges()
            await self._consuming.administer(lambda channel: channel.declare(spec))
        self._consuming.declared[spec.name] = spec

    async def consumers(self, queue: Queue) -> int | None:
        name = self.topology.shared_spec(queue).name
        try:
            reply = await self._consuming.administer(
                lambda channel: channel.call("queue_declare", queue=name, passive=True)
            )
        except _Refused as error:
            if error.code == 404:
                return None
            raise
        return int(reply.method.consumer_count)

    async def delete(self, queue: Queue) -> None:
        name = self.topology.shared_spec(queue).name
        self._consuming.declared.pop(name, None)
        await self._consuming.administer(lambda channel: channel.call("queue_delete", queue=name))

    @property
    def connected(self) -> bool:
        return all(link.up for link in self._links) and self._publishing.blocked_since is None

    @property
    def connected_since(self) -> float:
        return max(link.up_since for link in self._links)
