"""The allocator alone: a cell's state in memory and rounds of allocation over it, no server, no messages.

    python -m benchmarks.allocator                             # all sizes, without stated demand
    python -m benchmarks.allocator --agents 10000 --frameworks 1000 --demand shapes,quota,constraints
    python -m benchmarks.allocator --memory                    # what a cell of that size takes

Sizes follow Mesos' own benchmark of its allocator (``HierarchicalAllocator_BENCHMARK_Test``):
each agent has 24 cpus, 16 of which a task of one of the frameworks uses, and its ports are in fragments. A
round ends with the offers made, not yet written as JSON. One JSON line a figure; times are of the wall and of
this process' CPU (``cpu``).
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.growth import Growth
from benchmarks.record import Record
from benchmarks.sizes import add_size
from broker_mesos.core.cell.allocation.allocate import allocate
from broker_mesos.core.cell.allocation.policies.drf import Drf
from broker_mesos.core.cell.handlers import offers
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.restore import restore
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Source, TaskState
from broker_mesos.core.protocol.framework_messages import Decline
from broker_mesos.core.protocol.limits import Instant, Limits
from broker_mesos.core.protocol.records import AgentRecord, FrameworkRecord, Lease, RecordKind, Snapshot
from broker_mesos.core.protocol.task_record import TaskDetails, TaskRecord
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings

AGENTS = (1_000, 5_000, 10_000, 50_000)
FRAMEWORKS = (1, 50, 200, 1_000)
DEMANDS = ("anything", "shapes", "quota", "constraints")
PORTS = ",".join(f"{31000 + 62 * at}-{31030 + 62 * at}" for at in range(16))
TOTAL = Resources.parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]")
USED = Resources.parse(f"cpus:16;mem:2014;disk:1024;ports:[{PORTS}]")
LEFT = TOTAL - USED
ONE = Resources.parse("cpus:1;mem:128")
ROLES, RACKS = 20, 40
SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6}
KEYS = {"full cycle": "full", "1% of the agents changed": "changed"}


class Figure(NamedTuple):
    """Seconds of each run, and the median of their CPU seconds; ``unit``: to be shown in."""

    unit: str
    walls: tuple[float, ...]
    cpu: float


Figures = dict[str, Figure]


class World:
    """A cell of that size, in which nothing is offered yet."""

    def __init__(self, agents: int, frameworks: int, demand: str) -> None:
        self.size, self.demand = {"agents": agents, "frameworks": frameworks, "demand": demand}, demand
        self.now = Instant(1_000_000.0, 100.0)
        self.state = state = CellState(0, 1, 7, Limits())
        self.policy = Drf()
        role_of = ["*" if demand != "quota" else f"r{at % ROLES}" for at in range(frameworks)]
        if demand == "quota":
            each = TOTAL.get("cpus") * agents // ROLES
            settings = RoleSettings(limit={"cpus": each}, guarantee=Resources.scalars_of({"cpus": each // 4000 * 1000}))
            state.configure(
                ClusterConfig(version=1, roles={f"r{at}": settings for at in range(min(ROLES, frameworks))})
            )
        self.frameworks = []
        for at in range(frameworks):
            info = FrameworkInfo(framework_id=f"framework-{at}", roles=(role_of[at],))
            framework = state.add_framework(info)
            framework.demand = self._demand(at, role_of[at], 8 * agents // frameworks + 8)
            self.frameworks.append(framework)
        self.add_seconds = timed(lambda: self._add(agents, frameworks, role_of))
        self.freed = itertools.cycle(list(state.agents.values()))

    def _demand(self, at: int, role: str, count: int) -> Demand:
        if self.demand in ("anything", "quota"):
            return Demand(version=1)
        rack = (Constraint("rack", "==", f"r{at % RACKS}"),) if self.demand == "constraints" else ()
        shape = Shape(resources=ONE, count=max(1, count), role=role, constraints=rack)
        return Demand(version=1, shapes=(shape,))

    def _add(self, agents: int, frameworks: int, role_of: Sequence[str]) -> None:
        for at in range(agents):
            info = AgentInfo(
                agent_id=f"agent-{at:05}",
                hostname=f"host-{at:05}",
                resources=TOTAL,
                attributes={"rack": f"r{at % RACKS}"},
            )
            agent = Agent(info)
            agent.session = f"session-{at}"
            self.state.add_agent(agent)
            self.state.add_task(self._task(f"task-{at}", agent.ident, at % frameworks, role_of))

    def _task(self, ident: str, agent_id: str, framework: int, role_of: Sequence[str]) -> Task:
        return Task(
            ident,
            f"framework-{framework}",
            agent_id,
            USED,
            role=role_of[framework],
            state=TaskState.RUNNING,
        )

    # -- what is measured -------------------------------------------------------------------------------

    def round(self, *, everything: bool) -> int:
        """One round of allocation; how many offers it made."""
        before = len(self.state.offers)
        self.state.log.begin("allocation")
        allocate(self.state, self.policy, Outlet(self.state, 1, 7), self.now, everything=everything)
        return len(self.state.offers) - before

    def update(self) -> None:
        """All agents change what they have."""
        for agent in self.state.agents.values():
            self.state.set_agent(agent, agent.info, agent.state)

    def decline(self, seconds: float) -> None:
        """All offers come back."""
        for framework in self.frameworks:
            ids = tuple(framework.offers)
            offers.on_decline(
                self.state,
                framework,
                Decline(framework_id=framework.ident, offer_ids=ids, refuse_seconds=seconds),
                self.now,
            )

    def reset(self) -> None:
        """Nothing is offered or filtered; everything is to be looked at."""
        for offer in list(self.state.offers.values()):
            self.state.end_offer(offer)
        for framework in self.frameworks:
            framework.filters.clear()
        self.state.changed.clear()
        self.state.reconsider = True

    def end_tasks(self, count: int) -> list[Task]:
        """The tasks of the next agents end."""
        ended = []
        for agent in itertools.islice(self.freed, count):
            task = next(iter(agent.tasks.values()))
            self.state.end_task(task, TaskState.FINISHED)
            ended.append(task)
        return ended

    def begin_tasks(self, ended: Sequence[Task], made: int) -> None:
        """What the last offers were made of is in use again."""
        for offer in list(itertools.islice(reversed(self.state.offers.values()), made)):
            self.state.end_offer(offer)
        for task in ended:
            self.state.forget_task(task)
            task.state = TaskState.RUNNING
            self.state.add_task(task)
        self.state.changed.clear()


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the wall, and of this process' CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - cpu


def say(world: World, name: str, unit: str, runs: Sequence[tuple[float, float]], **more: object) -> None:
    """One figure: the median of runs."""
    scale = SCALES[unit]
    wall, cpu = ([each[at] * scale for each in runs] for at in (0, 1))
    line = {
        "figure": f"allocator: {name}",
        **world.size,
        "value": round(statistics.median(wall), 3),
        "unit": unit,
        "cpu": round(statistics.median(cpu), 3),
        "min": round(min(wall), 3),
        "max": round(max(wall), 3),
        "runs": len(runs),
    }
    print(json.dumps(line | more), file=sys.stderr, flush=True)


def measure(agents: int, frameworks: int, demand: str, repeats: int) -> Figures:
    """All figures of one size, by name."""
    gc.collect()
    world = World(agents, frameworks, demand)
    found: Figures = {}
    offered = [0]

    def tell(name: str, unit: str, runs: Sequence[tuple[float, float]], **more: object) -> None:
        say(world, name, unit, runs, **more)
        cpu = statistics.median(cpu for _, cpu in runs)
        found[name] = Figure(unit, tuple(wall for wall, _ in runs), cpu)

    tell("add all agents", "ms", [world.add_seconds])
    made = 0
    fulls, declines, agains, idles, updates = [], [], [], [], []
    for _ in range(repeats):
        world.reset()

        def full() -> None:
            nonlocal made
            made = world.round(everything=True)

        fulls.append(timed(full))
        idles.append(timed(lambda: world.round(everything=True)))
        declines.append(timed(lambda: world.decline(3600.0)))
        agains.append(timed(lambda: world.round(everything=True)))
        updates.append(timed(world.update))
    tell("full cycle", "ms", fulls, offers=made)
    tell("decline all offers", "ms", declines)
    tell("full cycle, all declined once", "ms", agains)
    tell("update all agents", "ms", updates)
    tell("nothing changed", "ms", idles)
    world.reset()
    world.round(everything=True)
    parts = []
    for _ in range(2 * repeats):
        ended = world.end_tasks(max(1, agents // 100))
        parts.append(timed(full_of(world, offered)))
        world.begin_tasks(ended, offered[0])
    tell("1% of the agents changed", "ms", parts)
    for framework in world.frameworks[1:]:
        framework.demand = Demand(version=2, wanted=False)
    small = []
    for _ in range(100 * repeats):
        ended = world.end_tasks(1)
        small.append(timed(full_of(world, offered)))
        world.begin_tasks(ended, offered[0])
    tell("one agent changed, one framework wants", "us", small)
    world.frameworks[0].demand = Demand(version=2, wanted=False)
    none = []
    for _ in range(100 * repeats):
        ended = world.end_tasks(1)
        none.append(timed(full_of(world, offered)))
        world.begin_tasks(ended, offered[0])
    tell("one agent changed, nobody wants", "us", none)
    return found


def full_of(world: World, offered: list[int]) -> Callable[[], None]:
    """A round over what changed, which notes how many offers it made."""

    def act() -> None:
        offered[0] = world.round(everything=False)

    return act


# -- memory --------------------------------------------------------------------------------------------


def snapshot(agents: int, tasks: int, frameworks: int) -> Snapshot:
    """What the store holds of a cell with so many agents, and so many running tasks on each of them."""
    found: dict[RecordKind, dict[str, bytes]] = {kind: {} for kind in RecordKind}
    for at in range(frameworks):
        info = FrameworkInfo(framework_id=f"framework-{at}", name=f"framework {at}", roles=("*",))
        found[RecordKind.FRAMEWORKS][info.framework_id] = FrameworkRecord(info=info).encode()
    each = Resources.parse("cpus:1;mem:128")
    for at in range(agents):
        info = AgentInfo(
            agent_id=f"agent-{at:05}",
            hostname=f"host-{at:05}.example.org",
            resources=TOTAL,
            attributes={"rack": f"r{at % RACKS}", "zone": f"z{at % 3}", "os": "linux"},
            version="0.1.0",
            pid=1000 + at,
        )
        record = AgentRecord(
            info=info,
            session=f"{at:032x}",
            number=at % 1000,
            attempt=f"{at + 1:032x}",
            boot_id=f"{at + 2:032x}",
            registered_at=1.7e9 + at,
        )
        found[RecordKind.AGENTS][info.agent_id] = record.encode()
        for index in range(tasks):
            number = at * tasks + index
            task_id = f"{at:08x}.{index}.1"
            framework_id = f"framework-{number % frameworks}"
            status = TaskStatus(
                task_id=task_id,
                state=TaskState.RUNNING,
                uuid=f"{number:032x}",
                agent_id=info.agent_id,
                framework_id=framework_id,
                source=Source.AGENT,
                timestamp=1.7e9 + number,
                started_at=1.7e9 + number,
            )
            task = TaskRecord(
                task_id,
                framework_id,
                info.agent_id,
                each,
                state=TaskState.RUNNING,
                details=TaskDetails(name="job", offer_id=f"o0-7-{number}", status=status, created_at=1.7e9 + number),
            )
            found[RecordKind.TASKS][task_id] = task.encode()
    lease = Lease(0, 7, "nonce", "owner", 0, 0.0)
    return Snapshot(lease, found[RecordKind.AGENTS], found[RecordKind.FRAMEWORKS], found[RecordKind.TASKS], [], False)


def rss() -> int:
    """Bytes of memory in use by this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextmanager
