"""``python -m benchmarks.locality``: delay scheduling on a synthetic cluster, in virtual time.

A real cell (``core/cell``) offers; frameworks choose by the batch framework's claim planner, and state their
demand as it does. Agents, time and messages are simulated: nothing depends on the machine, and a seed gives
the same figures everywhere. Prints JSON lines, and writes the picture and the table in the docs.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.locality_page import write
from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.cell.inputs import Input
from broker_mesos.core.model.agent import AgentInfo, AgentList
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskStatus
from broker_mesos.core.model.task_states import Source, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks, RegisterAgent, UpdateStatuses
from broker_mesos.core.protocol.events import Offers, Update
from broker_mesos.core.protocol.framework_messages import Accept, Acknowledge, Decline, FrameworkHeartbeat
from broker_mesos.core.protocol.limits import Instant, Limits
from broker_mesos.core.protocol.records import Lease, Snapshot
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.frameworks.batch.planning.claims import Candidate, plan_claim, task_info
from broker_mesos.frameworks.batch.planning.shapes import MAX_JOBS, demand_shapes
from broker_mesos.frameworks.batch.scheduler import IDLE_FILTER, MISFIT_FILTER
from broker_mesos.frameworks.batch.storage.records import Work

NODES, SLOTS, FRAMEWORKS = 100, 4, 16
JOBS, TASKS = 3, 100
"""Jobs of each framework, one after the other, and tasks of each job."""
COPIES = 3
"""Nodes that have a block."""
LOCAL, REMOTE = 10.0, 20.0
"""Seconds that a task takes on average where its block is, and elsewhere; each is up to a fifth off."""
HOP = 0.002
"""Seconds from sender to receiver."""
NEED = Resources.parse("cpus:1;mem:100")
COMMAND = CommandInfo(arguments=("scan",))


@dataclass(frozen=True)
class Case:
    """How the cluster is shared."""

    name: str
    wait: float = 0.0
    partitioned: bool = False


CASES = (
    Case("static partition", partitioned=True),
    Case("shared, no wait"),
    Case("shared, 1 s", wait=1.0),
    Case("shared, 5 s", wait=5.0),
)


class Outcome(NamedTuple):
    """What came of a case: the part of the tasks that were local, and seconds from a job's first moment to
    its end, on average."""

    local: float
    job_time: float


class World:
    """A cell, nodes, frameworks, and the time."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        self.rng = random.Random(seed)
        self.now = Instant(1_000_000.0, 0.0)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._inbox: list[Input] = []
        # Nobody dies here, so nobody beats.
        limits = Limits(agent_beat=86_400.0, framework_beat=86_400.0)
        lease = Lease(0, 1, "nonce", "owner", 0, 0.0)
        self.cell = Cell(Snapshot(lease, {}, {}, {}, [], recovering=False), 1, limits, self.now)
        self.cell.begin()
        self._wakes = 0.0
        self.frameworks = {f"f{number}": Scanner(self, f"f{number}", number) for number in range(FRAMEWORKS)}
        for number in range(NODES):
            info = AgentInfo(
                agent_id=f"n{number}",
                hostname=f"n{number}",
                resources=Resources.parse(f"cpus:{SLOTS};mem:{SLOTS * 100}"),
                attributes={"part": str(number * FRAMEWORKS // NODES)},
            )
            self.send(RegisterAgent(agent=info, attempt="1", cells=1, list=AgentList()))
        for framework in self.frameworks.values():
            self.after(self.rng.random() * LOCAL, framework.begin)

    # -- time and messages ------------------------------------------------------------------------------

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._queue, (self.now.mono + seconds, next(self._order), action))

    def send(self, message: Message) -> None:
        """To the cell."""
        self.after(HOP, lambda: self._inbox.append(message))

    def run(self) -> Outcome:
        """Until all jobs are done."""
        while any(not each.done for each in self.frameworks.values()):
            at = min(self._queue[0][0] if self._queue else self._wakes, self._wakes)
            self.now = Instant(1_000_000.0 + at, at)
            while self._queue and self._queue[0][0] <= at:
                heapq.heappop(self._queue)[2]()
            if self._inbox or at >= self._wakes:
                inbox, self._inbox = self._inbox, []
                decision = self.cell.decide(inbox, self.now)
                self._wakes = max(self.cell.wake_at(self.now), at + 0.01)
                for entry in decision.outbox:
                    self._deliver(entry.key, decode(entry.type, entry.body))
                for hint in decision.hints:
                    self._deliver(hint.to.key, hint.message)
        everyone = self.frameworks.values()
        local = sum(each.local for each in everyone) / (FRAMEWORKS * JOBS * TASKS)
        return Outcome(local, statistics.mean(time for each in everyone for time in each.times))

    def _deliver(self, key: str, message: Message) -> None:
        ident = key.rpartition(".")[2]
        match message:
            case Offers():
                self.after(HOP, lambda: self.frameworks[ident].on_offers(message.offers))
            case Update():
                ended = [each.task_id for each in message.statuses if each.state.terminal]
                self.after(HOP, lambda: self.frameworks[ident].on_ended(ended))
            case LaunchTasks():
                for launch in message.launches:
                    self._start(ident, launch.framework_id, launch.task.task_id, message.session)

    def _start(self, agent_id: str, framework_id: str, task_id: str, session: str) -> None:
        takes = LOCAL if self.frameworks[framework_id].is_local(task_id, agent_id) else REMOTE
        status = TaskStatus(
            task_id=task_id,
            state=TaskState.FINISHED,
            uuid=task_id,
            agent_id=agent_id,
            framework_id=framework_id,
            source=Source.AGENT,
            exit_code=0,
        )
        update = UpdateStatuses(agent_id=agent_id, session=session, statuses=(status,))
        self.after(HOP + takes * self.rng.uniform(0.8, 1.2), lambda: self.send(update))


@dataclass
class Scanner:
    """A framework that reads files, block by block: a job has a task for each block of its file.

    All its tasks have one wait, as those of an array have; and like Hadoop it looks among its tasks first for
    one whose block is on the node at hand.
    """

    world: World
    ident: str
    number: int
    jobs: int = 0
    specs: dict[str, JobSpec] = field(default_factory=dict)
    """What waits, in order."""
    running: dict[str, JobSpec] = field(default_factory=dict)
    since: float = 0.0
    version: int = 0
    local: int = 0
    began: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """All jobs have ended."""
        return len(self.times) == JOBS

    def is_local(self, task_id: str, host: str) -> bool:
        """Whether the host has the block of a task that runs."""
        return self.running[task_id].prefers({}, host, host)

    def begin(self) -> None:
        """The next job."""
        world = self.world
        self.jobs += 1
        self.began = world.now.mono
        for number in range(TASKS):
            hosts = world.rng.sample(range(NODES), COPIES)
            self.specs[f"{self.ident}-{self.jobs}-{number}"] = JobSpec(
                command=COMMAND,
                resources=NEED,
                prefer=tuple(Constraint("hostname", "==", f"n{host}") for host in hosts),
                locality_wait=world.case.wait,
            )
        self._restart_wait()
        self._tell()

    def on_offers(self, offers: Sequence[Offer]) -> None:
        """Choose, accept, and give back the rest."""
        now = self.world.now.wall
        for offer in offers:
            here, work = offer.hostname, self._work().text
            first = sorted(self.specs.items(), key=lambda each: not each[1].prefers({}, here, here))
            candidates = [Candidate(name, spec, work, 100) for name, spec in first]
            found = plan_claim([offer], candidates, all_seen=True, now=now, settle_after=10.0)
            launches = found.launches.get(offer.offer_id, [])
            refuse = MISFIT_FILTER if self.specs else IDLE_FILTER
            for launch in launches:
                name = launch.name
                self.running[name.task_id] = self.specs.pop(name.job_id)
            there = [each for each in launches if self.is_local(each.name.task_id, offer.hostname)]
            self.local += len(there)
            if there:
                self._restart_wait()
            if found.wanted is not None:
                self._tell()
            if launches:
                self.world.send(
                    Accept(
                        framework_id=self.ident,
                        offer_ids=(offer.offer_id,),
                        tasks=tuple(map(task_info, launches)),
                        refuse_seconds=refuse,
                    )
                )
            else:
                self.world.send(Decline(framework_id=self.ident, offer_ids=(offer.offer_id,), refuse_seconds=refuse))

    def on_ended(self, task_ids: Sequence[str]) -> None:
        """Tasks have ended, and perhaps a job with them."""
        for task_id in task_ids:
            self.running.pop(task_id, None)
        if task_ids:
            self.world.send(Acknowledge(framework_id=self.ident, task_ids=tuple(task_ids)))
        if not self.specs and not self.running and len(self.times) < self.jobs:
            self.times.append(self.world.now.mono - self.began)
            if not self.done:
                self.begin()

    def _work(self) -> Work:
        return Work(since=self.since if self.world.case.wait else None)

    def _restart_wait(self) -> None:
        self.since = self.world.now.wall
        if self.world.case.wait:
            began = self.since
            self.world.after(self.world.case.wait, lambda: self._over(began))

    def _over(self, began: float) -> None:
        if began == self.since and self.specs:
            self._tell()

    def _tell(self) -> None:
        self.version += 1
        pending = [(name, spec, self._work()) for name, spec in self.specs.items()]
        shapes = demand_shapes(pending, self.world.now.wall).shapes if len(pending) <= MAX_JOBS else None
        own = ((Constraint("part", "==", str(self.number)),),)
        info = FrameworkInfo(
            framework_id=self.ident, offer_constraints={"*": own} if self.world.case.partitioned else {}
        )
        demand = Demand(version=self.version, wanted=bool(pending), shapes=shapes)
        self.world.send(FrameworkHeartbeat(framework_id=self.ident, framework=info, demand=demand))


def main() -> None:
    """Run all cases; print them, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each case")
    parser.add_argument("--no-page", action="store_true", help="do not write the docs")
    options = parser.parse_args()
    found: list[tuple[Case, Outcome]] = []
    for case in CASES:
        runs = [World(case, seed).run() for seed in range(options.seeds)]
        outcome = Outcome(statistics.mean(each.local for each in runs), statistics.mean(each.job_time for each in runs))
        found.append((case, outcome))
        line = {"case": case.name, "local": round(outcome.local, 4), "job_time": round(outcome.job_time, 2)}
        print(json.dumps(line), flush=True)
    if not options.no_page:
        docs = Path(__file__).parent.parent / "docs"
        write(docs, [(case.name, outcome.local, outcome.job_time) for case, outcome in found])


if __name__ == "__main__":
    main()
