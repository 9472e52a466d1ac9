"""A worker of the batch framework, on RabbitMQ and Redis."""

from __future__ import annotations

import asyncio
import contextlib
import random

from broker_mesos.bus.open import CLOCK, daemon_bus
from broker_mesos.frameworks.batch.worker import BatchSettings, BatchWorker
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.store import Records
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.process import run_process, serve
from broker_mesos.runtime.settings import Settings
from broker_mesos.store.redis.records import RedisRecords


def build_batch(settings: Settings, bus: Bus, records: Records) -> BatchWorker:
    """A worker of the batch framework."""
    limits = BatchSettings(offer_timeout=settings.offer_timeout, sweep_interval=settings.offer_timeout / 2)
    return BatchWorker(bus, records, CLOCK, new_id, random.Random(), limits)


def run_batch(settings: Settings) -> int:
    """``bmesos framework batch``."""

    async def main(stop: asyncio.Event) -> None:
        records = RedisRecords(
            settings.need_store(), cluster=settings.cluster, clock=CLOCK, timeout=settings.store_silence
        )
        bus = daemon_bus(settings, "batch")
        async with contextlib.AsyncExitStack() as stack:
            await records.open(settings.connect_timeout)
            stack.push_async_callback(records.close)
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            worker = build_batch(settings, bus, records)
            await serve(worker.run(), stop, worker.stop)

    return run_process(settings, main)
