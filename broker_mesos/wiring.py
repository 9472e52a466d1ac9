"""The only file that chooses adapters and builds daemons from them.

``run_*`` block until SIGTERM or Ctrl-C and return an exit code; errors of the tree are raised to the face
that called. ``LocalCluster`` is a whole cluster in one process, on the memory adapters.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from broker_mesos import __version__
from broker_mesos.agent import probe
from broker_mesos.agent.checkpoint import FileCheckpoint
from broker_mesos.agent.daemon import AgentDaemon, AgentOptions
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.buses import CLOCK, open_bus
from broker_mesos.clock import new_id
from broker_mesos.containerizer.process import ProcessContainerizer
from broker_mesos.core.addresses import Queue, QueueKind, cell_of, reply
from broker_mesos.core.health import BusReport, StoreReport
from broker_mesos.core.holdings import static_reservations
from broker_mesos.core.limits import Limits
from broker_mesos.core.messages import Ping
from broker_mesos.core.resources import Resources
from broker_mesos.errors import BrokerMesosError, Fenced, InvalidInput
from broker_mesos.frameworks.batch.worker import BatchSettings, BatchWorker
from broker_mesos.master.daemon import Master
from broker_mesos.master.division import SPACE
from broker_mesos.operator.gateway import Gateway
from broker_mesos.policies import load_policies
from broker_mesos.ports import Bus, ConsumerClosed, Records, Store, outgoing
from broker_mesos.requests import Requester
from broker_mesos.settings import DEFAULT_CELLS, Settings, load
from broker_mesos.shell import first, outcome, run_process, serve
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState

log = structlog.get_logger(__name__)

# Tests pretend that a machine was started anew.
BOOT_ID = os.environ.get("BMESOS_BOOT_ID", "")
LOCAL_RESOURCES = Resources.parse("cpus:4;mem:4096")


def build_master(settings: Settings, bus: Bus, store: Store, records: Records, cells: int | None) -> Master:
    """A master on these adapters."""
    return Master(
        master_id=f"master-{new_id()}",
        cluster=settings.cluster,
        cells=cells,
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
    )


def build_agent(
    bus: Bus,
    work_dir: Path,
    resources: Resources,
    attributes: Mapping[str, str],
    agent_id: str = "",
    reserve: Mapping[str, str] = MappingProxyType({}),
    *,
    oversubscribe: bool = False,
) -> AgentDaemon:
    """An agent that runs tasks as processes below its work folder."""
    work_dir = work_dir.absolute()
    options = AgentOptions(
        resources=resources,
        hostname=probe.hostname(),
        attributes=attributes,
        reservations=static_reservations(reserve, resources),
        agent_id=agent_id,
        version=__version__,
        pid=os.getpid(),
        boot_id=BOOT_ID or probe.boot_id(),
        usage=lambda: probe.measure(work_dir),
        disk_percent=lambda: probe.disk_percent(work_dir),
        machine=probe.machine() if oversubscribe else None,
    )
    return AgentDaemon(
        bus,
        lambda on_events: ProcessContainerizer(work_dir, on_events, boot_id=BOOT_ID),
        FileCheckpoint(work_dir),
        CLOCK,
        new_id,
        random.Random(),
        options,
    )


def build_batch(settings: Settings, bus: Bus, records: Records) -> BatchWorker:
    """A worker of the batch framework."""
    limits = BatchSettings(offer_timeout=settings.offer_timeout, sweep_interval=settings.offer_timeout / 2)
    return BatchWorker(bus, records, CLOCK, new_id, random.Random(), limits)


class LocalCluster:
    """A whole cluster in this process: master, agents, batch worker, HTTP face. Nothing of it is kept.

    ``async with LocalCluster(settings, …) as cluster`` returns once it serves. Task processes end with it.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        agents: int = 1,
        resources: Resources | None = None,
        port: int | None = None,
        work_dir: Path | None = None,
        cells: int | None = None,
    ) -> None:
        self._settings = settings or load()
        self._agents = agents
        self._resources = resources or LOCAL_RESOURCES
        self._port = port
        self._work_dir = work_dir
        self._cells = cells or self._settings.cells or min(agents, DEFAULT_CELLS)
        self._broker = MemoryBroker(CLOCK)
        self._state = MemoryStoreState()
        self._stack = contextlib.AsyncExitStack()
        self._running: dict[asyncio.Task[None], str] = {}
        self.master: Master
        self.agents: list[AgentDaemon] = []
        self.worker: BatchWorker
        self.url = ""
        """Where the HTTP face listens, if a port was given."""

    def bus(self, name: str) -> MemoryBus:
        """A connection to the cluster's broker, not yet opened: for frameworks in this process."""
        return MemoryBus(self._broker, self._settings.cluster, name)

    async def gateway(self) -> Gateway:
        """The operator API."""
        requester = Requester(await self._open(self.bus("gateway")), CLOCK, new_id)
        await requester.start()
        self._stack.push_async_callback(requester.close)
        return Gateway(requester)

    async def __aenter__(self) -> LocalCluster:
        try:
            async with asyncio.timeout(30):
                await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        for agent in self.agents:
            agent.stop(kill_tasks=True)
        await self._finished("agent")
        if hasattr(self, "worker"):
            self.worker.stop()
        await self._finished("batch")
        if hasattr(self, "master"):
            self.master.stop()
        await self._finished("master")
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._stack.aclose()

    async def wait(self) -> None:
        """Until a part of it ends, which none does by itself; raises why."""
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _start(self) -> None:
        store = MemoryStore(self._state, CLOCK)
        records = MemoryRecords(self._state, space=SPACE)
        self.master = build_master(
            self._settings, await self._open(self.bus("master")), store, records, self._cells
        )
        await self._until(self.master.run(), "master", self.master.ready.wait())
        work_dir = self._work_dir
        if work_dir is None:
            work_dir = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bmesos-")))
        for number in range(1, self._agents + 1):
            agent = build_agent(
                await self._open(self.bus(f"agent-{number}")),
                work_dir / f"agent-{number}",
                self._resources,
                {},
                _spread_id(number, self._cells),
                oversubscribe=self._settings.oversubscribe,
            )
            self.agents.append(agent)
            await self._until(agent.run(), "agent", agent.registered.wait())
        jobs = MemoryRecords(self._state)
        self.worker = build_batch(self._settings, await self._open(self.bus("batch")), jobs)
        await self._until(self.worker.run(), "batch", self.worker.serving.wait())
        if self._port is not None:
            from broker_mesos.web.server import WebServer

            server = WebServer(await self.gateway(), "127.0.0.1", self._port)
            await self._until(server.run(), "web", server.ready.wait())
            self.url = server.url

    async def _open(self, bus: MemoryBus) -> MemoryBus:
        await bus.open(5)
        self._stack.push_async_callback(bus.close)
        return bus

    async def _until(
        self, work: Coroutine[Any, Any, None], name: str, ready: Coroutine[Any, Any, object]
    ) -> None:
        """Start a part, and wait until it is ready; raises at once if it ends before that."""
        task = asyncio.create_task(work, name=name)
        self._running[task] = name
        waiting = asyncio.ensure_future(ready)
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()

    async def _finished(self, name: str) -> None:
        tasks = [task for task, part in self._running.items() if part == name]
        if tasks:
            await asyncio.wait(tasks, timeout=10)


