"""The publishing connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pika
from pika.exceptions import AMQPError, ShortStringTooLong

from broker_mesos.bus.rabbitmq.channel import Channel
from broker_mesos.bus.rabbitmq.link import Link, Setting
from broker_mesos.bus.rabbitmq.server import Refused
from broker_mesos.bus.window import Window, failed, too_large
from broker_mesos.core.protocol.addresses import SCHEMA_VERSION
from broker_mesos.errors import BusUnavailable, InvalidInput
from broker_mesos.ports.bus import Outgoing, expiration_ms

log = logging.getLogger(__name__)


class PublishLink(Link):
    """The publishing connection: one channel with confirms. Any error that closes the channel (an exchange that is
    gone) ends the connection too; before the next one is up, ``restore`` has declared the exchanges again and bound
    the queues that their messages are for."""

    def __init__(self, setting: Setting, window: int) -> None:
        super().__init__(setting, "publish")
        self.window = Window(window)
        self.blocked_since: float | None = None
        self.refusing = False
        self._alarm = ""
        self.on_confirm = self._confirmed
        self.on_returned: Callable[[str, str], None] = lambda exchange, key: None
        """A function that is called with the exchange and routing key of a message that came back as unroutable."""
        self.restore: Callable[[Iterable[tuple[str, str]]], Awaitable[None]]
        """A function that declares the exchanges with their bindings; it gets the routes of the mandatory messages
        that were under way."""
        self._lost_routes: set[tuple[str, str]] = set()
        self._channel: Channel

    async def set_up(self) -> None:
        self.connection.add_on_connection_blocked_callback(lambda _, frame: self._blocked(frame))
        self.connection.add_on_connection_unblocked_callback(lambda *_: self._unblocked())
        channel = await self.open_channel_with_exchanges()
        routes, self._lost_routes = self._lost_routes, set()
        await self.restore(routes)
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
        now = self.setting.clock.monotonic()
        if self.blocked_since is not None:
            if now - self.blocked_since >= self.timeouts.blocked and not self.refusing:
                self.refusing = True
                self.window.fail(self.blocked_reason)
            return
        since = self.window.oldest_since
        if since is not None and now - since > self.timeouts.confirm:
            raise BusUnavailable(f"{self.server.where}: no confirm within {self.timeouts.confirm:g} s")

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        """See ``Bus.publish``."""
        refusal = too_large(message)
        if refusal is not None:
            return failed(refusal)
        if not self.up:
            return failed(BusUnavailable(str(self.error)))
        if self.refusing:
            return failed(BusUnavailable(self.blocked_reason))
        if self.window.full:
            return failed(BusUnavailable(f"{len(self.window)} messages are unconfirmed: wait until writable"))
        exchange, key = self.setting.topology.route(message.to)
        try:
            self._channel.raw.basic_publish(
                exchange, key, message.body, self._properties(message), mandatory=message.mandatory
            )
        except ShortStringTooLong as error:
            return failed(InvalidInput(f"{message.type}: a key or id of over 255 bytes ({error})"))
        except AMQPError as error:
            return failed(self.server.error(error))
        # Only now, since the broker counts the messages that it was sent.
        return self.window.add(message, (exchange, key, message.message_id), self.setting.clock.monotonic())[1]

    async def writable(self) -> None:
        """See ``Bus.writable``."""
        while True:
            self.ensure_up()
            if self.blocked_since is None and not self.window.throttled:
                return
            await self.window.changed.wait()

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        error = None
        if method.NAME != "Basic.Ack":
            error = BusUnavailable(f"{self.server.where} could not accept the message: send it again")
        self.window.settle(method.delivery_tag, multiple=method.multiple, error=error)

    def _returned(self, channel: object, method: Any, properties: Any, body: bytes) -> None:
        self.window.returned((method.exchange, method.routing_key, properties.message_id or ""))
        self.on_returned(method.exchange, method.routing_key)

    def _channel_closed(self, error: BusUnavailable) -> None:
        if self.up:
            self.up = False
            self.error = error
            if isinstance(error, Refused) and error.code == 404:
                self._lost_routes = self.window.routes()
            self.window.fail(str(error))
            if self.connection.is_open:
                self.connection.close()

    def _properties(self, message: Outgoing) -> pika.BasicProperties:
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
            expiration=None if message.expiration is None else str(expiration_ms(message.expiration)),
            # The broker refuses the name of another user: receivers may rely on it.
            user_id=self.server.user or None,
        )

    def _blocked(self, frame: Any) -> None:
        self._alarm = alarm(str(frame.method.reason))
        if self.blocked_since is None:
            self.blocked_since = self.setting.clock.monotonic()
            log.warning("%s", self.blocked_reason)

    def _unblocked(self) -> None:
        self.blocked_since = None
        self.refusing = False
        self.up_since = self.setting.clock.monotonic()
        log.info("%s accepts messages again", self.server.where)
        self.window.changed.fire()

    @property
    def blocked_reason(self) -> str:
        """See ``Bus.blocked_reason``."""
        if self.blocked_since is None:
            return ""
        return f"{self.server.where} blocks publishers: {self._alarm} alarm (rabbitmq-diagnostics alarms)"


def alarm(reason: str) -> str:
    """The RabbitMQ alarm in a reason such as "low on disk": ``disk`` or ``memory``; both if the reason contains
    neither."""
    found = [each for each in ("memory", "disk") if each in reason.lower()]
    return " and ".join(found) or "memory or disk"
