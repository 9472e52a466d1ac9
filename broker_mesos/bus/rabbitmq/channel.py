"""A channel whose calls can be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pika.exceptions import AMQPError

from broker_mesos.bus.rabbitmq.server import Refused, Server, Timeouts
from broker_mesos.bus.topology import QueueSpec, Topology, conflict
from broker_mesos.errors import BusUnavailable
from broker_mesos.runtime.timeouts import time_limit

BINDINGS = 200
"""Number of bindings of a queue that are sent before the broker's answer is awaited."""


class Channel:
    """A channel whose calls can be awaited, and end with an error instead of never when it closes."""

    def __init__(self, server: Server, timeouts: Timeouts) -> None:
        self.raw: Any = None  # a pika.channel.Channel; the stubs forbid what is done with it
        self.on_closed: Callable[[BusUnavailable], None] = lambda error: None
        self.closed: asyncio.Future[BusUnavailable] = asyncio.get_running_loop().create_future()
        self._server = server
        self._timeouts = timeouts
        self._replies: set[asyncio.Future[Any]] = set()

    @classmethod
    async def open(cls, connection: Any, server: Server, timeouts: Timeouts) -> Channel:
        """Open a new channel of a connection. Raises BusUnavailable."""
        channel = cls(server, timeouts)

        def start(callback: Callable[[object], None]) -> None:
            channel.raw = connection.channel(on_open_callback=callback)
            channel.raw.add_on_close_callback(channel._closed)
            # pika cancels consumers before it closes a channel. The broker would then make the next consumer active
            # before the unacknowledged messages of this one are back, which changes their order.
            channel.raw.basic_cancel = lambda *args, **kwargs: None

        try:
            await channel._await_reply("channel", start)
        except BaseException:
            channel.discard()
            raise
        return channel

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return not self.closed.done() and self.raw.is_open

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of pika's channel with its ``callback``, and return the broker's reply. Raises
        BusUnavailable, as Refused when the broker closed the channel because of the call."""

        def start(callback: Callable[[object], None]) -> None:
            getattr(self.raw, method)(callback=callback, **arguments)

        return await self._await_reply(method, start)

    async def declare(self, spec: QueueSpec) -> str:
        """Declare and bind a queue. Returns its name. Raises Conflict if it exists with other arguments."""
        try:
            reply = await self.call(
                "queue_declare",
                queue=spec.name,
                durable=spec.durable,
                exclusive=spec.exclusive,
                auto_delete=spec.auto_delete,
                arguments=dict(spec.arguments),
            )
        except Refused as error:
            raise conflict(spec.name, str(error)) if error.code == 406 else error from None
        name = str(reply.method.queue)
        await self.bind(name, spec.bindings)
        return name

    async def bind(self, queue: str, bindings: Sequence[tuple[str, str]]) -> None:
        """Bind a queue to each (exchange, routing key); a binding that exists stays as it is. Raises Refused with
        code 404 if the queue or an exchange does not exist."""
        for at, (exchange, key) in enumerate(bindings, start=1):
            # The broker handles calls in their order, so that an answer to one means that those before it were
            # handled.
            if at % BINDINGS and at < len(bindings):
                self._bind_without_answer(queue, exchange, key)
            else:
                await self.call("queue_bind", queue=queue, exchange=exchange, routing_key=key)

    def _bind_without_answer(self, queue: str, exchange: str, key: str) -> None:
        """Send a binding without waiting for the answer: a refusal closes the channel."""
        try:
            self.raw.queue_bind(queue, exchange, key)
        except AMQPError as error:
            raise self._server.error(error) from None

    async def declare_exchanges(self, topology: Topology, *, passive: bool = False) -> None:
        """Declare a cluster's exchanges; ``passive`` only checks that they exist, which needs no permission. Raises
        Conflict if one exists with another type, and Refused with code 403 if this user may not declare them, or
        404 if one is missing."""
        for name, kind in topology.exchanges().items():
            try:
                await self.call("exchange_declare", exchange=name, exchange_type=kind, durable=True, passive=passive)
            except Refused as error:
                raise conflict(name, str(error)) if error.code == 406 else error from None

    def discard(self) -> None:
        """Close the channel without waiting. Idempotent."""
        raw = self.raw
        if raw is not None and not (raw.is_closing or raw.is_closed):
            raw.close()

    async def close(self) -> None:
        """Close the channel, and wait until the broker has closed it. Never raises, and ends within the timeout for
        closing."""
        self.discard()
        await asyncio.wait([self.closed], timeout=self._timeouts.close)

    async def _await_reply(self, what: str, start: Callable[[Callable[[object], None]], None]) -> Any:
        if self.closed.done():
            raise self.closed.result()
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies.add(reply)
        try:
            start(lambda frame: None if reply.done() else reply.set_result(frame))
            async with time_limit(self._timeouts.call):
                return await reply
        except AMQPError as error:
            raise self._server.error(error) from None
        except TimeoutError:
            # pika holds back every later call until this one is answered
            self.discard()
            raise BusUnavailable(
                f"{self._server.where} did not answer {what} within {self._timeouts.call:g} s"
            ) from None
        finally:
            self._replies.discard(reply)

    def _closed(self, channel: object, reason: Exception) -> None:
        error = self._server.error(reason)
        if not self.closed.done():
            self.closed.set_result(error)
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(error)
        self.on_closed(error)
