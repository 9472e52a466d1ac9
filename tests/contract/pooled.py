"""What the shared pipeline replaces: redis-py's own way to send a command, with a connection of the pool for each."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from broker_mesos.store.redis.connection import _Connection
from broker_mesos.store.redis.pipeline import Argument


class Pooled:
    """The face of ``Pipeline``, on the pool of an adapter. Replies are raw, as the pipeline's are."""

    def __init__(self, adapter: _Connection) -> None:
        self._client: Any = Redis(connection_pool=adapter._client.connection_pool)
        self._client.response_callbacks.clear()

    async def execute_command(self, *words: Argument) -> Any:
        return await self._client.execute_command(*words)

    def drop(self) -> None:
        """Nothing: the pool closes the connection of a call that was cut off."""

    async def close(self) -> None:
        """Nothing: the adapter closes its pool."""


def without_pipeline(adapter: Any) -> Any:
    """The adapter, with the pool in place of its pipeline."""
    adapter._pipeline = Pooled(adapter)
    return adapter
