"""Builds and runs a whole cluster in one process, on the memory adapters, or on a file that keeps its jobs."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker_mesos.agent import probe
from broker_mesos.agent.daemon import AgentDaemon
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.open import CLOCK
from broker_mesos.bus.requests import Requester
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.registry import FRAMEWORKS, FrameworkProcess
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.daemon import Master
from broker_mesos.operator.gateway import Gateway
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.logs import notice
from broker_mesos.runtime.process import Stop, first, run_process
from broker_mesos.runtime.settings import DEFAULT_CELLS, Settings, load
from broker_mesos.runtime.timeouts import within
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState
from broker_mesos.store.memory_streams import MemoryStreams
from broker_mesos.store.sqlite import SqliteStoreState
from broker_mesos.wiring.agent import build_agent
from broker_mesos.wiring.framework import build_framework
from broker_mesos.wiring.master import build_master

if TYPE_CHECKING:
    from broker_mesos.web.server import WebServer

CPUS, MEM = "cpus:4", "mem:4096"
"""The resources of each agent when none are given."""


class LocalCluster:
    """A whole cluster in this process: master, agents, built-in frameworks, HTTP face.

    ``async with LocalCluster(settings, …) as cluster`` returns once it serves. Without ``data`` nothing of it
    is kept, and task processes end with it. ``data`` is a folder that keeps its jobs: task processes go on
    when it ends, and the next cluster on the same folder finds them.

    ``resources`` are those of each agent: exactly these, or, as a text, with what the text does not name
    added: 4 cpus, 4096 MB of memory, and this agent's part of the free disk and of the ports that
    ``bmesos agent`` would lend.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        agents: int = 1,
        resources: Resources | str = "",
        port: int | None = None,
        work_dir: Path | None = None,
        cells: int | None = None,
        data: Path | None = None,
    ) -> None:
        self._settings = settings or load()
        self._agents = agents
        self._resources = resources
        self._port = port
        self._work_dir = work_dir
        self._cells = cells or self._settings.cells
        self._data = data
        self._broker = MemoryBroker(CLOCK)
        self._state = MemoryStoreState() if data is None else SqliteStoreState(data)
        self._stack = contextlib.AsyncExitStack()
        self._running: dict[asyncio.Task[None], str] = {}
        self._temporary = ""
        """The folder of its sandboxes, if that ends with it."""
        self.master: Master
        self.agents: list[AgentDaemon] = []
        self.lent: list[Resources] = []
        """The resources that each agent lends."""
        self.frameworks: dict[str, FrameworkProcess] = {}
        """A process of each built-in framework, by name."""
        self.url = ""
        """The URL of the HTTP server, if a port was given."""

    def bus(self, name: str) -> MemoryBus:
        """A connection to the cluster's broker for frameworks in this process, which is not opened yet."""
        return MemoryBus(self._broker, self._settings.cluster, name)

    async def gateway(self) -> Gateway:
        """The operator API."""
        requester = Requester(await self._open(self.bus("gateway")), CLOCK, new_id)
        await requester.start()
        self._stack.push_async_callback(requester.close)
        return Gateway(requester)

    async def __aenter__(self) -> LocalCluster:
        try:
            async with within(30):
                await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        for agent in self.agents:
            agent.stop(kill_tasks=self._data is None)
        await self._finished("agent")
        for process in self.frameworks.values():
            process.stop()
        for name in self.frameworks:
            await self._finished(name)
        if hasattr(self, "master"):
            self.master.stop()
        await self._finished("master")
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._stack.aclose()

    def abandon(self) -> None:
        """Remove its temporary folder, since this process ends at once. The spawners kill what is told to end."""
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def wait(self) -> None:
        """Wait until a part of the cluster ends, which none does without an error; raises that error."""
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _start(self) -> None:
        web: WebServer | None = None
        if self._port is not None:
            from broker_mesos.web.server import WebServer

            bus = await self._open(self.bus("web"))
            gateway = await self.gateway()
            web = WebServer(gateway, "127.0.0.1", self._port, cluster=self._settings.cluster, bus=bus)
            self._stack.callback(web.close)
            # First of all: a port in use starts nothing, and clients that come early wait for the rest to start.
            web.listen()
        if isinstance(self._state, SqliteStoreState):
            await self._state.open()
            self._stack.push_async_callback(self._state.close)
        store = MemoryStore(self._state, CLOCK)
        cells = self._cells or await store.cell_count(None) or min(self._agents, DEFAULT_CELLS)
        records = MemoryRecords(self._state, space=SPACE)
        bus = await self._open(self.bus("master"))
        streams = MemoryStreams(self._state)
        self.master = build_master(self._settings, bus, store, records, cells, streams=streams)
        await self._until(self.master.run(), "master", self.master.ready.wait())
        work_dir = self._work_dir
        if work_dir is None and self._data is not None:
            work_dir = self._data / "agents"
        if work_dir is None:
            self._temporary = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bmesos-"))
            work_dir = Path(self._temporary)
        self.lent = lent_resources(self._resources, work_dir, self._agents)
        for number, lent in enumerate(self.lent, 1):
            agent = build_agent(
                await self._open(self.bus(f"agent-{number}")),
                work_dir / f"agent-{number}",
                lent,
                {},
                _spread_id(number, cells),
                settings=self._settings,
            )
            self.agents.append(agent)
            await self._until(agent.run(), "agent", agent.registered.wait())
        for framework in FRAMEWORKS.values():
            records = MemoryRecords(self._state, space=framework.space)
            bus = await self._open(self.bus(framework.name))
            process = build_framework(framework, self._settings, bus, records)
            self.frameworks[framework.name] = process
            await self._until(process.run(), framework.name, process.serving.wait())
        if web is not None:
            await self._until(web.run(), "web", web.ready.wait())
            self.url = web.url

    async def _open(self, bus: MemoryBus) -> MemoryBus:
        await bus.open(5)
        self._stack.push_async_callback(bus.close)
        return bus

    async def _until(self, work: Coroutine[Any, Any, None], name: str, ready: Coroutine[Any, Any, object]) -> None:
        """Start a part, and wait until it is ready. Raises its error if it ends before that."""
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


