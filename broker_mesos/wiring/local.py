"""A whole cluster in one process, on the memory adapters."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from broker_mesos.agent.daemon import AgentDaemon
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.open import CLOCK
from broker_mesos.bus.requests import Requester
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.frameworks.batch.worker import BatchWorker
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.daemon import Master
from broker_mesos.operator.gateway import Gateway
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.process import first, run_process
from broker_mesos.runtime.settings import DEFAULT_CELLS, Settings, load
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState
from broker_mesos.wiring.agent import build_agent
from broker_mesos.wiring.batch import build_batch
from broker_mesos.wiring.master import build_master

LOCAL_RESOURCES = Resources.parse("cpus:4;mem:4096")


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
        self.master = build_master(self._settings, await self._open(self.bus("master")), store, records, self._cells)
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

    async def _until(self, work: Coroutine[Any, Any, None], name: str, ready: Coroutine[Any, Any, object]) -> None:
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
