"""What the bus suite talks to: a broker, and buses of one cluster on it."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pika

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.rabbitmq import RabbitBus, Timeouts
from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Address, Exchange, Queue, QueueKind
from broker_mesos.ports.bus import Bus, Consumer, Delivery, Outgoing

PATIENCE = 90.0
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


class Parties(ABC):
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

    @abstractmethod
    def make(self, cluster: str, **options: Any) -> Bus:
        """A bus that is not opened yet; ``options`` are the adapter's."""

    @abstractmethod
    async def restart(self) -> None:
        """Stop and start the broker."""

    @abstractmethod
    async def delete_exchange(self, exchange: Exchange) -> None:
        """As an operator does."""

    @abstractmethod
    async def unbind(self, queue: Queue, exchange: Exchange, key: str) -> None:
        """As an operator does."""

    @abstractmethod
    async def quick_bus(self) -> Any:
        """An open bus that binds its queues again several times a second."""

    @abstractmethod
    async def impatient_bus(self) -> Any:
        """An open bus that soon takes a queue in use for one that stays in use."""

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

    async def delete_exchange(self, exchange: Exchange) -> None:
        self.broker.delete_exchange(Topology(self.cluster).exchange(exchange))

    async def unbind(self, queue: Queue, exchange: Exchange, key: str) -> None:
        topology = Topology(self.cluster)
        self.broker.unbind(topology.queue_spec(queue).name, topology.exchange(exchange), key)

    async def quick_bus(self) -> Any:
        self.broker.bind_again_seconds = 0.1
        self.broker.bind_again()
        return await self.bus()

    async def impatient_bus(self) -> Any:
        return await self.bus()


class RabbitParties(Parties):
    """On a RabbitMQ."""

    def __init__(self, cluster: str, server: Any) -> None:
        super().__init__(cluster)
        self.server = server

    def make(self, cluster: str, *, url: str = "", **options: Any) -> RabbitBus:
        return RabbitBus(url or self.server.url, cluster=cluster, clock=SystemClock(), rng=random.Random(1), **options)

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)

    async def delete_exchange(self, exchange: Exchange) -> None:
        name = Topology(self.cluster).exchange(exchange)
        await self.administer(lambda channel: channel.exchange_delete(name))

    async def unbind(self, queue: Queue, exchange: Exchange, key: str) -> None:
        topology = Topology(self.cluster)
        name = topology.queue_spec(queue).name
        await self.administer(lambda channel: channel.queue_unbind(name, topology.exchange(exchange), key))

    async def quick_bus(self) -> Any:
        return await self.bus(timeouts=Timeouts(bindings=0.1))

    async def impatient_bus(self) -> Any:
        return await self.bus(timeouts=Timeouts(in_use=0.2))

    async def administer(self, action: Callable[[Any], object]) -> None:
        """Do something on a channel that is not the bus's."""

        def do() -> None:
            with pika.BlockingConnection(pika.URLParameters(self.server.url)) as connection:
                action(connection.channel())

        await asyncio.to_thread(do)
