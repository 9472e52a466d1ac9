"""Simulated agents: a cluster cannot tell them from real ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from broker_mesos.core.model.framework import FrameworkInfo, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.sdk.driver import Driver
from broker_mesos.sdk.scheduler import Scheduler
from broker_mesos.simulated.durations import durations, remaining
from broker_mesos.simulated.fleet import Fleet, FleetOptions
from broker_mesos.wiring.local import LocalCluster

ONE = Resources.parse("cpus:1")


class Taker(Scheduler):
    """Launches one task on each offer until there were ``count``; done when all have ended."""

    def __init__(self, count: int, states: set[TaskState]) -> None:
        self.count = count
        self.states = states
        self.launched: dict[str, str] = {}
        self.seen: dict[str, TaskState] = {}
        self.done = asyncio.Event()

    def registered(self, driver: Driver, framework_id: str) -> None:
        driver.want([Shape(resources=ONE, count=self.count)])

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        for offer in offers:
            if not offer.agent_id.startswith("sim") or len(self.launched) >= self.count:
                driver.decline(offer)
                continue
            ident = f"t{len(self.launched)}"
            self.launched[ident] = offer.agent_id
            command = CommandInfo(arguments=("true",))
            driver.accept(offer, [TaskInfo(task_id=ident, resources=ONE, command=command)], refuse_seconds=0)

    def status_update(self, driver: Driver, status: TaskStatus) -> None:
        self.seen[status.task_id] = status.state
        if sum(state in self.states for state in self.seen.values()) >= self.count:
            self.done.set()


async def run(seconds: str, taker: Taker, *, agents: int = 20) -> Fleet:
    """A local cluster with a fleet, until the framework has seen what it waits for; the fleet, ended."""
    async with LocalCluster(agents=1, resources=Resources.parse("cpus:0.1"), cells=2) as cluster:
        buses = [cluster.bus(name) for name in ("fleet", "framework")]
        for bus in buses:
            await bus.open(5)
        options = FleetOptions(Resources.parse("cpus:1;mem:64"), durations(seconds, random.Random(1)))
        ids = [f"sim-{number}" for number in range(agents)]
        fleet = Fleet(buses[0], SystemClock(), new_id, random.Random(1), ids, options)
        info = FrameworkInfo(framework_id="taker")
        driver = Driver(taker, info, buses[1], clock=SystemClock(), new_id=new_id)
        tasks = [asyncio.create_task(fleet.run()), asyncio.create_task(driver.run())]
        try:
            async with asyncio.timeout(90):
                await taker.done.wait()
                assert fleet.counts().registered == agents
                if taker.states == {TaskState.RUNNING}:
                    taker.states = {TaskState.KILLED}
                    taker.done.clear()
                fleet.stop()
                await tasks[0]
                if taker.states == {TaskState.KILLED}:
                    await taker.done.wait()
        finally:
            driver.stop()
            fleet.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            for bus in buses:
                await bus.close()
    return fleet


async def test_tasks_of_simulated_agents_run_for_their_time_and_make_room_for_the_next() -> None:
    taker = Taker(50, {TaskState.FINISHED})
    fleet = await run("uniform:1ms..20ms", taker)
    counts = fleet.counts()
    assert counts.launched == counts.ended == 50
    assert len(fleet.refills()) >= 30


async def test_tasks_of_simulated_agents_end_with_them() -> None:
    taker = Taker(20, {TaskState.RUNNING})
    fleet = await run("1h", taker)
    assert set(taker.seen.values()) == {TaskState.KILLED}
    assert fleet.counts().running == 0


def test_durations_are_fixed_exponential_or_uniform() -> None:
    rng = random.Random(1)
    assert durations("250ms", rng)() == 0.25
    assert durations("2m", rng)() == 120.0
    exponential = durations("exp:10s", rng)
    assert 8 < sum(exponential() for _ in range(2_000)) / 2_000 < 12
    uniform = durations("uniform:1s..3s", rng)
    assert all(1 <= uniform() <= 3 for _ in range(100))


@pytest.mark.parametrize("text", ["", "soon", "exp:", "exp:1s..2s", "uniform:3s", "uniform:3s..1s", "-1s", "1y"])
def test_a_duration_that_means_nothing_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput, match="write how long a task runs"):
        durations(text, random.Random(1))


def test_what_is_left_of_a_task_that_is_met_on_its_way_is_longer_than_half_a_task() -> None:
    """As long tasks are met more often: of one of 10 or 50 s, 21.7 s are left on average and not 15."""
    rng = random.Random(3)
    seconds = lambda: rng.choice((10.0, 50.0))  # noqa: E731
    left = [remaining(seconds, rng) for _ in range(4_000)]
    assert 20.7 < sum(left) / len(left) < 22.7
    assert min(left) >= 0 and max(left) <= 50
    assert remaining(lambda: 0.0, rng) == 0.0
