"""The connection that consumes and declares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from broker_mesos.bus.rabbitmq.channel import Channel
from broker_mesos.bus.rabbitmq.link import Link, Setting
from broker_mesos.bus.topology import QueueSpec
from broker_mesos.errors import Conflict

log = logging.getLogger(__name__)


class ConsumeLink(Link):
    """The connection that consumes and declares."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, "consume")
        self.declared: dict[str, QueueSpec] = {}
        self._admin: Channel | None = None
        self._one_at_a_time = asyncio.Lock()

    async def set_up(self) -> None:
        channel = self._admin = await self.open_channel()
        await channel.declare_exchanges(self.setting.topology)
        for spec in list(self.declared.values()):
            try:
                await channel.declare(spec)
            except Conflict as error:
                log.error("%s", error)
                self.declared.pop(spec.name, None)
                channel = self._admin = await self.open_channel()

    @property
    def product(self) -> str:
        """The server's name and version; not known before the first connection."""
        told = self.connection.server_properties or {}
        return f"{told.get('product', 'RabbitMQ')} {told.get('version', '')}".strip()

    async def open_channel(self) -> Channel:
        """A fresh channel."""
        return await Channel.open(self.connection, self.server, self.timeouts)

    async def administer(self, action: Callable[[Channel], Awaitable[Any]]) -> Any:
        """Do something on the channel for declarations, which a refusal closes; one call at a time."""
        self.ensure_up()
        async with self._one_at_a_time:
            self.ensure_up()
            if self._admin is None or not self._admin.is_open:
                self._admin = await self.open_channel()
            return await action(self._admin)

    async def declare_exchanges(self) -> None:
        """Declare the exchanges again: somebody has deleted one."""
        await self.administer(lambda channel: channel.declare_exchanges(self.setting.topology))
