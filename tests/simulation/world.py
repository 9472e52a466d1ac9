"""One simulated cluster, made from a seed, run to its end, and judged."""

from __future__ import annotations

import gc
import random
import sys
import traceback
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog

from broker_mesos.bus.memory import MemoryBroker
from broker_mesos.containerizer.memory import Ending
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.mechanisms import MECHANISMS
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.model.task_isolation import TaskIsolation, demanded_words
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import RecordKind
from broker_mesos.core.protocol.task_record import TaskRecord
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from broker_mesos.errors import BrokerMesosError
from broker_mesos.frameworks.batch.storage.records import CLAIMS, counts_key, parse_task_id, results_key
from broker_mesos.master.config_store import CLUSTER_CONFIG, CONFIG, SPACE, VERSION
from broker_mesos.ports.containerizer import Isolation, LaunchSpec
from broker_mesos.store import keys
from broker_mesos.store.memory import MemoryStoreState
from tests.simulation import faults
from tests.simulation.framework import NEED, OWN_MOST, OWN_PORTS, Book, FrameworkNode
from tests.simulation.loop import PROC, Proc, SimClock, SimLoop, Stuck
from tests.simulation.monitor import MEMORY_END, Monitor
from tests.simulation.network import Connection, SimBus
from tests.simulation.nodes import (
    OFFER_TIMEOUT,
    AgentNode,
    ClientNode,
    Job,
    MasterNode,
    Node,
    OperatorNode,
    WorkerNode,
)
from tests.simulation.watcher import WatcherNode

PATIENCE = 240.0
"""Virtual seconds after the last fault within which everything has to end."""
LOOK = 0.25
"""Virtual seconds between two looks at all invariants."""
MAX_STEPS = 600_000
TASK_NEEDS = (
    Resources.parse("cpus:1;mem:128"),
    Resources.parse("cpus:0.5;mem:32"),
    Resources.parse("cpus:2;mem:256"),
)


ALL_WORDS = tuple(MECHANISMS)
DEMANDS: tuple[dict[str, Any], ...] = (
    {},
    {"isolation": TaskIsolation(level="limits")},
    {"isolation": TaskIsolation(pids=7)},
    {"isolation": TaskIsolation(level="limits", network="none")},
    {"isolation": TaskIsolation(image="python:3.13", pids=7)},
    {"limits": Resources.parse("cpus:4")},
)
"""What the tasks of a job demand, in the profile ``isolation``."""


class Outcome(NamedTuple):
    """What came of a seed."""

    seed: int
    violations: tuple[str, ...]
    digest: int
    steps: int
    seconds: float
    """Virtual."""
    launches: int
    faults: tuple[str, ...]


