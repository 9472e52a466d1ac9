"""What takes part: masters, agents on their machines, batch workers, a framework, a client that submits jobs.

A node is a place where processes run one after the other; what it keeps when one dies is what its disk or its
machine would keep.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker_mesos.agent.checkpoint import MemoryCheckpoint
from broker_mesos.agent.daemon import AgentDaemon
from broker_mesos.agent.options import AgentOptions
from broker_mesos.bus.requests import Requester
from broker_mesos.containerizer.disk_space import DiskSpace
from broker_mesos.containerizer.memory import FakeContainerizer
from broker_mesos.core.api.agents import MarkAgentGone
from broker_mesos.core.api.jobs import JobSummary, KillJob, SubmitJob, WaitJob
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.mechanisms import MECHANISMS
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.addresses import cell_of, operator_cell, operator_framework
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.errors import BrokerMesosError, NotFound
from broker_mesos.frameworks.batch.worker import BatchSettings, BatchWorker
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.context import MasterContext
from broker_mesos.master.daemon import Master
from broker_mesos.ports.bus import Delivery
from tests.simulation.handles import CheckpointHandle, ContainerHandle
from tests.simulation.loop import Proc, SimClock
from tests.simulation.network import CLUSTER, SimBus
from tests.simulation.storage import SimRecords, SimStore, SimStreams

if TYPE_CHECKING:
    from tests.simulation.world import World

OFFER_TIMEOUT = 4.0
FAILOVER_TIMEOUT = 100.0
MIN_FREE_DISK = 1 << 30


class Node:
    """A place for one process at a time, which is started again when it ends."""

    heartbeat = 4.0
    """AMQP's, in seconds."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.clock = SimClock(world.loop)
        self.proc: Proc | None = None
        self.bus: SimBus | None = None
        self.cut_bus = False
        self.cut_store = False
        self.starts = 0
        self.down_for: float | None = None
        self.finished = False

    @property
    def alive(self) -> bool:
        return self.proc is not None and self.proc.alive

    def start(self) -> None:
        """Start the next process, unless one runs."""
        if self.alive or self.finished:
            return
        self.starts += 1
        self.proc = Proc(f"{self.name}#{self.starts}")
        self.proc.on_death = self._died
        self.world.trace("start", self.proc)
        self.proc.spawn(self.world.loop, self._main(self.proc))

    def stay_down(self, seconds: float) -> None:
        """Once its process is dead, the next one starts so much later."""
        self.down_for = seconds

    def kill(self, down: float) -> None:
        """kill -9, now; it is started again after a while."""
        self.down_for = down
        if self.proc is not None:
            self.proc.die()

    def terminate(self, down: float) -> None:
        """SIGTERM; it is started again after a while."""
        if self.alive and self.proc is not None:
            self.down_for = down
            self.world.loop.call_soon(self.ask_to_stop, context=self.proc.context)

    def ask_to_stop(self) -> None:
        """In the process: its signal handler."""
        raise NotImplementedError

    def rng(self) -> random.Random:
        return random.Random(self.world.rng.getrandbits(64))

    def _died(self) -> None:
        self.world.trace("dies", self.proc)
        down, self.down_for = 1.0 if self.down_for is None else self.down_for, None
        self.world.loop.after(down, self.start)
        if self.bus is not None:
            self.world.cut_off(self.bus)
        self.on_died()

    def on_died(self) -> None:
        """What the death of the process changes on its machine."""

    async def _main(self, proc: Proc) -> None:
        self.bus = bus = SimBus(self.world, self, proc, self.heartbeat)
        try:
            await bus.open(10)
            await self.body(proc, bus)
            await bus.close()
        except BrokerMesosError as error:
            self.world.trace("exits", proc, type(error).__name__)
        except asyncio.CancelledError:
            self.world.violation(f"{proc.name} was cancelled")
        except Exception as error:
            self.world.violation(f"{proc.name} crashed: {error!r}", error)
        proc.die()

    async def body(self, proc: Proc, bus: SimBus) -> None:
        """What the process does."""
        raise NotImplementedError