def reading(path: str) -> Iterator[Snapshot]:
    """A snapshot from a file: the process that wrote it has taken its own memory along."""
    import pickle

    with open(path, "rb") as file:
        yield pickle.load(file)


def memory(agents: int, tasks: int, frameworks: int) -> None:
    """What a cell of that size takes, loaded from its store by a process of its own, its records freed."""
    import pickle
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".snapshot") as file:
        pickle.dump(snapshot(agents, tasks, frameworks), file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.allocator", "--restore", file.name]
        subprocess.run(command, check=True)


def restored(path: str) -> None:
    """The other process of ``memory``."""
    empty = rss()
    with reading(path) as found:
        stored = sum(len(body) for body in itertools.chain(found.agents.values(), found.tasks.values()))
        counts = {"agents": len(found.agents), "tasks": len(found.tasks)}
        loaded: list[CellState] = []
        times = timed(lambda: loaded.append(restore(found, 1, Limits(), 0.0)))
    found.agents.clear()
    found.tasks.clear()
    gc.collect()
    line = {
        "figure": "allocator: memory of a cell",
        **counts,
        "value": round((rss() - empty) / 1e6, 1),
        "unit": "MB",
        "process": round(rss() / 1e6, 1),
        "peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
        "stored": round(stored / 1e6, 1),
    }
    print(json.dumps(line), flush=True)
    line = {"figure": "allocator: restore a cell", **counts, "value": round(times[0], 3), "unit": "s"}
    print(json.dumps(line | {"cpu": round(times[1], 3)}), flush=True)


# -- the command ---------------------------------------------------------------------------------------

Key = tuple[str, int, int]


def plan(size: str) -> list[Key]:
    """(demand, agents, frameworks) of a size."""
    if size == "small":
        return [(demand, 1_000, 50) for demand in DEMANDS] + [
            ("anything", 2_000, 50),
            ("anything", 1_000, 200),
        ]
    agents = AGENTS if size == "full" else AGENTS[:-1]
    whole = list(itertools.product(DEMANDS[:1], agents, FRAMEWORKS))
    # Those with shapes and constraints take minutes at the larger sizes.
    others = agents if size == "full" else agents[:2]
    return whole + [(demand, each, 200) for demand in DEMANDS[1:] for each in others]


def tell(record: Record, found: Mapping[Key, Figures]) -> None:
    """Figures and growth for the page."""
    for (demand, agents, frameworks), figures in found.items():
        record.section(
            f"{agents:,} agents, {frameworks:,} frameworks, demand: {demand}",
            f"No server, one process. CPU seconds of a full cycle: {figures['full cycle'].cpu:.3g}.",
        )
        target = (demand, agents, frameworks) == ("anything", 10_000, 1_000)
        for name, figure in figures.items():
            scale = 1.0 if name == "full cycle" else SCALES[figure.unit]
            unit = "s" if name == "full cycle" else figure.unit
            key = KEYS.get(name, "") if target else ""
            about = f"CPU: {figure.cpu * scale:.4g} {unit}"
            record.add(name, unit, [run * scale for run in figure.walls], about, key)
    # CPU seconds, since other processes disturb those less.
    for name in ("full cycle", "1% of the agents changed", "one agent changed, one framework wants"):
        for at, what in ((1, "agents"), (2, "frameworks")):
            series: dict[str, list[tuple[float, float]]] = {}
            for key, figures in found.items():
                other = f"{key[2]:,} frameworks" if at == 1 else f"{key[1]:,} agents"
                label = other if key[0] == "anything" else f"{other}, {key[0]}"
                series.setdefault(label, []).append((float((0, key[1], key[2])[at]), figures[name].cpu))
            several = {label: points for label, points in series.items() if len(points) > 1}
            if several:
                record.growth(Growth(f"CPU of: {name}", what, "s", several))


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--agents", type=numbers, help="of these sizes only, and store nothing")
    parser.add_argument("--frameworks", type=numbers, default=list(FRAMEWORKS))
    parser.add_argument("--demand", type=lambda text: text.split(","), default=["anything"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="what a cell with 10 tasks an agent takes")
    parser.add_argument("--restore", help=argparse.SUPPRESS)
    add_size(parser)
    options = parser.parse_args()
    if options.restore:
        restored(options.restore)
    elif options.memory:
        for agents in options.agents or [10_000]:
            memory(agents, 10, 200)
    elif options.agents:
        for demand, agents, frameworks in itertools.product(options.demand, options.agents, options.frameworks):
            measure(agents, frameworks, demand, options.repeats)
    else:
        with Record("allocator", "The allocator alone", options.size) as record:
            tell(
                record,
                {
                    # The largest are looked at once or twice: a minute each.
                    key: measure(key[1], key[2], key[0], options.repeats if key[1] <= 10_000 else 2)
                    for key in plan(options.size)
                },
            )


def numbers(text: str) -> list[int]:
    """``1000,5000``."""
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    main()
