"""Workers whose wall clocks differ from each other's and from the store's."""

from __future__ import annotations

import asyncio
import random

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.frameworks.batch.storage.housekeeping import Housekeeping
from broker_mesos.frameworks.batch.storage.records import ASK_AGAIN, UNSETTLED
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.store import Change
from tests.batch.world import StillClock, World, job, offer

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
