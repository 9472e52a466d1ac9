"""Whether the servers that a cluster needs do what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import os

from broker_mesos.bus.open import CLOCK, open_bus
from broker_mesos.core.api.health import BusReport, StoreReport
from broker_mesos.core.protocol.addresses import Queue, QueueKind, reply
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.errors import BrokerMesosError, Fenced
from broker_mesos.ports.bus import ConsumerClosed, outgoing
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.settings import Settings
from broker_mesos.store.redis.store import RedisStore


async def try_broker(settings: Settings) -> BusReport:
    """Connect to RabbitMQ, and send a message around: whatever is wrong is in the report."""
    try:
        bus = open_bus(settings.need_broker(), name=f"bmesos doctor {os.getpid()}", cluster=settings.cluster)
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            consumer = await bus.consume(Queue(QueueKind.REPLY))
            await bus.publish(outgoing(reply(consumer.queue_name), Ping(), new_id(), mandatory=True))
            async with asyncio.timeout(settings.connect_timeout):
                await consumer.receive()
            return await bus.health()
    except (BrokerMesosError, ConsumerClosed, TimeoutError) as error:
        return BusReport(error=str(error) or "a message that was sent did not come")


async def try_store(settings: Settings) -> StoreReport:
    """Connect to Redis, write, and run a script: whatever is wrong is in the report."""
    try:
        store = RedisStore(settings.need_store(), cluster=settings.cluster, clock=CLOCK)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await store.open(settings.connect_timeout)
            await store.tried(0, ["doctor"])
            with contextlib.suppress(Fenced):  # the script has run, and said that nobody has this lease
                await store.renew(0, term=0, nonce="doctor")
            return await store.health()
    except BrokerMesosError as error:
        return StoreReport(error=str(error))