def _spread_id(number: int, cells: int) -> str:
    """An id for a local agent, such that one follows another through the cells."""
    suffix = 0
    while True:
        ident = f"agent-{number}" if not suffix else f"agent-{number}-{suffix}"
        if cell_of(ident, cells) == (number - 1) % cells:
            return ident
        suffix += 1


# -- what the commands run ------------------------------------------------------------------------------


def run_local(
    settings: Settings,
    agents: int,
    resources: Resources | None,
    port: int,
    *,
    work_dir: Path | None = None,
) -> int:
    """``bmesos local``."""

    async def main(stop: asyncio.Event) -> None:
        cluster = LocalCluster(settings, agents=agents, resources=resources, port=port, work_dir=work_dir)
        async with cluster:
            lent = resources or LOCAL_RESOURCES
            print(
                f"cluster {settings.cluster}: {agents} agent{'s' if agents > 1 else ''} with {lent} each, "
                f"at {cluster.url}\nin another shell: bmesos submit --wait -- echo hello",
                file=sys.stderr,
                flush=True,
            )
            await first(stop.wait(), cluster.wait())

    return run_process(settings, main)


def run_master(settings: Settings) -> int:
    """``bmesos master``."""

    async def main(stop: asyncio.Event) -> None:
        from broker_mesos.store.redis import RedisRecords, RedisStore

        store = RedisStore(
            settings.need_store(), cluster=settings.cluster, clock=CLOCK, timeout=settings.store_silence
        )
        records = RedisRecords(
            settings.need_store(),
            cluster=settings.cluster,
            clock=CLOCK,
            space=SPACE,
            timeout=settings.store_silence,
            name="bmesos-master",
        )
        bus = open_bus(
            settings.need_broker(),
            name=f"bmesos master {os.getpid()}",
            cluster=settings.cluster,
            heartbeat=settings.master_heartbeat,
        )
        async with contextlib.AsyncExitStack() as stack:
            await store.open(settings.connect_timeout)
            stack.push_async_callback(store.close)
            await records.open(settings.connect_timeout)
            stack.push_async_callback(records.close)
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            known = await store.cell_count(None)
            wanted = settings.cells if known else settings.cells or DEFAULT_CELLS
            master = build_master(settings, bus, store, records, wanted)
            await serve(master.run(), stop, master.stop)

    return run_process(settings, main)


