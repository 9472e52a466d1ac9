"""What the bus suite talks to: a broker, and buses of one cluster on it."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.rabbitmq import RabbitBus
from broker_mesos.core.protocol.addresses import Address, Queue, QueueKind
from broker_mesos.ports.bus import Bus, Consumer, Delivery, Outgoing

PATIENCE = 20.0
"""Seconds after which a wait in these tests is a failure."""


class SystemClock:
    """Real time."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def message(to: Address, body: bytes | str | int = b"{}", **properties: Any) -> Outgoing:
    """A message whose id is its body."""
    data = body if isinstance(body, bytes) else str(body).encode()
    return Outgoing(**{"to": to, "type": "test", "body": data, "message_id": data.hex()[:40]} | properties)


async def take(consumer: Consumer, count: int) -> list[Delivery]:
    """The next ``count`` deliveries."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(taken) < count:
            taken += await consumer.receive(count - len(taken))
    return taken


async def bodies(consumer: Consumer, count: int) -> list[str]:
    """The bodies of the next ``count`` deliveries."""
    return [delivery.body.decode() for delivery in await take(consumer, count)]


class Parties:
    """Opens buses, and at the end closes them and deletes the queues they shared."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self._buses: list[tuple[str, Bus]] = []
        self._queues: set[tuple[str, Queue]] = set()

    async def bus(self, *, cluster: str | None = None, **options: Any) -> Any:
        """An open bus; ``options`` are the adapter's."""
        bus = self.make(cluster or self.cluster, **options)
        await bus.open(PATIENCE)
        self._buses.append((cluster or self.cluster, bus))
        return bus

    def make(self, cluster: str, **options: Any) -> Bus:
        raise NotImplementedError

    async def restart(self) -> None:
        """Stop and start the broker."""
        raise NotImplementedError

    def queue(self, kind: QueueKind, key: str = "", *, cluster: str | None = None, competing: bool = False) -> Queue:
        """A queue, deleted after the test."""
        queue = Queue(kind, key, competing)
        self._queues.add((cluster or self.cluster, queue))
        return queue

    async def close(self) -> None:
        for _, bus in self._buses:
            await bus.close()
        for cluster in {cluster for cluster, _ in self._queues}:
            sweeper = await self.bus(cluster=cluster)
            for owner, queue in self._queues:
                if owner == cluster:
                    await sweeper.delete(queue)
            await sweeper.close()


class MemoryParties(Parties):
    """On a broker inside the process."""

    def __init__(self, cluster: str) -> None:
        super().__init__(cluster)
        self.broker = MemoryBroker(SystemClock())

    def make(self, cluster: str, **options: Any) -> Bus:
        return MemoryBus(self.broker, cluster, **options)

    async def restart(self) -> None:
        self.broker.stop()
        self.broker.start()


class RabbitParties(Parties):
    """On a RabbitMQ."""

    def __init__(self, cluster: str, server: Any) -> None:
        super().__init__(cluster)
        self.server = server

    def make(self, cluster: str, *, url: str = "", **options: Any) -> RabbitBus:
        return RabbitBus(url or self.server.url, cluster=cluster, clock=SystemClock(), rng=random.Random(1), **options)

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)