class MasterNode(Node):
    """A master."""

    heartbeat = 2.0
    master: Master | None = None
    context_now: Callable[[], Instant]

    async def body(self, proc: Proc, bus: SimBus) -> None:
        store = SimStore(self.world, self, proc)
        await store.open(3)
        context = MasterContext(
            master_id=f"{self.name}.{self.starts}",
            cluster=CLUSTER,
            bus=bus,
            store=store,
            records=SimRecords(self.world, self, proc, space=SPACE),
            clock=self.clock,
            new_id=self.world.new_id,
            rng=self.rng(),
            limits=self.world.limits,
            # Worlds of other profiles go the way that they went before there were events.
            streams=SimStreams(self.world, self, proc) if self.world.profile == "views" else None,
        )
        self.context_now = context.now
        self.master = Master(context, self.world.cells)
        await self.master.run()

    def ask_to_stop(self) -> None:
        if self.master is not None:
            self.master.stop()

    def on_died(self) -> None:
        self.master = None


# -- agents -----------------------------------------------------------------------------------------------


class _Agent(AgentDaemon):
    """An agent whose deliveries the monitor sees."""

    node: AgentNode

    def _on_delivery(self, delivery: Delivery) -> None:
        self.node.handling = delivery
        state = self.state
        if self.node.is_old:
            state.table.isolation = tuple(MECHANISMS)
        before = (state.session, state.applied, len(state.outcomes.unacknowledged()))
        super()._on_delivery(delivery)
        after = (state.session, state.applied, len(state.outcomes.unacknowledged()))
        self.node.world.monitor.command_handled(self.node, delivery.term, before != after)
        self.node.handling = None


