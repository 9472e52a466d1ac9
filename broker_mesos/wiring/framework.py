"""Builds and runs a process of a built-in framework on RabbitMQ and Redis."""

from __future__ import annotations

import contextlib
import random

from broker_mesos.bus.caller import CheckedAccess
from broker_mesos.bus.open import CLOCK, daemon_bus
from broker_mesos.frameworks.registry import FRAMEWORKS, BuiltInFramework, Context, FrameworkProcess
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.store import Records
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.policy_file import policy_file
from broker_mesos.runtime.process import Stop, run_process, serve
from broker_mesos.runtime.settings import Settings
from broker_mesos.store.redis.records import RedisRecords


def build_framework(
    framework: BuiltInFramework, settings: Settings, bus: Bus, records: Records, access: CheckedAccess | None = None
) -> FrameworkProcess:
    """A process of the framework on these adapters. ``access`` is the policy by which it refuses requests."""
    return framework.build(Context(settings, bus, records, CLOCK, new_id, random.Random(), access))


def run_framework(framework: BuiltInFramework, settings: Settings) -> int:
    """Run ``bmesos framework NAME``."""

    async def main(stop: Stop) -> None:
        records = RedisRecords(
            settings.need_store(),
            cluster=settings.cluster,
            clock=CLOCK,
            space=framework.space,
            timeout=settings.store_silence,
            name=f"bmesos-{framework.name}",
            tls=settings.tls_files(),
        )
        access = policy_file(settings, FRAMEWORKS)
        bus = daemon_bus(settings, framework.name)
        async with contextlib.AsyncExitStack() as stack:
            await records.open(settings.connect_timeout)
            stack.push_async_callback(records.close)
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            process = build_framework(framework, settings, bus, records, access)

            async def ready() -> None:
                await process.serving.wait()
                await process.subscribed.wait()

            def status() -> str:
                return f"{framework.name} is {'' if process.subscribed.is_set() else 'not '}subscribed"

            await serve(process.run(), stop, process.stop, ready=ready, status=status)

    return run_process(settings, main)
