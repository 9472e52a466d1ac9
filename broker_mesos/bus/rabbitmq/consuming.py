"""The connection that consumes and declares."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from broker_mesos.bus.rabbitmq.channel import Channel
from broker_mesos.bus.rabbitmq.consumer import RabbitConsumer
from broker_mesos.bus.rabbitmq.link import Link, Setting
from broker_mesos.bus.rabbitmq.server import Refused
from broker_mesos.bus.topology import QueueSpec
from broker_mesos.errors import BusUnavailable, Conflict

log = logging.getLogger(__name__)

ROUTE_REPAIR_SECONDS = 10.0
"""Minimum time between two attempts to bind the queue of one route, in seconds: most returned messages were for a
process that has left, and each attempt costs a channel."""
MAX_ROUTES = 1_000
"""Maximum number of routes for which the last attempt is recorded."""


class ConsumeLink(Link):
    """The connection that consumes and declares.

    The broker does not notify processes when an exchange or a binding is deleted, and an exchange that is declared
    again has no bindings. So a process that declares exchanges also binds its queues, and all queues are bound again
    from time to time (``Timeouts.bindings``).
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, "consume")
        self.declared: dict[str, QueueSpec] = {}
        self.consumers: weakref.WeakSet[RabbitConsumer] = weakref.WeakSet()
        self._admin: Channel | None = None
        self._one_at_a_time = asyncio.Lock()
        self._bind_again_at = 0.0
        self._attempted: dict[tuple[str, str], float] = {}
        self._routes: dict[tuple[str, str], None] = {}
        self._background: dict[str, asyncio.Task[None]] = {}

    async def set_up(self) -> None:
        channel = self._admin = await self.open_channel_with_exchanges()
        for spec in list(self.declared.values()):
            try:
                await channel.declare(spec)
            except (Refused, Conflict) as error:
                log.error("%s", error)
                channel = self._admin = await self.open_channel()
        self._schedule()

    async def stop(self) -> None:
        for task in self._background.values():
            task.cancel()
        await super().stop()

    def check(self) -> None:
        if self.setting.clock.monotonic() >= self._bind_again_at:
            self._schedule()
            self._start("bind again", self.bind_again)

    @property
    def product(self) -> str:
        """The name and version of the server, which is not known before the first connection."""
        properties = self.connection.server_properties or {}
        return f"{properties.get('product', 'RabbitMQ')} {properties.get('version', '')}".strip()

    async def administer(self, action: Callable[[Channel], Awaitable[Any]]) -> Any:
        """Run a call on the channel for declarations, which a refusal closes; one call at a time."""
        self.ensure_up()
        async with self._one_at_a_time:
            self.ensure_up()
            if self._admin is None or not self._admin.is_open:
                self._admin = await self.open_channel()
            return await action(self._admin)

    async def restore(self, routes: Iterable[tuple[str, str]] = ()) -> None:
        """Declare the exchanges, since one is missing, and bind again: the queues of this bus, and those that
        messages to these ``routes`` (exchange, routing key) are for. Raises BusUnavailable or Conflict if the
        exchanges cannot be declared."""
        await self._declare_exchanges()
        await self.bind_again()
        for route in routes:
            await self._bind_route(route)

    async def bind_again(self) -> None:
        """Bind every queue that this bus consumes or has declared once more. A refusal is logged, and the binding is
        attempted again the next time."""
        for spec in list(self.declared.values()):
            await self._repeat(spec.name, partial(Channel.declare, spec=spec))
        for consumer in list(self.consumers):
            if consumer.is_open and consumer.bindings and consumer.queue_name not in self.declared:
                again = partial(Channel.bind, queue=consumer.queue_name, bindings=consumer.bindings)
                await self._repeat(consumer.queue_name, again)

    def bind_route(self, exchange: str, key: str) -> None:
        """Bind, in the background, the queue for a message that came back as unroutable, if that queue exists."""
        now = self.setting.clock.monotonic()
        route = exchange, key
        if now < self._attempted.get(route, now):
            return
        if len(self._attempted) >= MAX_ROUTES:
            self._attempted = {each: until for each, until in self._attempted.items() if until > now}
        if len(self._attempted) < MAX_ROUTES:
            self._attempted[route] = now + ROUTE_REPAIR_SECONDS
            self._routes[route] = None
            self._start("bind routes", self._bind_routes)

    def _schedule(self) -> None:
        pause = self.timeouts.bindings * self.setting.rng.uniform(1.0, 2.0)
        self._bind_again_at = self.setting.clock.monotonic() + pause

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        running = self._background.get(name)
        if running is None or running.done():
            self._background[name] = asyncio.create_task(self._guarded(work), name=f"{self.setting.name}: {name}")

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        with contextlib.suppress(BusUnavailable):  # after the next connect everything is declared again
            await work()

    async def _repeat(self, name: str, action: Callable[[Channel], Awaitable[Any]]) -> None:
        for last in (False, True):
            try:
                await self.administer(action)
                return
            except Conflict as error:
                log.error("%s", error)
                return
            except Refused as error:
                # The queue has lost its exchange. A queue that is gone ends its consumer, which declares it again.
                if last or error.code != 404:
                    log.warning("cannot bind %s again: %s", name, error)
                    return
                await self._declare_exchanges()

    async def _declare_exchanges(self) -> None:
        rights = self.setting.exchange_rights

        def declare(channel: Channel) -> Awaitable[None]:
            return channel.declare_exchanges(self.setting.topology, passive=rights.passive)

        try:
            await self.administer(declare)
        except Refused as error:
            if not rights.refused(error):
                raise
            await self.administer(declare)

    async def _bind_routes(self) -> None:
        while self._routes:
            route = next(iter(self._routes))
            del self._routes[route]
            await self._bind_route(route)

    async def _bind_route(self, route: tuple[str, str]) -> None:
        spec = self.setting.topology.destination(*route)
        if spec is not None:
            with contextlib.suppress(Refused):  # 404: there is no such queue
                await self.administer(lambda channel: channel.bind(spec.name, spec.bindings))
