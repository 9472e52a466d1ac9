"""Gangs of the batch framework: all tasks of an array are claimed at once, or none."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from broker_mesos.core.model.offer import Offer
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.batch.planning.claims import plan_claim, task_info
from broker_mesos.frameworks.batch.planning.shapes import demand_shapes
from broker_mesos.frameworks.batch.storage.records import GANG_OFFERS, Slot, Work
from tests.batch.test_planning import candidate, claimed
from tests.batch.world import TRUE, World, job, offer


def gang_offer(n: int, resources: str = "cpus:2;mem:100", *, cell: int = 0, term: int = 1, **more) -> Offer:
    fields = {"agent_id": f"a{n}", "cell": cell, "gang": "g", "until": 1_000_030.0, **more}
    return offer(f"o{cell}-{term}-{n}", resources, **fields)


def plan(offers: list[Offer], *candidates, all_seen: bool = True):
    return plan_claim(offers, candidates, all_seen=all_seen, now=1.0, settle_after=10.0)


def test_a_gang_is_an_array_of_bounded_size() -> None:
    with pytest.raises(ValidationError, match="give --array"):
        job(gang=True)
    with pytest.raises(ValidationError, match="at most 1000"):
        job(gang=True, array=(1, 1001))


def test_a_gang_is_claimed_whole_or_not_at_all() -> None:
    gang = candidate("g", array=(0, 4), gang=True)
    assert claimed(plan([offer()], gang)) == {}
    found = plan([offer(), offer("o2", "cpus:1;mem:10")], gang)
    assert [len(each) for each in claimed(found).values()] == [4, 1]
    assert found.wanted is False


def test_what_a_gang_leaves_goes_to_the_next_job() -> None:
    found = plan([offer()], candidate("g", array=(0, 4), gang=True), candidate("j", array=(0, 9)))
    assert claimed(found) == {"o1": [f"j.{index}.1" for index in range(4)]}
    assert found.gangs == {"g"}


def test_an_offer_for_a_gang_is_used_for_nothing_else() -> None:
    jobs = candidate("j"), candidate("h", array=(0, 1), gang=True), candidate("g", array=(0, 1), gang=True)
    assert claimed(plan([gang_offer(1)], *jobs)) == {"o0-1-1": ["g.0.1", "g.1.1"]}


def test_a_claim_of_a_gang_states_demand_anew() -> None:
    found = plan([gang_offer(1)], candidate("g", array=(0, 1), gang=True), candidate("j", array=(0, 99)))
    assert found.wanted is True


def test_what_comes_back_of_a_gang_is_claimed_alone() -> None:
    work = Work(cursor=5).give_back([Slot(2, 2, 2)])
    found = plan([offer()], candidate("g", work, array=(0, 4), gang=True, retries=3))
    assert claimed(found) == {"o1": ["g.2.2"]}


def test_demand_names_the_gang() -> None:
    jobs = [("g", job(array=(1, 3), gang=True), Work()), ("h", job(array=(1, 2), gang=True), Work())]
    shapes = demand_shapes([*jobs, ("j", job(), Work())], 1.0).shapes
    assert [(each.gang, each.count) for each in shapes] == [("g", 3), ("h", 2), ("", 1)]


def test_tasks_learn_the_size_of_their_gang() -> None:
    found = plan([gang_offer(1)], candidate("g", array=(1, 2), gang=True))
    environment = task_info(found.launches["o0-1-1"][1]).command.environment
    assert (environment["BMESOS_GANG_SIZE"], environment["BMESOS_ARRAY_INDEX"]) == ("2", "2")


# -- several cells: offers are kept until they suffice


async def gang_of_four(workers: int = 1) -> World:
    world = World(workers)
    await world.store.submit("g", job(array=(1, 4), gang=True))
    return world


async def test_offers_are_kept_until_the_gang_is_complete() -> None:
    world = await gang_of_four()
    first = await world.store.claim([gang_offer(1)])
    assert (first.launches, set(first.kept)) == ({}, {"o0-1-1"})
    second = await world.store.claim([gang_offer(2, cell=1)])
    assert {len(each) for each in second.launches.values()} == {2} and len(second.launches) == 2
    assert [each.offer_id for each in second.gang_offers] == ["o0-1-1"] and not second.kept
    assert await world.records.size(GANG_OFFERS) == 0


async def test_of_workers_that_each_get_a_part_one_claims_the_whole_gang() -> None:
    for _ in range(10):
        world = await gang_of_four(workers=4)
        found = await asyncio.gather(
            *(store.claim([gang_offer(n, "cpus:1;mem:100")]) for n, store in enumerate(world.stores))
        )
        assert sorted(len(each.launches) for each in found) == [0, 0, 0, 4]


async def test_offers_that_have_ended_complete_no_gang() -> None:
    world = await gang_of_four()
    await world.store.claim([gang_offer(1)])
    await world.store.rescinded("o0-1-1")
    assert not (await world.store.claim([gang_offer(2)])).launches
    await world.store.rescinded("o0-1-1")
    world.clock.now += 31
    late = gang_offer(3, until=world.clock.now + 30)
    assert not (await world.store.claim([late])).launches
    assert await world.records.size(GANG_OFFERS) == 1
    new_owner = gang_offer(4, term=2, until=world.clock.now + 30)
    assert not (await world.store.claim([new_owner])).launches
    assert await world.records.size(GANG_OFFERS) == 1


async def test_a_gang_that_was_killed_keeps_no_offers() -> None:
    world = await gang_of_four()
    await world.store.submit("j", job(array=(1, 9)))
    await world.store.claim([gang_offer(1)])
    await world.store.kill("g")
    found = await world.store.claim([gang_offer(2)])
    assert not found.launches and not found.kept
    assert [each.offer_id for each in found.gang_offers] == ["o0-1-1"]
    assert await world.records.size(GANG_OFFERS) == 0


async def test_a_gang_too_large_for_one_step_is_refused() -> None:
    command = TRUE.model_copy(update={"arguments": ("true", "x" * 10_000)})
    with pytest.raises(InvalidInput, match="57 fit"):
        await World().store.submit("g", job(array=(1, 100), gang=True, command=command))
