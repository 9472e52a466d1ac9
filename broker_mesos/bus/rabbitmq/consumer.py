"""A consumer, and the conversion of RabbitMQ's deliveries into those of the Bus port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from broker_mesos.bus.inbox import Inbox
from broker_mesos.bus.rabbitmq.channel import Channel
from broker_mesos.bus.rabbitmq.server import Refused
from broker_mesos.bus.topology import QueueSpec, queue_in_use
from broker_mesos.ports.bus import Delivery, bad_term

ACKNOWLEDGE_AFTER_SECONDS = 0.05
"""Time for which acknowledgements are collected before they are sent, in seconds: no process waits for them, and one
costs a quorum queue as much as a message does. If this process ends within that time, a handled message is delivered
again, which a receiver must expect anyhow."""


class RabbitConsumer:
    """A consumer on its own channel."""

    def __init__(self, channel: Channel, queue_name: str, spec: QueueSpec, prefetch: int) -> None:
        self._channel = channel
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._settles = not spec.exclusive
        self.bindings = spec.bindings
        self._inbox = Inbox()
        self._handled = self._acknowledged = 0
        """The delivery tags up to which everything is handled, and up to which it is acknowledged to the broker."""
        self._acknowledge_timer: asyncio.TimerHandle | None = None
        channel.on_closed = lambda error: self._end(str(error))
        channel.raw.add_on_cancel_callback(lambda frame: self._cancelled())

    @classmethod
    async def start(cls, channel: Channel, spec: QueueSpec, prefetch: int) -> RabbitConsumer:
        """Declare the queue and consume it on a new channel.

        An exclusive queue ends with its connection, together with its messages: none of them would be delivered
        again, so nothing is acknowledged to the broker. Raises Refused, Conflict if the queue exists with other
        arguments, QueueInUse if it is exclusive to another connection.
        """
        try:
            prefetch = min(prefetch, 65_535)
            consumer = cls(channel, await channel.declare(spec), spec, prefetch)
            await channel.call("basic_qos", prefetch_count=prefetch)
            await channel.call(
                "basic_consume",
                queue=consumer.queue_name,
                on_message_callback=consumer._take,
                auto_ack=spec.exclusive,
            )
        except Refused as error:
            channel.discard()
            if error.code == 405 and spec.exclusive and spec.name:
                raise queue_in_use(spec.name) from None
            raise
        except BaseException:
            channel.discard()
            raise
        return consumer

    @property
    def queue_name(self) -> str:
        return self._queue_name

    @property
    def is_open(self) -> bool:
        """Whether its queue is still consumed."""
        return self._channel.is_open

    async def receive(self, limit: int = 500) -> list[Delivery]:
        return await self._inbox.receive(limit)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        up_to, tags = self._inbox.settle(deliveries)
        if not (self._settles and self._channel.is_open):
            return
        if up_to:
            self._handled = up_to
            if up_to - self._acknowledged >= self._prefetch // 4:
                self.send_acknowledgements()
            elif self._acknowledge_timer is None:
                self._acknowledge_timer = asyncio.get_running_loop().call_later(
                    ACKNOWLEDGE_AFTER_SECONDS, self.send_acknowledgements
                )
        for tag in tags:
            self._channel.raw.basic_ack(tag)

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        up_to, tags = self._inbox.settle([delivery])
        if self._settles and self._channel.is_open and (up_to or tags):
            self._channel.raw.basic_reject(delivery.tag, requeue=requeue)

    async def close(self) -> None:
        self.send_acknowledgements()
        self._end("it was closed")
        await self._channel.close()

    def _take(self, channel: object, method: Any, properties: Any, body: bytes) -> None:
        self._inbox.put(_delivery(method, properties, body))

    def send_acknowledgements(self) -> None:
        """Acknowledge to the broker what is handled."""
        if self._acknowledge_timer is not None:
            self._acknowledge_timer.cancel()
            self._acknowledge_timer = None
        if self._handled > self._acknowledged and self._channel.is_open:
            self._acknowledged = self._handled
            self._channel.raw.basic_ack(self._handled, multiple=True)

    def _cancelled(self) -> None:
        self._end("its queue was deleted")
        self._channel.discard()

    def _end(self, reason: str) -> None:
        self._inbox.end(f"the consumer of {self._queue_name} has ended: {reason}")


def _delivery(method: Any, properties: Any, body: bytes) -> Delivery:
    """The delivery for a message of any publisher: an invalid header is left out, and an invalid term is stated as
    its problem."""
    headers = {}
    term = 0
    problem = ""
    for name, value in (properties.headers or {}).items():
        if name == "bmesos-term":
            problem = bad_term(value)
            term = 0 if problem else int(value)
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
        exchange=method.exchange or "",
        routing_key=method.routing_key or "",
        user_id=properties.user_id or "",
        problem=problem,
    )
