"""Stated demand between a real cell and the claim planner, with messages that overtake each other: whatever
the order, every job runs to its end without anything being restated."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from broker_mesos.core.api.jobs import JobFilter
from broker_mesos.core.model.agent import AgentInfo, AgentList
from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import RegisterAgent
from broker_mesos.core.protocol.framework_messages import Accept, Decline, FrameworkHeartbeat
from broker_mesos.core.protocol.wire import Message
from broker_mesos.frameworks.batch.demand_publisher import REPUBLISH_SECONDS, DemandPublisher
from broker_mesos.frameworks.batch.planning.claims import task_info
from broker_mesos.frameworks.batch.scheduler import IDLE_FILTER, MISFIT_FILTER
from tests.batch.world import World, job, status
from tests.core.cell.harness import Bench, offers_in

INFO = FrameworkInfo(framework_id="batch")
RACKS = ("r1", "r2", "r3")
MOST_STEPS = 4_000


class Cluster:
    """A cell, one worker, and three queues between them that are not in step."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.world = World(rng=rng)
        self.bench = Bench()
        self.demand_publisher = DemandPublisher(self.world.store, self.world.clock, lambda demand: None)
        self.calls: deque[Message] = deque()
        self.beats: deque[Demand] = deque()
        self.offers: deque[Offer] = deque()
        self.running: list[tuple[str, str]] = []
        self.latest = Demand(version=-1)
        self.told_at = 0.0
        for number in range(3):
            info = AgentInfo(
                agent_id=f"a{number}",
                hostname=f"h{number}",
                resources=Resources.parse(f"cpus:{rng.randint(2, 4)};mem:1000"),
                attributes={"rack": RACKS[number]},
            )
            self.cell(RegisterAgent(agent=info, attempt="1", cells=1, list=AgentList()))

    def cell(self, *messages: Message) -> None:
        self.offers.extend(offers_in(self.bench.decide(*messages)))

    async def tell(self, demand: Demand | None) -> None:
        """The worker says what is wanted: later, the latest only, as the demand_publisher does."""
        if demand is not None and demand.version > self.latest.version:
            self.latest = await self.demand_publisher.stated(demand)
            self.beats.append(self.latest)
            self.told_at = self.world.clock.time()

    async def submit(self, number: int) -> None:
        rng = self.rng
        fields: dict[str, Any] = {"resources": rng.choice(("cpus:1;mem:10", "cpus:1;mem:10", "cpus:2;mem:10"))}
        if rng.random() < 0.5:
            fields["array"] = (0, rng.randint(0, 5))
        if rng.random() < 0.4:
            fields["constraints"] = (f"rack=={rng.choice(RACKS)}",)
        elif rng.random() < 0.4:
            wait = rng.choice((0.0, 1.0, 3.0))
            fields |= {"prefer": (f"rack=={rng.choice(RACKS)}", "hostname==h1"), "locality_wait": wait}
        await self.tell(await self.world.store.submit(f"j{number}", job(retries=100, **fields)))

    async def take(self) -> None:
        """The worker answers an offer."""
        offer = self.offers.popleft()
        claimed = await self.world.store.claim([offer])
        demand = claimed.demand if claimed.pending else await self.world.store.idle()
        await self.tell(demand)
        refuse = MISFIT_FILTER if demand is None or demand.wanted else IDLE_FILTER
        launches = claimed.launches.get(offer.offer_id, [])
        ids = (offer.offer_id,)
        if launches:
            tasks = tuple(map(task_info, launches))
            call: Message = Accept(framework_id="batch", offer_ids=ids, tasks=tasks, refuse_seconds=refuse)
            self.running += [(launch.name.task_id, offer.agent_id) for launch in launches]
        else:
            call = Decline(framework_id="batch", offer_ids=ids, refuse_seconds=refuse)
        self.calls.append(call)

    async def end(self) -> None:
        """A task ends, once its launch has reached the cell; or never began: its offer had ended by then."""
        at = self.rng.randrange(len(self.running))
        task_id, agent_id = self.running[at]
        to = TaskState.FAILED if self.rng.random() < 0.2 else TaskState.FINISHED
        if task_id in self.bench.state.tasks:
            said = self.bench.report(agent_id, task_id, to, framework_id="batch")
            self.offers.extend(offers_in(said))
        elif self.calls:
            return
        else:
            to = TaskState.DROPPED
        del self.running[at]
        applied = await self.world.store.apply([status(task_id, to, agent_id=agent_id)])
        await self.tell(applied.demand)

    async def pass_time(self) -> None:
        seconds = self.rng.random()
        self.world.clock.now += seconds
        self.offers.extend(offers_in(self.bench.wait(seconds)))
        # A wait that is over; never what is restated for safety.
        now = self.world.clock.time()
        if self.demand_publisher._due <= now and self.demand_publisher._due < self.told_at + REPUBLISH_SECONDS:
            await self.tell(await self.world.store.restate(self.latest.version))

    async def step(self) -> None:
        """One thing happens, whichever."""
        ready = [self.pass_time]
        ready += [self.take] * bool(self.offers) + [self.end] * bool(self.running)
        ready += [self.beat] * bool(self.beats) + [self.call] * bool(self.calls)
        await self.rng.choice(ready)()

    async def beat(self) -> None:
        self.cell(FrameworkHeartbeat(framework_id="batch", framework=INFO, demand=self.beats.popleft()))

    async def call(self) -> None:
        self.cell(self.calls.popleft())


@pytest.mark.parametrize("seed", [*range(8), 12, 24, 44, 49])
async def test_every_job_ends_although_nothing_is_restated(seed: int) -> None:
    cluster = Cluster(seed)
    jobs = cluster.rng.randint(3, 10)
    for number in range(jobs):
        await cluster.submit(number)
        for _ in range(cluster.rng.randint(0, 15)):
            await cluster.step()
    for _ in range(MOST_STEPS):
        active = (await cluster.world.store.jobs(100, JobFilter(kind="active"))).total
        if not active:
            break
        await cluster.step()
    assert await cluster.world.leftovers() == {}, cluster.latest