def run_agent(settings: Settings, work_dir: Path, resources: str, attributes: Mapping[str, str]) -> int:
    """``bmesos agent``. Its tasks outlive it; the next agent in the same work folder finds them.

    ``resources`` stays text, since ``disk:0`` says something there: lend none, rather than what is found.
    """

    async def main(stop: asyncio.Event) -> None:
        found = probe.find_resources(work_dir, resources)
        if not found:
            raise InvalidInput(
                "--resources: an agent that lends nothing is of no use; as in 'cpus:8;mem:8192'"
            )
        static_reservations(settings.reserve, found)
        bus = open_bus(
            settings.need_broker(),
            name=f"bmesos agent {os.getpid()}",
            cluster=settings.cluster,
            heartbeat=settings.agent_heartbeat,
        )
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            agent = build_agent(
                bus,
                work_dir,
                found,
                attributes,
                reserve=settings.reserve,
                oversubscribe=settings.oversubscribe,
            )
            await serve(agent.run(), stop, agent.stop)

    return run_process(settings, main)


def run_batch(settings: Settings) -> int:
    """``bmesos framework batch``."""

    async def main(stop: asyncio.Event) -> None:
        from broker_mesos.store.redis import RedisRecords

        records = RedisRecords(
            settings.need_store(), cluster=settings.cluster, clock=CLOCK, timeout=settings.store_silence
        )
        bus = open_bus(
            settings.need_broker(),
            name=f"bmesos batch {os.getpid()}",
            cluster=settings.cluster,
            heartbeat=settings.agent_heartbeat,
        )
        async with contextlib.AsyncExitStack() as stack:
            await records.open(settings.connect_timeout)
            stack.push_async_callback(records.close)
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            worker = build_batch(settings, bus, records)
            await serve(worker.run(), stop, worker.stop)

    return run_process(settings, main)


def run_web(settings: Settings, host: str, port: int) -> int:
    """``bmesos web``."""

    async def main(stop: asyncio.Event) -> None:
        from broker_mesos.web.server import WebServer

        bus = open_bus(
            settings.need_broker(),
            name=f"bmesos web {os.getpid()}",
            cluster=settings.cluster,
            heartbeat=settings.agent_heartbeat,
        )
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            requester = Requester(bus, CLOCK, new_id)
            stack.push_async_callback(requester.close)
            server = WebServer(Gateway(requester), host, port)
            serving = asyncio.create_task(server.run())
            await first(server.ready.wait(), outcome(serving))
            log.info("serving", url=server.url)
            await serve(outcome(serving), stop, serving.cancel)

    return run_process(settings, main)


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
    from broker_mesos.store.redis import RedisStore

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
