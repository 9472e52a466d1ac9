"""Gangs on the framework's side: offers are put together until all tasks have a place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.framework_messages import Accept, Decline, Subscribe
from broker_mesos.sdk import Scheduler
from broker_mesos.sdk.gangs import GangAssembler, Placement, arrange
from broker_mesos.sdk.inbound import STALE_FILTER_SECONDS
from tests.sdk.cluster import Recorder, a_task
from tests.sdk.conftest import World


def an_offer(offer_id: str, agent_id: str, resources: str, *, cell: int = 0, term: int = 1) -> Offer:
    return Offer(
        offer_id=f"o{cell}-{term}-{offer_id}",
        framework_id="fw",
        agent_id=agent_id,
        hostname=agent_id,
        cell=cell,
        resources=Resources.parse(resources),
        gang="g",
    )


def shape(need: str, count: int = 1, **more) -> Shape:
    return Shape(resources=Resources.parse(need), count=count, gang="g", **more)


def tasks_of(placement: Placement) -> int:
    return sum(count for part in placement.parts for _, count in part.tasks)


def test_a_gang_is_complete_only_when_every_task_has_a_place():
    gathering = GangAssembler()
    shapes = [shape("cpus:2", 3)]
    gathering.add([an_offer("1", "a1", "cpus:4;mem:100")])
    assert gathering.take_complete(shapes) == []
    gathering.add([an_offer("1", "a2", "cpus:3;mem:100", cell=1)])
    (placement,) = gathering.take_complete(shapes)
    assert tasks_of(placement) == 3
    assert gathering.take_complete(shapes) == []


def test_offers_of_one_agent_are_used_together():
    offers = [an_offer("1", "a1", "cpus:1"), an_offer("2", "a1", "cpus:1")]
    placement = arrange("g", [shape("cpus:2")], offers)
    assert placement is not None and len(placement.parts[0].offers) == 2


def test_what_is_not_needed_is_in_excess():
    offers = [an_offer("1", "a1", "cpus:4"), an_offer("2", "a2", "cpus:4")]
    placement = arrange("g", [shape("cpus:2", 2)], offers)
    assert placement is not None and len(placement.parts) == len(placement.excess) == 1


def test_a_task_with_few_places_comes_before_a_larger_one():
    offers = [an_offer("1", "a1", "cpus:3"), an_offer("2", "a2", "cpus:4")]
    here = (Constraint.parse("hostname==a1"),)
    placement = arrange("g", [shape("cpus:3"), shape("cpus:1", constraints=here)], offers)
    assert placement is not None
    assert {part.offers[0].agent_id for part in placement.parts} == {"a1", "a2"}


def test_offers_that_have_ended_do_not_count():
    gathering = GangAssembler()
    gathering.add([an_offer("1", "a1", "cpus:2"), an_offer("2", "a2", "cpus:2", cell=1)])
    gathering.remove(["o0-1-1"])
    gathering.add([an_offer("3", "a3", "cpus:2", cell=1, term=2)])  # and so has o1-1-2, with its owner
    assert gathering.take_complete([shape("cpus:2", 2)]) == []
    gathering.add([an_offer("4", "a4", "cpus:2")])
    assert len(gathering.take_complete([shape("cpus:2", 2)])) == 1


def test_offers_for_a_gang_that_nobody_wants_are_given_back():
    gathering = GangAssembler()
    gathering.add([an_offer("1", "a1", "cpus:2")])
    assert gathering.take_unwanted([shape("cpus:2")]) == []
    assert len(gathering.take_unwanted([shape("cpus:2", 0)])) == 1
    assert gathering.take_unwanted([]) == []


@given(
    agents=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    needs=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3),
)
def test_a_placement_holds_all_tasks_and_overfills_no_agent(agents, needs):
    offers = [an_offer(f"{n}", f"a{n}", f"cpus:{cpus}") for n, cpus in enumerate(agents)]
    shapes = [shape(f"cpus:{cpus}", count) for cpus, count in dict(needs).items()]
    placement = arrange("g", shapes, offers)
    if placement is None:
        return
    assert tasks_of(placement) == sum(each.count for each in shapes)
    for part in placement.parts:
        room = sum(offer.resources.get("cpus") for offer in part.offers)
        assert sum(each.resources.get("cpus") * count for each, count in part.tasks) <= room


class Gangs(Recorder):
    """Launches a gang that is complete."""

    def gang_offers(self, driver, gang, placement):
        for n, part in enumerate(placement.parts):
            tasks = [a_task(f"t{n}-{m}") for m in range(part.tasks[0][1])]
            driver.accept(part.offers, tasks)
        driver.want([])
        return self._record("gang_offers", driver, gang)


async def test_a_driver_tells_of_a_gang_once_it_is_complete_and_declines_the_rest(world: World):
    scheduler = Gangs()
    driver = await world.driver(scheduler)
    await scheduler.got("registered")
    driver.want([shape("cpus:1;mem:64", 6)])
    await world.master.seen.until(
        lambda: world.master.beats and world.master.beats[-1].demand.shapes == (shape("cpus:1;mem:64", 6),)
    )
    await world.master.offer("fw", an_offer("1", "a1", "cpus:4;mem:4096"))
    await world.master.offer("fw", an_offer("2", "a2", "cpus:4;mem:4096", cell=1))
    await scheduler.got("gang_offers")
    calls = await world.master.got(Accept, 2)
    assert sum(len(call.tasks) for _, call in calls) == 6
    assert scheduler.named("resource_offers") == []
    await world.master.offer("fw", an_offer("3", "a3", "cpus:4;mem:4096"))
    ((_, late),) = await world.master.got(Decline)
    assert late.offer_ids == ("o0-1-3",)


async def test_an_offer_made_before_only_a_gang_was_wanted_is_declined_by_the_driver(world: World):
    scheduler = Gangs()
    driver = await world.driver(scheduler)
    await scheduler.got("registered")
    driver.want([shape("cpus:1;mem:64", 4)])
    await world.master.offer("fw", an_offer("1", "a1", "cpus:4;mem:4096").model_copy(update={"gang": ""}))
    ((_, stale),) = await world.master.got(Decline)
    assert stale.offer_ids == ("o0-1-1",) and stale.refuse_seconds == STALE_FILTER_SECONDS
    await world.master.offer("fw", an_offer("2", "a1", "cpus:4;mem:4096"))
    await scheduler.got("gang_offers")
    assert scheduler.named("resource_offers") == []


async def test_a_scheduler_without_resource_offers_declines_them(world: World):
    await world.driver(Scheduler())
    await world.master.got(Subscribe)
    await world.master.offer("fw", an_offer("1", "a1", "cpus:4;mem:4096").model_copy(update={"gang": ""}))
    ((_, declined),) = await world.master.got(Decline)
    assert declined.offer_ids == ("o0-1-1",) and declined.refuse_seconds is None


def test_tasks_of_a_gang_with_ports_get_no_more_than_an_offer_has_of_them():
    offers = [an_offer("1", "a1", "cpus:4;ports:[1-3]"), an_offer("2", "a2", "cpus:4;ports:[1-2]")]
    placement = arrange("g", [shape("cpus:1", 2, ports=2)], offers)
    assert placement is not None and len(placement.parts) == 2
    assert arrange("g", [shape("cpus:1", 3, ports=2)], offers) is None


def test_tasks_of_a_gang_do_not_stand_together_beyond_their_limit():
    offers = [an_offer("1", "a1", "cpus:4"), an_offer("2", "a1", "cpus:1", cell=0), an_offer("1", "a2", "cpus:4")]
    placement = arrange("g", [shape("cpus:1", 3, most=2)], offers)
    assert placement is not None and sorted(count for part in placement.parts for _, count in part.tasks) == [1, 2]
    assert arrange("g", [shape("cpus:1", 5, most=2)], offers) is None
    assert arrange("g", [shape("cpus:1", 3, most=2, placed={"a1": 2})], offers) is None
    assert arrange("g", [shape("cpus:1", 1, most=2, per="rack")], offers) is None
    only = shape("cpus:1", 2, constraints=(Constraint.parse("agent==a2"),))
    placement = arrange("g", [only], offers)
    assert placement is not None and [part.offers[0].agent_id for part in placement.parts] == ["a2"]