class AgentNode(Node):
    """A machine with an agent."""

    def __init__(self, world: World, name: str, resources: Resources) -> None:
        super().__init__(world, name)
        self.resources = resources
        self.attributes: dict[str, str] = {}
        self.checkpoint = MemoryCheckpoint()
        self.kernel = Proc(f"{name}-kernel")
        self.machine = FakeContainerizer(self.clock, world.plan)
        self.boots = 1
        self.sandboxes: list[str] = []
        self.free_disk = 50 << 30
        self.short_since: float | None = None
        """Virtual time since which its disk is short, or since which its process runs on one; None if it is not."""
        self.daemon: _Agent | None = None
        self.is_old = False
        """Whether it is of a release that knows no demands for isolation: it registers no words, and refuses
        nothing."""
        self.agent_id = name
        self.wipes = 0
        self.handling: Delivery | None = None

    def reboot(self, down: float) -> None:
        """The machine restarts: the tasks end, and nobody sees how."""
        self.kill(down)
        self.boots += 1
        self.world.monitor.rebooted(self)
        self.kernel.context.run(self.machine.reboot)

    def wipe(self, down: float) -> None:
        """The machine is installed anew: it is another agent. An operator marks the old one as gone."""
        self.reboot(down)
        self.world.wiped_agent(self.agent_id)
        self.world.monitor.wiped(self)
        self.wipes += 1
        self.agent_id = f"{self.name}-{self.wipes}"
        self.checkpoint = MemoryCheckpoint()
        held, self.machine = self.machine.held, FakeContainerizer(self.clock, self.world.plan)
        self.machine.held = held
        self.sandboxes = []

    def set_disk(self, free: int) -> None:
        """The disk has so many bytes free from now on."""
        self.free_disk = free
        self.short_since = self.world.loop.time() if free < MIN_FREE_DISK else None

    async def body(self, proc: Proc, bus: SimBus) -> None:
        if self.short_since is not None:
            self.short_since = self.world.loop.time()
        options = AgentOptions(
            resources=self.resources,
            attributes=self.attributes,
            agent_id=self.agent_id,
            boot_id=f"boot-{self.boots}",
            disk_space=lambda: DiskSpace(100 << 30, self.free_disk, (100 << 30) - self.free_disk, 0, 0),
            min_free_disk=MIN_FREE_DISK,
            collect_interval=2.0,
        )
        daemon = _Agent(
            bus,
            lambda on_events: ContainerHandle(self, proc, on_events),
            CheckpointHandle(self, proc),
            self.clock,
            self.world.new_id,
            self.rng(),
            options,
        )
        daemon.node = self
        self.daemon = daemon
        await daemon.run()

    def ask_to_stop(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()

    def on_died(self) -> None:
        self.daemon = None
        self.handling = None
        self.checkpoint.close()
        self.machine._on_events = None


class CloneNode(AgentNode):
    """A machine with a copy of another agent's work folder: it has the same agent id, and no process of that one."""

    def __init__(self, world: World, original: AgentNode) -> None:
        super().__init__(world, f"{original.name}-clone-{world.new_id()[:4]}", original.resources)
        self.agent_id = original.agent_id
        self.checkpoint = MemoryCheckpoint()
        self.checkpoint.saved = copy.deepcopy(original.checkpoint.saved)
        self.boots = original.boots + 100

    def switch_off(self) -> None:
        """The operator has found it."""
        self.finished = True
        self.reboot(0.0)


# -- the batch framework ----------------------------------------------------------------------------------


class WorkerNode(Node):
    """A batch worker."""

    worker: BatchWorker | None = None

    async def body(self, proc: Proc, bus: SimBus) -> None:
        records = SimRecords(self.world, self, proc)
        await records.open(3)
        settings = BatchSettings(offer_timeout=self.world.settle_after)
        self.worker = BatchWorker(bus, records, self.clock, self.world.new_id, self.rng(), settings)
        await self.worker.run()

    def ask_to_stop(self) -> None:
        if self.worker is not None:
            self.worker.stop()

    def on_died(self) -> None:
        self.worker = None


class Job:
    """A job as the client wants it, and what came of it."""

    def __init__(self, job_id: str, spec: JobSpec, at: float, kill_at: float | None) -> None:
        self.job_id = job_id
        self.spec = spec
        self.at = at
        self.kill_at = kill_at
        self.acknowledged = False
        self.ended: JobSummary | None = None


class ClientNode(Node):
    """Submits jobs, again if it must, and waits for them."""

    async def body(self, proc: Proc, bus: SimBus) -> None:
        requester = Requester(bus, self.clock, self.world.new_id)
        await requester.start()
        async with asyncio.TaskGroup() as group:
            for job in self.world.jobs:
                if job.ended is None:
                    group.create_task(self._see_through(requester, job, proc))
        self.finished = True

    async def _see_through(self, requester: Requester, job: Job, proc: Proc) -> None:
        await asyncio.sleep(max(0.0, job.at - self.world.loop.time()))
        await self._submit(requester, job, proc)
        while True:
            if job.kill_at is not None and self.world.loop.time() >= job.kill_at:
                killed = await self._ask(requester, KillJob(job_id=job.job_id), 3.0)
                if isinstance(killed, JobSummary) and proc.effect():
                    job.kill_at = None
            summary = await self._ask(requester, WaitJob(job_id=job.job_id, seconds=2.0), 4.0)
            if summary == "gone":
                if proc.effect():
                    self.world.monitor.job_gone(job)
                await self._submit(requester, job, proc)
            elif isinstance(summary, JobSummary) and summary.ended_at is not None:
                if proc.effect():
                    job.ended = summary
                return
            elif summary is None:
                await asyncio.sleep(0.5)

    async def _submit(self, requester: Requester, job: Job, proc: Proc) -> None:
        request = SubmitJob(job_id=job.job_id, spec=job.spec)
        while True:
            answers = [self._ask(requester, request, 3.0)]
            if self.world.rng.random() < 0.2:
                answers.append(self._ask(requester, request, 3.0))
            if any(isinstance(each, JobSummary) for each in await asyncio.gather(*answers)):
                break
            await asyncio.sleep(0.5)
        if proc.effect():
            job.acknowledged = True
            self.world.monitor.acknowledged(job)

    async def _ask(self, requester: Requester, request: Any, timeout: float) -> Any:
        began = self.world.loop.time()
        stalled = self.world.stalled
        try:
            return await requester.request(operator_framework("batch"), request, timeout)
        except NotFound:
            return "gone"
        except BrokerMesosError:
            return None
        finally:
            took = self.world.loop.time() - began
            if took > timeout + 1.0 and self.world.stalled == stalled:
                self.world.violation(f"I7: {request.TYPE} took {took:g} s of its {timeout:g} s")

    def ask_to_stop(self) -> None:
        assert self.proc is not None
        self.proc.die()


class OperatorNode(Node):
    """Somebody who marks agents as gone that never come back."""

    async def body(self, proc: Proc, bus: SimBus) -> None:
        requester = Requester(bus, self.clock, self.world.new_id)
        await requester.start()
        while True:
            await asyncio.sleep(2.0)
            for agent_id, since in list(self.world.wiped.items()):
                if self.world.loop.time() < since + 3.0:
                    continue
                cell = operator_cell(cell_of(agent_id, self.world.cells))
                try:
                    await requester.request(cell, MarkAgentGone(agent_id=agent_id), 3.0)
                    known = True
                except NotFound:
                    known = False
                except BrokerMesosError:
                    continue
                if proc.effect():
                    # The cell may not have heard of it yet; what it says later finds nobody.
                    self.world.marked_gone(agent_id, known)

    def ask_to_stop(self) -> None:
        assert self.proc is not None
        self.proc.die()