def lent_resources(resources: Resources | str, work_dir: Path, agents: int) -> list[Resources]:
    """The resources that each of ``agents`` lends. Raises InvalidInput."""
    if isinstance(resources, Resources):
        return [resources] * agents
    first, last = probe.PORTS
    count = (last - first + 1) // agents
    disk = probe.free_disk(work_dir) // agents
    named = probe.names(resources)
    found = []
    for number in range(agents):
        start = first + number * count
        ports = f"ports:[{start}-{last if agents == 1 else start + count - 1}]"
        parts = [part for part in (CPUS, MEM, f"disk:{disk}", ports) if part.partition(":")[0] not in named]
        found.append(probe.find_resources(work_dir, ";".join([*filter(None, [resources.strip(" ;")]), *parts])))
    if not found[0]:
        raise InvalidInput("--resources: an agent that lends nothing is of no use; as in 'cpus:8;mem:8192'")
    return found


def _spread_id(number: int, cells: int) -> str:
    """An id for a local agent, such that consecutive agents are in consecutive cells."""
    suffix = 0
    while True:
        ident = f"agent-{number}" if not suffix else f"agent-{number}-{suffix}"
        if cell_of(ident, cells) == (number - 1) % cells:
            return ident
        suffix += 1


def run_local(
    settings: Settings,
    agents: int,
    resources: str,
    port: int,
    *,
    work_dir: Path | None = None,
    data: Path | None = None,
) -> int:
    """Run ``bmesos local``. Raises InvalidInput if the settings name a policy, which it could not keep."""
    if settings.policy is not None:
        raise InvalidInput(
            f"policy {settings.policy}: `bmesos local` is one process for one person, and checks nobody's rights; "
            "leave the setting out (BMESOS_POLICY), or start each daemon by itself, as with `bmesos master`"
        )

    async def main(stop: Stop) -> None:
        if settings.task_user or settings.task_users:
            notice("task_user and task_users are for `bmesos agent`: here tasks run as your own user")
        cluster = LocalCluster(settings, agents=agents, resources=resources, port=port, work_dir=work_dir, data=data)
        stop.on_forced_end = cluster.abandon
        async with cluster:
            lent = f"an agent with {cluster.lent[0]}"
            if agents > 1:
                lent = f"{agents} agents, the first one with {cluster.lent[0]}"
            kept = "" if data is None else f"; its jobs are kept in {data}"
            notice(
                f"cluster {settings.cluster}: {lent}, at {cluster.url}{kept}\n"
                "in another shell: bmesos submit --wait -- echo hello"
            )
            stop.manager.status = lambda: f"listening at {cluster.url}"
            stop.manager.ready()
            await first(stop.wait(), cluster.wait())
            running = sum(len(agent.state.tasks) for agent in cluster.agents)
        if data is not None and running:
            go_on = "1 task goes" if running == 1 else f"{running} tasks go"
            notice(f"{go_on} on: start `bmesos local --data {data}` again to follow them")

    return run_process(settings, main, ends_with_terminal=True)
