"""Workers whose wall clocks differ from each other's and from the store's."""

from __future__ import annotations

import asyncio
import random

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.frameworks.batch.demand_publisher import REPUBLISH_SECONDS, DemandPublisher
from broker_mesos.frameworks.batch.storage.housekeeping import Housekeeping
from broker_mesos.frameworks.batch.storage.records import ASK_AGAIN, ENDED, UNSETTLED
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.store import Change
from tests.batch.world import StillClock, World, job, offer, status

HOUR = 3_600.0


class Skewed:
    """The clock of a machine whose wall clock is ahead."""

    def __init__(self, clock: StillClock, ahead: float) -> None:
        self._clock = clock
        self.ahead = ahead

    def time(self) -> float:
        return self._clock.time() + self.ahead

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_a_claim_by_a_worker_whose_clock_is_ahead_is_settled_after_the_offer_timeout() -> None:
    world = World()
    ahead = JobStore(world.records, Skewed(world.clock, HOUR), random.Random(1))
    await ahead.submit("j", job())
    assert (await ahead.claim([offer()])).launches
    assert await world.upkeep.overdue() == []
    world.clock.now += 11
    assert [each.task_id for each in await world.upkeep.overdue()] == ["j.0.1"]


async def test_a_claim_by_a_worker_whose_clock_is_behind_is_not_settled_before_the_offer_timeout() -> None:
    world = World()
    behind = JobStore(world.records, Skewed(world.clock, -HOUR), random.Random(1))
    await behind.submit("j", job())
    assert (await behind.claim([offer()])).launches
    assert await Housekeeping(world.store, world.records).overdue() == []


async def test_a_claim_that_is_due_further_ahead_than_any_worker_sets_is_due_now() -> None:
    world = World()
    await world.store.submit("j", job())
    await world.claim()
    far = world.clock.now + 2 * ASK_AGAIN
    await world.transact((), (Change("zadd", UNSETTLED, "j.0.1", far),))
    assert [each.task_id for each in await world.upkeep.overdue()] == ["j.0.1"]
    # It was put where it belongs: it does not come up again at once.
    assert await world.upkeep.overdue() == []


async def test_a_wait_for_a_preferred_agent_that_began_in_the_far_future_is_over() -> None:
    world = World()
    ahead = JobStore(world.records, Skewed(world.clock, HOUR), random.Random(1))
    await ahead.submit("j", job(prefer=(Constraint.parse("rack==r1"),), locality_wait=300.0))
    assert await world.claim() == ["j.0.1"]


async def test_demand_is_restated_in_time_though_the_clock_of_the_store_is_set_back() -> None:
    """Nothing is computed from a time before the step and one after it."""
    world = World()
    clock = Skewed(world.clock, 0.0)
    restated = asyncio.Event()

    class Watched(DemandPublisher):
        async def _restate(self) -> None:
            restated.set()

    publisher = Watched(world.store, clock, lambda demand: None)
    demand = await world.store.submit("j", job())
    assert demand is not None
    await publisher.stated(demand)
    clock.ahead -= HOUR
    world.clock.now += REPUBLISH_SECONDS + 1
    running = asyncio.create_task(publisher.run())
    async with asyncio.timeout(90):
        await restated.wait()
    running.cancel()


async def test_a_job_that_ends_after_the_clock_of_the_store_was_set_back_is_not_the_first_to_be_forgotten() -> None:
    world = World()
    upkeep = Housekeeping(world.store, world.records, keep_ended=2)
    for name in ("a", "b", "c"):
        await world.store.submit(name, job())
        (task_id,) = await world.claim()
        await world.store.apply([status(task_id, TaskState.FINISHED)])
        world.clock.now -= HOUR
    while await upkeep.prune():
        pass
    assert [each for each, _ in await world.records.range(ENDED, limit=10)] == ["b", "c"]
