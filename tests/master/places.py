"""The two kinds of servers that masters run on: in this process, and real ones."""

from __future__ import annotations

import asyncio
import random

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.rabbitmq import RabbitBus
from broker_mesos.bus.requests import Requester
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.users import MASTER_USER
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.context import MasterContext
from broker_mesos.master.daemon import Master
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.store import Records, Store
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState
from broker_mesos.store.redis.records import RedisRecords
from broker_mesos.store.redis.store import RedisStore

KINDS = [pytest.param("memory"), pytest.param("real", marks=pytest.mark.servers)]
CLOCK = SystemClock()


class Place:
    """One cluster's servers, and those who use them; all is closed at the end."""

    def __init__(self, request: pytest.FixtureRequest, cluster: str) -> None:
        self.cluster = cluster
        self.real = request.param == "real"
        self.secure = False
        """Whether masters check the senders of messages; for the place in this process."""
        self.urls: tuple[str, str] = ("", "")
        if self.real:
            self.urls = request.getfixturevalue("rabbitmq_url"), request.getfixturevalue("redis_url")
        self.broker = MemoryBroker(CLOCK)
        self.state = MemoryStoreState()
        self._buses: list[Bus] = []
        self._stores: list[Store | Records] = []
        self._masters: list[tuple[Master, asyncio.Task[None]]] = []
        self._requesters: list[Requester] = []

    async def bus(self, name: str = "somebody", user: str = "") -> Bus:
        """An open bus; ``user`` is its name at the broker in this process."""
        made: Bus
        if self.real:
            made = RabbitBus(self.urls[0], clock=CLOCK, rng=random.Random(1), cluster=self.cluster, name=name)
        else:
            made = MemoryBus(self.broker, self.cluster, name, user=user, verifies=self.secure)
        await made.open(20)
        self._buses.append(made)
        return made

    async def store(self) -> Store:
        """An open store."""
        made: Store
        if self.real:
            made = RedisStore(self.urls[1], cluster=self.cluster, clock=CLOCK)
        else:
            made = MemoryStore(self.state, CLOCK)
        await made.open(20)
        self._stores.append(made)
        return made

    async def records(self) -> Records:
        """Open records of the masters."""
        made: Records
        if self.real:
            made = RedisRecords(self.urls[1], cluster=self.cluster, clock=CLOCK, space=SPACE)
        else:
            made = MemoryRecords(self.state, space=SPACE)
        await made.open(20)
        self._stores.append(made)
        return made

    async def master(self, ident: str, cells: int = 1) -> Master:
        """A master that stands by for every cell."""
        context = MasterContext(
            master_id=ident,
            cluster=self.cluster,
            bus=await self.bus(ident, MASTER_USER),
            store=await self.store(),
            records=await self.records(),
            clock=CLOCK,
            new_id=new_id,
            rng=random.Random(1),
            limits=Limits(),
            hostname="here",
            version="1",
        )
        master = Master(context, cells)
        task = asyncio.create_task(master.run())
        self._masters.append((master, task))
        ready = asyncio.create_task(master.ready.wait())
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            task.result()
        return master

    async def requester(self, user: str = "") -> Requester:
        """Asks operator requests."""
        made = Requester(await self.bus("cli", user), CLOCK, new_id)
        await made.start()
        self._requesters.append(made)
        return made

    async def close(self) -> None:
        """End all, and delete the queues that would stay."""
        for requester in self._requesters:
            await requester.close()
        for master, _ in self._masters:
            master.stop()
        await asyncio.gather(*(task for _, task in self._masters))
        if self.real:
            sweeper = await self.bus("sweeper")
            for kind in (QueueKind.DEAD_LETTERS, QueueKind.OPERATOR_MASTER):
                await sweeper.delete(Queue(kind))
            for cell in range(4):
                await sweeper.delete(Queue(QueueKind.CELL_INBOX, str(cell)))
        for store in self._stores:
            await store.close()
        for bus in self._buses:
            await bus.close()
