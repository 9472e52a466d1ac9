"""``python -m benchmarks.owner``: what a cell costs its owner, by its size, in CPU seconds of one process.

The pure core and the decoding around it, without servers: loading a cell at a failover, heartbeats, a second
in which nothing happens, the end of tasks, the registration of every agent.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.model.agent import AgentInfo, AgentList, AgentTask, Usage
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Source, TaskState
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, RegisterAgent, UpdateStatuses
from broker_mesos.core.protocol.limits import Instant, Limits
from broker_mesos.core.protocol.records import AgentRecord, FrameworkRecord, Lease, Snapshot
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.task_record import TaskDetails, TaskRecord

ONE = Resources.parse("cpus:1;mem:128")


def snapshot(agents: int, per_agent: int, frameworks: int) -> Snapshot:
    """A full cell, as a store holds it."""
    lends = Resources.parse(f"cpus:{per_agent};mem:{128 * per_agent}")
    records = {}
    tasks = {}
    for at in range(agents):
        ident = f"sim-{at}"
        info = AgentInfo(agent_id=ident, hostname=ident, resources=lends, version="1.0")
        records[ident] = AgentRecord(
            info=info, session=f"x0-1-{at}", number=1, attempt=f"p{at}.1", boot_id="b", registered_at=1.0
        ).encode()
        for slot in range(per_agent):
            number = at * per_agent + slot
            task_id, framework_id = f"f-{number % frameworks}-{number}", f"f-{number % frameworks}"
            status = TaskStatus(
                task_id=task_id,
                state=TaskState.RUNNING,
                uuid=f"{number:012x}",
                agent_id=ident,
                framework_id=framework_id,
                source=Source.AGENT,
                timestamp=1_700_000_000.5,
                started_at=1_700_000_000.25,
            )
            tasks[task_id] = TaskRecord(
                task_id,
                framework_id,
                ident,
                ONE,
                state=TaskState.RUNNING,
                details=TaskDetails(offer_id=f"o0-1-{number}", status=status, created_at=1_700_000_000.125),
            ).encode()
    known = {
        f"f-{at}": FrameworkRecord(
            info=FrameworkInfo(framework_id=f"f-{at}", failover_timeout=3_600), registered_at=float(at)
        ).encode()
        for at in range(frameworks)
    }
    return Snapshot(Lease(0, 2, "n", "m", 1, 0.0), records, known, tasks, [], recovering=False)


class Stopwatch:
    """CPU seconds of this process, one JSON line each."""

    def __init__(self, **facts: int) -> None:
        self._facts = facts
        self.figures: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], object], count: int) -> None:
        """``count``: of how many things, for the cost of one."""
        gc.collect()
        began = time.process_time()
        work()
        self.say(name, time.process_time() - began, count)

    def say(self, name: str, value: float, count: int) -> None:
        """A figure."""
        self.figures[name] = value
        print(
            json.dumps({**self._facts, "figure": name, "value": round(value, 4), "each": value / count}),
            flush=True,
        )


def memory() -> float:
    """Bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def measure(agents: int, per_agent: int, frameworks: int) -> dict[str, float]:
    """All figures of one size."""
    watch = Stopwatch(agents=agents, tasks=agents * per_agent, frameworks=frameworks)
    stored = snapshot(agents, per_agent, frameworks)
    gc.collect()
    held = memory()
    cells: list[Cell] = []
    total = agents * per_agent
    now = Instant(1_700_000_100.0, 100.0)
    gc.disable()  # as the master does
    watch.time("load", lambda: cells.append(Cell(stored, 1, Limits(), now)), total)
    gc.enable()
    watch.time("begin", lambda: cells[0].begin(), agents)
    gc.collect()
    watch.say("memory", memory() - held, total)
    cell = cells[0]
    cell.decide([], now)
    beats = [
        AgentHeartbeat(
            agent_id=f"sim-{at}",
            session=f"x0-1-{at}",
            applied=1,
            running=per_agent,
            usage=Usage(),
        ).encode()
        for at in range(agents)
    ]
    later = Instant(now.wall + 0.5, now.mono + 0.5)

    def hear() -> None:
        for at in range(0, agents, 500):
            cell.decide([decode(AgentHeartbeat.TYPE, each) for each in beats[at : at + 500]], later)

    watch.time("heartbeats", hear, agents)
    later = Instant(now.wall + 2, now.mono + 2)
    watch.time("a quiet second", lambda: cell.decide([], later), agents)
    ends = [_ended(at, per_agent, frameworks) for at in range(0, agents, 10)]

    def end() -> None:
        for at in range(0, len(ends), 50):
            cell.decide([decode(UpdateStatuses.TYPE, each) for each in ends[at : at + 50]], later)

    watch.time("statuses of a tenth", end, len(ends))
    calls = [_registration(at, per_agent, frameworks) for at in range(agents)]

    def register() -> None:
        for at in range(0, agents, 100):
            cell.decide([decode(RegisterAgent.TYPE, each) for each in calls[at : at + 100]], later)

    watch.time("registrations", register, agents)
    problems = list(cell.state.breaches())
    assert not problems, problems[:3]
    return watch.figures


def _ended(agent: int, per_agent: int, frameworks: int) -> bytes:
    number = agent * per_agent
    status = TaskStatus(
        task_id=f"f-{number % frameworks}-{number}",
        state=TaskState.FINISHED,
        uuid=f"e{number:011x}",
        agent_id=f"sim-{agent}",
        framework_id=f"f-{number % frameworks}",
        source=Source.AGENT,
        timestamp=1_700_000_101.0,
        exit_code=0,
    )
    message = UpdateStatuses(agent_id=f"sim-{agent}", session=f"x0-1-{agent}", statuses=(status,))
    return message.encode()


def _registration(agent: int, per_agent: int, frameworks: int) -> bytes:
    ident = f"sim-{agent}"
    listed = []
    for slot in range(1 if agent % 10 == 0 else 0, per_agent):
        number = agent * per_agent + slot
        listed.append(
            AgentTask(
                task_id=f"f-{number % frameworks}-{number}",
                framework_id=f"f-{number % frameworks}",
                resources=ONE,
                state=TaskState.RUNNING,
                offer_id=f"o0-1-{number}",
                started_at=1_700_000_000.25,
            )
        )
    lends = Resources.parse(f"cpus:{per_agent};mem:{128 * per_agent}")
    info = AgentInfo(agent_id=ident, hostname=ident, resources=lends, version="1.0")
    message = RegisterAgent(
        agent=info,
        attempt=f"p{agent}.2",
        boot_id="b",
        cells=1,
        list=AgentList(applied=1, tasks=tuple(listed)),
    )
    return message.encode()


def main() -> None:
    """Measure some sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=[1_000, 3_000, 10_000])
    parser.add_argument("--per-agent", type=int, default=10, help="tasks on each")
    parser.add_argument("--frameworks", type=int, default=200)
    options = parser.parse_args()
    for agents in options.agents:
        measure(agents, options.per_agent, options.frameworks)


if __name__ == "__main__":
    main()