class World:
    """Everything, and the faults that befall it."""

    def __init__(self, seed: int, profile: str, say: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.profile = profile
        self.rng = rng = random.Random(seed)
        self.loop = SimLoop(rng)
        self.loop.on_error = self._on_error
        self._say = say
        self.digest = 0
        self.over = False
        self.violations: list[str] = []
        self.faults: list[str] = []
        # A task id is known to one cell, which has seen its end before it sees it again.
        self.cells = 1 if profile == "reuse" else rng.choice((1, 2, 2, 3))
        self.limits = Limits(
            agent_beat=3.0 if profile == "clones" else 1.0,
            agent_missed=3,
            # In some worlds two agents are so many that they are told to beat less often.
            agent_beats=1.0 if seed % 7 == 3 else 50.0,
            offer_timeout=OFFER_TIMEOUT,
            resend_at_most=60.0,
        )
        self.settle_after = rng.choice((OFFER_TIMEOUT, OFFER_TIMEOUT, 1.0))
        """When a batch worker asks about a claim; too early must do no harm."""
        self.store_clock = SimClock(self.loop)
        self.broker = MemoryBroker(self.store_clock)
        self.state = MemoryStoreState(self.store_clock)
        self.limit = 3_000 if seed % 3 == 2 and profile != "large" else None
        """Thousandths of a cpu that all tasks together may hold: enough for the largest one."""
        if self.limit is not None:
            self._set_limit(self.limit)
        self.monitor = Monitor(self)
        self.connections: list[Connection] = []
        self.held_calls: list[Callable[[], None]] = []
        # -- what faults switch
        self.beats_lost = False
        self.store_hangs = False
        self.reply_loss = 0.0
        self.forgetful = False
        """The store has lost what it had confirmed."""
        self.agents_died = False
        self.stalled = 0
        self.troubled_until = 0.0
        """Virtual time at which the last fault so far is over."""
        self._base = rng.choice((0.0005, 0.0005, 0.005, 0.03, 0.1))
        self._tail = rng.choice((0.0, 0.02, 0.1, 0.3))
        # -- who takes part
        self.exit_codes: dict[str, int] = {}
        self.memory_ends: set[str] = set()
        """Tasks that the kernel kills for their memory."""
        self.needs: dict[str, Resources] = {}
        self.killed_jobs: dict[str, bool] = {}
        self.jobs = (
            self._make_large_jobs()
            if profile == "large"
            else [self._make_job(number) for number in range(rng.randint(1, 4))]
        )
        self.by_id = {job.job_id: job for job in self.jobs}
        self.masters = [MasterNode(self, f"m{number}") for number in range(rng.choice((1, 2, 2, 3)))]
        self.agents = [
            AgentNode(self, f"a{number}", Resources.parse(f"cpus:{rng.randint(2, 4)};mem:1024"))
            for number in range(rng.randint(1, 4))
        ]
        if profile == "large":
            self.agents = [AgentNode(self, f"a{number}", Resources.parse("cpus:2;mem:1024")) for number in range(2)]
        if profile == "placement":
            for number, agent in enumerate(self.agents):
                agent.resources += Resources.parse("ports:[1-6]")
                agent.attributes = {"rack": f"r{number % 2}"} if number != 2 else {}
        if profile == "isolation":
            for agent in self.agents:
                agent.is_old = agent is not self.agents[0] and rng.random() < 0.4
                agent.machine.held = Isolation(() if agent.is_old else ALL_WORDS)
        self.workers = [WorkerNode(self, f"w{number}") for number in range(rng.choice((1, 2, 2, 3)))]
        items = {
            "absence": (120, 160),
            "clocks": (20, 60),
            "clones": (5, 20),
            "reuse": (10, 30),
            "placement": (5, 20),
        }.get(profile, (1, 6))
        book = Book(rng.randint(*items))
        self.frameworks = [
            FrameworkNode(self, f"f{number}", "own", book)
            for number in range(1 if profile == "reuse" else rng.choice((1, 1, 2)))
        ]
        self.client = ClientNode(self, "c0")
        self.wiped: dict[str, float] = {}
        """Agents that never come back, since when; until an operator has said so."""
        self.gone: set[str] = set()
        self.nodes: list[Node] = [
            *self.masters,
            *self.agents,
            *self.workers,
            *self.frameworks,
            self.client,
            OperatorNode(self, "o0"),
        ]
        if profile == "views":
            self.nodes += [WatcherNode(self, "v0", (0.2, 1.0)), WatcherNode(self, "v1", (4.0, 12.0))]

    def _set_limit(self, most: int) -> None:
        config = ClusterConfig(version=1, roles={"*": RoleSettings(limit={"cpus": most}, since=1)})
        fields = {CLUSTER_CONFIG: config.encode().decode(), VERSION: "1"}
        self.state.facts.hashes[keys.records("memory", SPACE) + CONFIG] = fields

    def held(self) -> int:
        """Thousandths of a cpu that the stored tasks hold: none of those that have ended, or wait in line."""
        return sum(
            record.resources.get("cpus")
            for cell in self.state.facts.cells.values()
            for body in cell.records[RecordKind.TASKS].values()
            if not (record := TaskRecord.decode(body)).state.terminal and not record.waits
        )

    def _make_job(self, number: int) -> Job:
        rng = self.rng
        spec = JobSpec(
            command=CommandInfo(arguments=("work",)),
            resources=rng.choice(TASK_NEEDS),
            array=rng.choice((None, (0, rng.randint(1, 6)), (0, rng.randint(5, 24)))),
            retries=rng.choice((0, 0, 1, 2)),
            priority=rng.choice((0, 0, 1)),
            kill_grace=0.5,
            rerun=rng.random() < 0.3,
        )
        if self.profile == "isolation":
            spec = spec.model_copy(update=rng.choice(DEMANDS))
        if self.profile == "placement":
            limits = ({}, {"most": 1}, {"most": 2}, {"most": 1, "per": "rack"}, {"most": 2, "per": "rack"})
            limit = rng.choice(limits) if spec.array else {}
            spec = JobSpec(**{**dict(spec), "ports": rng.choice((0, 1, 2)), **limit})
        kill_at = rng.uniform(1.0, 12.0) if rng.random() < 0.12 else None
        job_id = f"j{number}"
        self.needs[job_id] = spec.resources
        self.killed_jobs[job_id] = kill_at is not None
        return Job(job_id, spec, rng.choice((0.0, rng.uniform(0.0, 8.0))), kill_at)

    def _make_large_jobs(self) -> list[Job]:
        """Small tasks for over a minute, and amid them a task or a gang that needs whole agents."""
        command = CommandInfo(arguments=("work",))
        small = JobSpec(command=command, resources=Resources.parse("cpus:1;mem:32"), array=(0, 199), retries=2)
        gang = {"array": (0, 1), "gang": True} if self.rng.random() < 0.5 else {}
        large = JobSpec(command=command, resources=Resources.parse("cpus:2;mem:64"), retries=2, **gang)
        self.needs |= {"small": small.resources, "large": large.resources}
        self.killed_jobs |= {"small": False, "large": False}
        return [Job("small", small, 0.0, None), Job("large", large, self.rng.uniform(4.0, 8.0), None)]

    # -- small services -----------------------------------------------------------------------------------

    def new_id(self) -> str:
        return f"{self.rng.getrandbits(48):012x}"

    def latency(self) -> float:
        """Seconds that a message is under way: mostly about the same, now and then much longer."""
        chance = self.rng.random()
        usual = self._base * (0.2 + chance)
        return usual if chance < 0.93 else usual + self._tail * self.rng.random() ** 2 * 4

    def need(self, task_id: str) -> Resources:
        """What a task uses."""
        name = parse_task_id(task_id)
        return NEED if name is None else self.needs.get(name.job_id, NEED)

    def demanded(self, task_id: str) -> tuple[str, ...]:
        """What a task demands of the isolation on its agent."""
        name = parse_task_id(task_id)
        job = None if name is None else self.by_id.get(name.job_id)
        return () if job is None else demanded_words(job.spec.isolation, job.spec.limits)

    def kind_of(self, task_id: str) -> str:
        """The tasks that a limit counts together: those of one job, or of the framework of somebody's own."""
        name = parse_task_id(task_id)
        return "own" if name is None else name.job_id

    def ports_of(self, task_id: str) -> int:
        """How many ports a task has demanded."""
        job = self.by_id.get(self.kind_of(task_id))
        return OWN_PORTS if job is None else job.spec.ports

    def limit_of(self, task_id: str) -> tuple[int, str]:
        """How many tasks may run beside each other, with the same value of which attribute."""
        job = self.by_id.get(self.kind_of(task_id))
        return (OWN_MOST, "agent") if job is None else (job.spec.most, job.spec.per)

    def plan(self, spec: LaunchSpec) -> Ending:
        """How a task will end."""
        code = self.exit_codes[spec.task_id] = 1 if self.rng.random() < 0.1 else 0
        if self.profile == "isolation" and self.rng.random() < 0.15:
            self.exit_codes[spec.task_id] = 1
            self.memory_ends.add(spec.task_id)
            return Ending(self.rng.choice((0.01, 0.5)) * self.rng.uniform(0.5, 1.5), 1, MEMORY_END)
        # Clones are found out by what runs while they register.
        lasts = {"clones": (1.0, 4.0), "large": (0.5, 1.0, 2.0)}.get(self.profile, (0.01, 0.1, 0.5, 2.0))
        return Ending(self.rng.choice(lasts) * self.rng.uniform(0.5, 1.5), code)

    def trace(self, what: str, proc: Proc | None, *more: object) -> None:
        """Something that others can see has happened."""
        line = f"{self.loop.time():10.5f} {proc.name if proc else '-':6} {what} {' '.join(map(str, more))}"
        self.digest = zlib.crc32(line.encode(), self.digest)
        if self._say is not None:
            self._say(line)

    def violation(self, text: str, error: BaseException | None = None) -> None:
        """Something is wrong."""
        if self.over:
            return
        line = f"at {self.loop.time():.3f}: {text}"
        if error is not None:
            line += "\n" + "".join(traceback.format_exception(error))
        if text not in {each.partition(": ")[2] for each in self.violations}:
            self.violations.append(line)
        if self._say is not None:
            self._say("!!! " + line)
        self.loop.done = True

    def _on_error(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BrokerMesosError) or not PROC.get().alive:
            return
        self.violation(f"{PROC.get().name}: {context.get('message')}: {error!r}", error)

    def describe(self, job: Job) -> str:
        """Where a job stands."""
        prefix = keys.records("memory", "batch")
        hashes = self.state.facts.hashes
        all_claims = hashes.get(prefix + CLAIMS, {})
        claims = {field: text for field, text in all_claims.items() if field.startswith(job.job_id + ".")}
        counts = hashes.get(prefix + counts_key(job.job_id))
        return (
            f"acknowledged {job.acknowledged}, counts {counts}, claims {claims}, "
            f"results {sorted(hashes.get(prefix + results_key(job.job_id), {}))} of {job.spec.total}"
        )

    # -- what faults do -----------------------------------------------------------------------------------

    def forget(self) -> None:
        """The store forgets; the operator looks at all agents again."""
        self.forgetful = True
        now = self.loop.time()
        self.wiped.update((agent_id, now) for agent_id in sorted(self.gone))

    def wiped_agent(self, agent_id: str) -> None:
        """An agent will never be seen again."""
        self.wiped[agent_id] = self.loop.time()

    def marked_gone(self, agent_id: str, known: bool) -> None:
        """An operator has said so, and its cell has answered."""
        if known or self.loop.time() > self.wiped.get(agent_id, 0.0) + 30.0:
            self.gone.add(agent_id)
            self.wiped.pop(agent_id, None)

    def cut_off(self, bus: SimBus) -> None:
        """A process is dead: its kernel sends what was written, or some of it, and closes."""
        bus.closed = True
        self.broker.detach(bus)  # type: ignore[arg-type]
        for link in bus.links:
            if link.connection is not None:
                self.loop.after(self.latency() * self.rng.choice((0.0, 1.0, 1.0, 30.0)), link.connection.close_server)

    def pause(self, node: Node, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later. The broker gives the connections up if that takes too long."""
        proc, bus = node.proc, node.bus
        if proc is None or not proc.alive or proc.paused:
            return
        self.stalled += 1
        self.loop.pause(proc)
        if bus is not None:
            bus.sever(lambda: self.rng.uniform(2.0, 3.0) * bus.heartbeat, lambda: proc.paused)
        self.loop.after(seconds, self._resume, proc)

    def _resume(self, proc: Proc) -> None:
        self.stalled += 1
        self.loop.resume(proc)

    def cut_bus(self, node: Node, seconds: float) -> None:
        """The network between a node and the broker is gone for a while."""
        if node.cut_bus:
            return
        node.cut_bus = True
        bus = node.bus
        if bus is not None and node.alive:
            still = lambda: node.cut_bus  # noqa: E731
            bus.sever(lambda: self.rng.uniform(2.0, 3.0) * bus.heartbeat, still)
            bus.give_up(lambda: self.rng.uniform(2.0, 3.0) * bus.heartbeat, still)
        self.loop.after(seconds, self._heal_bus, node, bus)

    def _heal_bus(self, node: Node, bus: SimBus | None) -> None:
        node.cut_bus = False
        if bus is not None:
            bus.heal()

    def cut_store(self, node: Node, seconds: float) -> None:
        """Likewise to the store."""
        if not node.cut_store:
            node.cut_store = True
            self.loop.after(seconds, self._heal_store, node)

    def _heal_store(self, node: Node) -> None:
        node.cut_store = False
        self.release_calls()

    def release_calls(self) -> None:
        """Calls that were held up arrive now, unless something still holds them."""
        held, self.held_calls = self.held_calls, []
        for arrive in held:
            self.loop.after(self.latency(), arrive)

    # -- the run ------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """From the start to the judgement."""
        token = PROC.set(self.loop.world)
        try:
            for node in self.nodes:
                self.loop.after(self.rng.choice((0.0, self.rng.uniform(0.0, 3.0))), node.start)
            self.loop.after(LOOK, self._look)
            self.loop.after(faults.schedule(self) + 0.1, self._expect_the_end)
        finally:
            PROC.reset(token)
        try:
            self.loop.run(1e6)
        except Stuck as error:
            self.violation(f"stuck: {error}")
        if not self.violations:
            self.monitor.look()
            self.monitor.judge_results()
        outcome = Outcome(
            self.seed,
            tuple(self.violations),
            self.digest,
            self.loop.steps,
            self.loop.time(),
            self.monitor.launches,
            tuple(self.faults),
        )
        self._say, self.over = None, True
        self.loop.abandon()
        return outcome

    def _look(self) -> None:
        self.monitor.look()
        if self.loop.steps > MAX_STEPS:
            self.violation(f"{MAX_STEPS} steps, and no end")
        self.loop.after(LOOK, self._look)

    def _expect_the_end(self) -> None:
        over = self.loop.time() - self.troubled_until
        left = self.monitor.unsettled() if over >= 0.0 else "there is trouble"
        if not left:
            self.loop.done = True
        elif over >= PATIENCE:
            self.violation(f"I7: {PATIENCE:g} s after the last fault {left}")
        else:
            self.loop.after(0.5, self._expect_the_end)


EXPECTED = ("the cluster refuses the framework",)
"""Errors that are logged where all is well: of two processes of a framework one tears it down."""


def quiet() -> None:
    """Log lines are not wanted; errors among them are breaches."""

    def record(logger: object, name: str, event: dict[str, Any]) -> dict[str, Any]:
        proc = PROC.get(None)
        if CURRENT and proc is not None and proc.alive and event.get("event") not in EXPECTED:
            error = event.pop("exc_info", None)
            if error is True:
                error = sys.exc_info()[1]
            CURRENT[-1].violation(
                f"{proc.name} logs an error: {event}", error if isinstance(error, BaseException) else None
            )
        raise structlog.DropEvent

    structlog.configure(
        processors=[record],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=False,
    )


CURRENT: list[World] = []


def simulate(seed: int, profile: str = "full", say: Callable[[str], None] | None = None) -> Outcome:
    """Run one seed."""
    quiet()
    gc.disable()
    world = World(seed, profile, say)
    CURRENT.append(world)
    try:
        return world.run()
    finally:
        CURRENT.pop()
        gc.enable()
