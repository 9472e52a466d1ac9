"""What the framework says it wants: shapes of what is pending, under a version that was taken before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from broker_mesos.core.messages import Demand
from broker_mesos.core.tasks import TaskState
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.claims import Candidate, ClaimPlan, plan_claim
from broker_mesos.frameworks.batch.demand import Teller
from broker_mesos.frameworks.batch.records import Slot, Work, text_of
from broker_mesos.frameworks.batch.shapes import MOST_JOBS, Stated, state
from tests.batch.world import World, job, offer, status


def stated(*jobs: tuple[dict[str, Any], Work]) -> list[tuple[str, int]]:
    found = state([(job(**fields), work) for fields, work in jobs], 1.0)
    assert found.shapes is not None
    return [
        (" ".join([str(each.resources), *map(str, each.constraints)]), each.count) for each in found.shapes
    ]


def claim(candidates: Sequence[tuple[str, dict[str, Any]]], *offers: Any, all_seen: bool = True) -> ClaimPlan:
    specs = [(job_id, job(**fields)) for job_id, fields in candidates]
    found = [Candidate(job_id, spec, Work().text, len(text_of(spec))) for job_id, spec in specs]
    return plan_claim(offers, found, all_seen=all_seen, now=1.0, due=11.0)


class Told:
    """A teller, and what it has told."""

    def __init__(self, world: World) -> None:
        self.demands: list[Demand] = []
        self.news = asyncio.Event()
        self.teller = Teller(world.store, world.clock, self._told)

    def _told(self, demand: Demand) -> None:
        self.demands.append(demand)
        self.news.set()

    async def next(self) -> Demand:
        async with asyncio.timeout(10):
            await self.news.wait()
        self.news.clear()
        return self.demands[-1]


# -- shapes


def test_jobs_of_one_kind_are_one_shape_in_the_order_of_the_first() -> None:
    assert stated(
        ({"array": (0, 9)}, Work(cursor=3)),
        ({"resources": "cpus:2"}, Work()),
        ({"array": (1, 5)}, Work(returned=(Slot(9, 2, 2),))),
    ) == [("cpus:1;mem:10", 7 + 6), ("cpus:2", 1)]


def test_constraints_tell_shapes_apart() -> None:
    found = stated(({}, Work()), ({"constraints": ("rack==r1",)}, Work()))
    assert found == [("cpus:1;mem:10", 1), ("cpus:1;mem:10 rack==r1", 1)]


def test_a_job_that_is_all_claimed_has_no_shape() -> None:
    assert stated(({"array": (0, 9)}, Work(cursor=10))) == []


def test_a_shape_counts_no_more_than_a_message_may_say() -> None:
    found = stated(*(({"array": (0, 999_999)}, Work()) for _ in range(11)))
    assert found == [("cpus:1;mem:10", 10_000_000)]


def test_too_many_kinds_are_a_demand_for_anything() -> None:
    jobs = [(job(resources=f"cpus:{number}"), Work()) for number in range(1, 52)]
    assert state(jobs[:50], 1.0).shapes is not None and state(jobs, 1.0) == Stated(None)


# -- versions


async def test_a_demand_is_told_with_the_shapes_of_what_is_pending() -> None:
    world = World()
    told = Told(world)
    running = asyncio.create_task(told.teller.run())
    demand = await world.store.submit("j", job(array=(0, 9)))
    assert demand is not None
    told.teller.tell(demand)
    said = await told.next()
    assert (said.version, said.wanted) == (demand.version, True)
    assert said.shapes is not None and [each.count for each in said.shapes] == [10]
    running.cancel()


async def test_versions_that_come_while_shapes_are_read_are_told_together() -> None:
    world = World()
    told = Told(world)
    running = asyncio.create_task(told.teller.run())
    for number in range(20):
        demand = await world.store.submit(f"j{number}", job())
        assert demand is not None
        told.teller.tell(demand)
    while not told.demands or told.demands[-1].version < demand.version:
        await told.next()
    assert [each.count for each in told.demands[-1].shapes or ()] == [20]
    running.cancel()


async def test_the_end_of_demand_is_told_at_once_and_an_older_level_never() -> None:
    told = Told(World())
    told.teller.tell(Demand(version=5, wanted=False))
    told.teller.tell(Demand(version=4, wanted=True))
    assert told.demands == [Demand(version=5, wanted=False)]


async def test_a_job_that_was_claimed_before_it_was_told_ends_demand() -> None:
    world = World()
    told = Told(world)
    demand = await world.store.submit("j", job())
    await world.store.submit("k", job())
    assert demand is not None and len(await world.claim()) == 2
    # A worker that hears of the submit only now.
    running = asyncio.create_task(told.teller.run())
    told.teller.tell(demand)
    await told.next()
    while told.demands[-1].wanted:
        await told.next()
    running.cancel()


async def test_more_pending_jobs_than_are_read_are_a_demand_for_anything() -> None:
    world = World()
    for number in range(MOST_JOBS + 1):
        demand = await world.store.submit(f"j{number}", job())
    assert demand is not None
    assert (await Told(world).teller.stated(demand)).shapes is None


async def test_a_store_that_does_not_answer_makes_a_demand_for_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    demand = await world.store.submit("j", job())

    async def down(*args: object, **more: object) -> None:
        raise StoreUnavailable("no")

    monkeypatch.setattr(world.records, "range", down)
    assert demand is not None
    assert (await Told(world).teller.stated(demand)).shapes is None


async def test_a_version_is_restated_once_however_many_workers_find_it_due() -> None:
    world = World(workers=2)
    demand = await world.store.submit("j", job())
    assert demand is not None
    again = await world.stores[0].restate(demand.version)
    assert again is not None and again.version == demand.version + 1
    assert await world.stores[1].restate(demand.version) is None


async def test_an_index_that_comes_back_takes_a_new_version() -> None:
    world = World()
    await world.store.submit("j", job(array=(0, 9)))
    [first, *_] = await world.claim()
    before = await world.store.demand()
    applied = await world.store.apply([status(first, TaskState.DROPPED)])
    assert applied.demand is not None and applied.demand.version == before.version + 1


async def test_a_killed_job_takes_a_new_version_for_the_others() -> None:
    world = World()
    await world.store.submit("j", job(array=(0, 9)))
    before = await world.store.demand()
    await world.store.kill("j")
    after = await world.store.demand()
    assert after.version == before.version + 1
    assert (await Told(world).teller.stated(after)).shapes == ()


# -- what a claim means for the counts of cells


def test_one_job_that_is_claimed_bit_by_bit_takes_no_version() -> None:
    assert claim([("j", {"array": (0, 9)})], offer()).wanted is None


def test_a_shape_that_is_used_up_while_others_wait_takes_a_version() -> None:
    found = claim([("j", {}), ("k", {"resources": "cpus:9"})], offer())
    assert found.wanted is True
    assert claim([("j", {}), ("k", {"array": (0, 9)})], offer()).wanted is None, "its kind still waits"
    assert claim([("j", {}), ("k", {"resources": "cpus:9"})], offer(), all_seen=False).wanted is None


def test_an_offer_that_may_have_been_meant_for_those_who_wait_takes_a_version() -> None:
    picky = {"array": (0, 9), "constraints": ("rack==r1",)}
    fits = offer(attributes={"rack": "r1"})
    assert claim([("j", picky), ("k", {"array": (0, 9)})], fits).wanted is True
    assert claim([("j", picky), ("k", {"array": (0, 9)})], offer()).wanted is None, "not meant for j"
    other = {"array": (0, 9), "resources": "cpus:2;mem:20"}
    assert claim([("j", {"array": (0, 9)}), ("k", other)], offer()).wanted is None, "the cell can tell"
