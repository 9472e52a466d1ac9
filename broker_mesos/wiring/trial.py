"""Checks that the servers of a cluster do what it needs from them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from broker_mesos.bus.open import CLOCK, open_bus
from broker_mesos.core.api.health import BusReport, StoreReport
from broker_mesos.core.protocol.addresses import Queue, QueueKind, reply, reply_key
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.errors import BrokerMesosError, Fenced
from broker_mesos.ports.bus import Bus, ConsumerClosed, outgoing
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.settings import Settings
from broker_mesos.runtime.timeouts import within
from broker_mesos.store.redis.store import RedisStore

TRIAL_SECONDS = 2.0
"""Timeout for one attempt at a server, in seconds."""
LOOK_SECONDS = 0.05
"""Interval at which it is checked whether the broker blocks publishers, in seconds."""


async def try_servers(settings: Settings) -> tuple[BusReport | None, StoreReport | None]:
    """Try those servers that the settings name, both at once, without log lines. Every problem is in the reports."""
    for name in ("broker_mesos", "pika"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    broker = asyncio.create_task(try_broker(settings)) if settings.broker_url is not None else None
    store = asyncio.create_task(try_store(settings)) if settings.store_url is not None else None
    return await broker if broker is not None else None, await store if store is not None else None


async def try_broker(settings: Settings) -> BusReport:
    """Connect to RabbitMQ, and send a message to this process. Every problem is in the report."""
    try:
        bus = open_bus(
            settings.need_broker(),
            name=f"bmesos doctor {os.getpid()}",
            cluster=settings.cluster,
            tls=settings.tls_files(),
        )
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(min(settings.connect_timeout, TRIAL_SECONDS))
            stack.push_async_callback(bus.close)
            around = asyncio.create_task(_send_around(bus))
            stack.callback(around.cancel)
            async with within(TRIAL_SECONDS):
                # Under an alarm the broker accepts no message: the report states that.
                while not (around.done() or bus.blocked_reason):
                    await asyncio.wait([around], timeout=LOOK_SECONDS)
            if around.done():
                around.result()
            async with within(TRIAL_SECONDS):
                return await bus.health()
    except (BrokerMesosError, ConsumerClosed, TimeoutError) as error:
        return BusReport(error=str(error) or "a message that was sent did not arrive")


async def _send_around(bus: Bus) -> None:
    key = reply_key(bus.user, new_id())
    consumer = await bus.consume(Queue(QueueKind.REPLY, key))
    await bus.publish(outgoing(reply(key), Ping(), new_id(), mandatory=True))
    await consumer.receive()


async def try_store(settings: Settings) -> StoreReport:
    """Connect to Redis, write, and run a script. Every problem is in the report."""
    try:
        store = RedisStore(settings.need_store(), cluster=settings.cluster, clock=CLOCK, tls=settings.tls_files())
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await store.open(min(settings.connect_timeout, TRIAL_SECONDS))
            await store.tried(0, ["doctor"])
            with contextlib.suppress(Fenced):  # the script has run, and found that there is no such lease
                await store.renew(0, term=0, nonce="doctor")
            return await store.health()
    except BrokerMesosError as error:
        return StoreReport(error=str(error))
