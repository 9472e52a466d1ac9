"""Builds and runs a master on RabbitMQ and Redis."""

from __future__ import annotations

import contextlib
import os
import random

from broker_mesos import __version__
from broker_mesos.agent import probe
from broker_mesos.bus.caller import CheckedAccess
from broker_mesos.bus.open import CLOCK, check_daemon_user, daemon_bus
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.users import MASTER_USER
from broker_mesos.frameworks.registry import FRAMEWORKS
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.context import MasterContext
from broker_mesos.master.daemon import Master
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.store import Records, Store
from broker_mesos.ports.streams import Streams
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.plugins import load_policies
from broker_mesos.runtime.policy_file import policy_file
from broker_mesos.runtime.process import Stop, run_process, serve
from broker_mesos.runtime.settings import DEFAULT_CELLS, Settings
from broker_mesos.store.redis.records import RedisRecords
from broker_mesos.store.redis.store import RedisStore
from broker_mesos.store.redis.streams import RedisStreams


def build_master(
    settings: Settings,
    bus: Bus,
    store: Store,
    records: Records,
    cells: int | None,
    access: CheckedAccess | None = None,
    streams: Streams | None = None,
) -> Master:
    """A master on these adapters. ``access`` is the policy by which it refuses requests."""
    context = MasterContext(
        master_id=f"master-{new_id()}",
        cluster=settings.cluster,
        bus=bus,
        store=store,
        records=records,
        clock=CLOCK,
        new_id=new_id,
        rng=random.Random(),
        limits=Limits(**settings.limits()),
        hostname=probe.hostname(),
        pid=os.getpid(),
        version=__version__,
        weights=settings.weights,
        policies=load_policies(),
        access=access,
        streams=streams,
    )
    return Master(context, cells)


def run_master(settings: Settings) -> int:
    """Run ``bmesos master``."""

    async def main(stop: Stop) -> None:
        store = RedisStore(
            settings.need_store(),
            cluster=settings.cluster,
            clock=CLOCK,
            timeout=settings.store_silence,
            tls=settings.tls_files(),
        )
        records = RedisRecords(
            settings.need_store(),
            cluster=settings.cluster,
            clock=CLOCK,
            space=SPACE,
            timeout=settings.store_silence,
            name="bmesos-master",
            tls=settings.tls_files(),
        )
        streams = RedisStreams(
            settings.need_store(),
            cluster=settings.cluster,
            clock=CLOCK,
            timeout=settings.store_silence,
            tls=settings.tls_files(),
        )
        access = policy_file(settings, FRAMEWORKS)
        bus = daemon_bus(settings, "master", settings.master_heartbeat)
        check_daemon_user(bus, "a master", MASTER_USER)
        async with contextlib.AsyncExitStack() as stack:
            await store.open(settings.connect_timeout)
            stack.push_async_callback(store.close)
            await records.open(settings.connect_timeout)
            stack.push_async_callback(records.close)
            await streams.open(settings.connect_timeout)
            stack.push_async_callback(streams.close)
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            known = await store.cell_count(None)
            wanted = settings.cells if known else settings.cells or DEFAULT_CELLS
            master = build_master(settings, bus, store, records, wanted, access, streams)
            await serve(master.run(), stop, master.stop, ready=master.ready.wait, status=lambda: _status(master))

    return run_process(settings, main)


def _status(master: Master) -> str:
    """One line about a master for the service manager."""
    owned = [str(owner.number) for owner in master.owners if owner.term is not None]
    return f"{master.master_id} owns {len(owned)} of {len(master.owners)} cells"
