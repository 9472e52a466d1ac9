"""What the framework says it wants: shapes of what is pending, under a version that was taken before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.demand_publisher import DemandPublisher
from broker_mesos.frameworks.batch.planning.claims import Candidate, ClaimPlan, plan_claim
from broker_mesos.frameworks.batch.planning.shapes import MAX_JOBS, DemandShapes, demand_shapes
from broker_mesos.frameworks.batch.storage.records import Slot, Work, text_of
from tests.batch.world import StillClock, World, job, offer, status


def stated(*jobs: tuple[dict[str, Any], Work]) -> list[tuple[str, int]]:
    found = demand_shapes([(f"j{n}", job(**fields), work) for n, (fields, work) in enumerate(jobs)], 1.0)
    assert found.shapes is not None
    return [(" ".join([str(each.resources), *map(str, each.constraints)]), each.count) for each in found.shapes]


def claim(candidates: Sequence[tuple[str, dict[str, Any]]], *offers: Any, all_seen: bool = True) -> ClaimPlan:
    specs = [(job_id, job(**fields)) for job_id, fields in candidates]
    found = [Candidate(job_id, spec, Work().text, len(text_of(spec))) for job_id, spec in specs]
    return plan_claim(offers, found, all_seen=all_seen, now=1.0, settle_after=10.0)


class Told:
    """A demand_publisher, and what it has told."""

    def __init__(self, world: World) -> None:
        self.demands: list[Demand] = []
        self.news = asyncio.Event()
        self.demand_publisher = DemandPublisher(world.store, world.clock, self._told)

    def _told(self, demand: Demand) -> None:
        self.demands.append(demand)
        self.news.set()

    async def next(self) -> Demand:
        async with asyncio.timeout(90):
            await self.news.wait()
        self.news.clear()
        return self.demands[-1]


# -- shapes


def test_jobs_of_one_kind_are_one_shape_in_the_order_of_the_first() -> None:
    assert stated(
        ({"array": (0, 9)}, Work(cursor=3)),
        ({"resources": "cpus:2;mem:10"}, Work()),
        ({"array": (1, 5)}, Work(returned=(Slot(9, 2, 2),))),
    ) == [("cpus:1;mem:10", 7 + 6), ("cpus:2;mem:10", 1)]


def test_constraints_tell_shapes_apart() -> None:
    found = stated(({}, Work()), ({"constraints": ("rack==r1",)}, Work()))
    assert found == [("cpus:1;mem:10", 1), ("cpus:1;mem:10 rack==r1", 1)]


def test_a_job_that_is_all_claimed_has_no_shape() -> None:
    assert stated(({"array": (0, 9)}, Work(cursor=10))) == []


def test_a_shape_counts_no_more_than_a_message_may_say() -> None:
    found = stated(*(({"array": (0, 999_999)}, Work()) for _ in range(11)))
    assert found == [("cpus:1;mem:10", 10_000_000)]


def test_too_many_kinds_are_a_demand_for_anything() -> None:
    jobs = [(f"j{number}", job(resources=f"cpus:{number}"), Work()) for number in range(1, 52)]
    assert demand_shapes(jobs[:50], 1.0).shapes is not None and demand_shapes(jobs, 1.0) == DemandShapes(None)


# -- versions


async def test_a_demand_is_told_with_the_shapes_of_what_is_pending() -> None:
    world = World()
    told = Told(world)
    running = asyncio.create_task(told.demand_publisher.run())
    demand = await world.store.submit("j", job(array=(0, 9)))
    assert demand is not None
    told.demand_publisher.publish(demand)
    said = await told.next()
    assert (said.version, said.wanted) == (demand.version, True)
    assert said.shapes is not None and [each.count for each in said.shapes] == [10]
    running.cancel()


async def test_versions_that_come_while_shapes_are_read_are_told_together() -> None:
    world = World()
    told = Told(world)
    running = asyncio.create_task(told.demand_publisher.run())
    for number in range(20):
        demand = await world.store.submit(f"j{number}", job())
        assert demand is not None
        told.demand_publisher.publish(demand)
    while not told.demands or told.demands[-1].version < demand.version:
        await told.next()
    assert [each.count for each in told.demands[-1].shapes or ()] == [20]
    running.cancel()


async def test_the_end_of_demand_is_told_at_once_and_an_older_level_never() -> None:
    told = Told(World())
    told.demand_publisher.publish(Demand(version=5, wanted=False))
    told.demand_publisher.publish(Demand(version=4, wanted=True))
    assert told.demands == [Demand(version=5, wanted=False)]


async def test_a_job_that_was_claimed_before_it_was_told_ends_demand() -> None:
    world = World()
    told = Told(world)
    demand = await world.store.submit("j", job())
    await world.store.submit("k", job())
    assert demand is not None and len(await world.claim()) == 2
    # A worker that hears of the submit only now.
    running = asyncio.create_task(told.demand_publisher.run())
    told.demand_publisher.publish(demand)
    await told.next()
    while told.demands[-1].wanted:
        await told.next()
    running.cancel()


async def test_more_pending_jobs_than_are_read_are_a_demand_for_anything() -> None:
    world = World()
    for number in range(MAX_JOBS + 1):
        demand = await world.store.submit(f"j{number}", job())
    assert demand is not None
    assert (await Told(world).demand_publisher.stated(demand)).shapes is None


async def test_a_store_that_does_not_answer_makes_a_demand_for_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    demand = await world.store.submit("j", job())

    async def down(*args: object, **more: object) -> None:
        raise StoreUnavailable("no")

    monkeypatch.setattr(world.records, "range", down)
    assert demand is not None
    assert (await Told(world).demand_publisher.stated(demand)).shapes is None


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
    assert (await Told(world).demand_publisher.stated(after)).shapes == ()


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


# -- preferred agents

R1 = {"prefer": ("rack==r1",), "locality_wait": 5.0}
THERE, ELSEWHERE = {"rack": "r1"}, {"rack": "r2"}


def of_job(since: float | None, **fields: Any) -> Candidate:
    spec = job(**{"array": (0, 9), **R1, **fields})
    return Candidate("j", spec, Work(since=since).text, 100)


def placed(candidate: Candidate, now: float, *offers: Any) -> dict[str, int]:
    found = plan_claim(offers, [candidate], all_seen=True, now=now, settle_after=10.0)
    return {offer_id: len(launches) for offer_id, launches in found.launches.items()}


def test_while_a_job_waits_its_shapes_are_those_of_preferred_agents() -> None:
    jobs = [({"array": (0, 9), **R1}, Work(since=100.0))]
    specs = [("j", job(**fields), work) for fields, work in jobs]
    waiting, over = demand_shapes(specs, 104.9), demand_shapes(specs, 105.0)
    assert waiting.shapes is not None and over.shapes is not None
    assert [str(each.constraints[0]) for each in waiting.shapes] == ["rack==r1"] and waiting.due == 105.0
    assert [each.constraints for each in over.shapes] == [()] and over.due == float("inf")


def test_several_preferred_hosts_are_one_shape_and_several_attributes_several() -> None:
    hosts = ("hostname==h1", "hostname==h2.example", "rack==r1")
    fields = {"prefer": hosts, "locality_wait": 5.0, "constraints": ("ssd",)}
    found = demand_shapes([("j", job(**fields), Work(since=1.0))], 1.0).shapes
    assert found is not None
    assert sorted(" ".join(map(str, each.constraints)) for each in found) == [
        "ssd hostname~=h1|h2\\.example",
        "ssd rack==r1",
    ]
    pattern = next(each.constraints[1] for each in found if each.constraints[1].name == "hostname")
    assert pattern.matches({}, "h2.example", "a2") and not pattern.matches({}, "h2xexample", "a2")


def test_a_job_takes_no_other_offer_before_its_wait_is_over() -> None:
    elsewhere, there = offer("o1", attributes=ELSEWHERE), offer("o2", attributes=THERE)
    assert placed(of_job(100.0), 104.9, elsewhere) == {}
    assert placed(of_job(100.0), 104.9, elsewhere, there) == {"o2": 4}
    assert placed(of_job(100.0), 105.0, elsewhere) == {"o1": 4}


def test_a_clock_that_is_behind_does_not_make_a_wait_longer() -> None:
    assert Work(since=100.0).waits_until(job(**R1), 90.0) == 95.0


def test_a_job_that_was_served_where_it_prefers_waits_again() -> None:
    elsewhere, there = offer("o1", attributes=ELSEWHERE), offer("o2", attributes=THERE)
    candidate = of_job(100.0)
    assert placed(candidate, 200.0, elsewhere, there) == {"o2": 4}
    found = plan_claim([there], [candidate], all_seen=True, now=200.0, settle_after=10.0)
    (text,) = [each.value for each in found.plan.changes if each.key == "work"]
    assert Work.parse(str(text)).since == 200.0
    assert found.wanted is True, "the cells were told that any agent will do"
    found = plan_claim([there], [candidate], all_seen=True, now=101.0, settle_after=9.0)
    assert found.wanted is None, "they were told right"


def test_a_job_that_had_to_go_elsewhere_does_not_wait_again_for_each_task() -> None:
    found = plan_claim([offer(attributes=ELSEWHERE)], [of_job(100.0)], all_seen=True, now=200.0, settle_after=10.0)
    (text,) = [each.value for each in found.plan.changes if each.key == "work"]
    assert Work.parse(str(text)).since == 100.0


def test_without_a_wait_preferred_offers_only_go_first() -> None:
    candidate = of_job(None, locality_wait=0.0, array=(0, 5))
    elsewhere, there = offer("o1", attributes=ELSEWHERE), offer("o2", attributes=THERE)
    assert placed(candidate, 1.0, elsewhere, there) == {"o2": 4, "o1": 2}


def test_others_run_where_a_job_does_not_want_to() -> None:
    spec = job(array=(0, 9))
    candidates = [of_job(100.0), Candidate("k", spec, Work().text, 100)]
    found = plan_claim([offer(attributes=ELSEWHERE)], candidates, all_seen=True, now=101.0, settle_after=10.0)
    assert [each.name.job_id for each in found.launches["o1"]] == ["k"] * 4


async def test_a_task_that_comes_back_alone_waits_again() -> None:
    world = World()
    await world.store.submit("j", job(retries=1, **R1))
    [task] = await world.claim(offer(attributes=THERE))
    world.clock.now += 60
    await world.store.apply([status(task, TaskState.FAILED)])
    assert await world.claim(offer(attributes=ELSEWHERE)) == []
    world.clock.now += 5
    assert len(await world.claim(offer(attributes=ELSEWHERE))) == 1


async def test_tasks_that_ended_on_preferred_agents_are_counted() -> None:
    world = World()
    await world.store.submit("j", job(array=(0, 1), resources="cpus:4", **R1))
    [first] = await world.claim(offer("o1", attributes=THERE))
    world.clock.now += 60
    [second] = await world.claim(offer("o2", attributes=ELSEWHERE))
    await world.store.apply([status(each, TaskState.FINISHED) for each in (first, second)])
    assert (await world.store.summary("j")).local == 1
    await world.store.submit("k", job())
    assert (await world.store.summary("k")).local is None


async def test_a_task_that_ends_on_a_preferred_agent_again_after_a_retry_counts_once() -> None:
    world = World()
    await world.store.submit("j", job(array=(0, 1), **R1))
    for attempt, ends in ((1, TaskState.FAILED), (2, TaskState.FINISHED)):
        for task_id in await world.claim(offer(f"o{attempt}", attributes=THERE)):
            state = ends if task_id.startswith("j.0") else TaskState.FINISHED
            await world.store.apply([status(task_id, state, exit_code=int(state is TaskState.FAILED))])
        assert (await world.store.summary("j")).local == 2
        if attempt == 1:
            await world.store.retry("j")
            assert (await world.store.summary("j")).local == 1


class Ticking(StillClock):
    """A clock that goes on by itself, from a time of its own."""

    def time(self) -> float:
        return self.now + asyncio.get_running_loop().time()


async def test_a_wait_that_is_over_takes_a_version_by_itself() -> None:
    world = World(clock=Ticking())
    told = Told(world)
    demand = await world.store.submit("j", job(prefer=("rack==r1",), locality_wait=0.02))
    assert demand is not None
    told.demand_publisher.publish(demand)
    running = asyncio.create_task(told.demand_publisher.run())
    while not told.demands or (told.demands[-1].shapes or ())[0].constraints:
        said = await told.next()
    assert said.version > demand.version
    running.cancel()


async def test_that_nothing_is_wanted_is_not_told_when_more_work_comes_at_once() -> None:
    world = World()
    told = Told(world)
    running = asyncio.create_task(told.demand_publisher.run())
    told.demand_publisher.publish(Demand(version=5, wanted=False), linger=True)
    assert not told.demands
    demand = await world.store.submit("j", job())
    assert demand is not None
    told.demand_publisher.publish(demand.model_copy(update={"version": 6}))
    assert (await told.next()).version == 6
    told.demand_publisher.hurry()
    assert [each.version for each in told.demands] == [6]
    running.cancel()


async def test_that_nothing_is_wanted_is_told_before_something_is_given_back_and_in_the_end_anyway() -> None:
    told = Told(World())
    told.demand_publisher.publish(Demand(version=5, wanted=False), linger=True)
    told.demand_publisher.hurry()
    assert [each.version for each in told.demands] == [5]
    told.news.clear()
    told.demand_publisher.publish(Demand(version=6, wanted=False), linger=True)
    assert (await told.next()).version == 6
