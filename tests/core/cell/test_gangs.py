"""Gangs within one cell: all at once or nothing."""

from __future__ import annotations

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import UnregisterAgent
from broker_mesos.core.protocol.events import Offers, Rescind
from broker_mesos.core.protocol.framework_messages import Decline
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from tests.core.cell.harness import Bench, of, offers_in, task


def gang(name: str, *shapes: tuple[str, int], version: int = 1, **more) -> Demand:
    return Demand(
        version=version,
        shapes=tuple(Shape(resources=Resources.parse(need), count=count, gang=name, **more) for need, count in shapes),
    )


def tasks_in(said) -> int:
    """How many one-cpu tasks the offers hold."""
    return sum(offer.resources.get("cpus") for offer in offers_in(said)) // 1000


def test_a_gang_that_fits_whole_is_offered_in_one_message():
    bench = Bench()
    for n in range(3):
        bench.agent(f"a{n}", "cpus:4;mem:4096")
    said = bench.framework("f1", gang("g", ("cpus:2;mem:100", 5)))
    assert len(of(said, Offers)) == 1
    assert {offer.gang for offer in offers_in(said)} == {"g"}
    assert sum(offer.resources.get("cpus") for offer in offers_in(said)) == 10_000
    assert offers_in(bench.wait(2)) == []


def test_nothing_of_a_gang_is_offered_while_a_part_of_it_does_not_fit():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    bench.framework("f1", gang("g", ("cpus:2;mem:100", 3)))
    assert offers_in(bench.wait(3)) == []
    said = bench.agent("a2", "cpus:2;mem:4096")
    assert sum(offer.resources.get("cpus") for offer in offers_in(said)) == 6_000


def test_room_that_a_gang_cannot_use_goes_to_others():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    bench.framework("f1", gang("g", ("cpus:2;mem:100", 3)))
    said = bench.framework("f2")
    assert [offer.framework_id for offer in offers_in(said)] == ["f2"]


def test_a_gang_gets_room_that_became_free_at_different_times():
    bench = Bench()
    bench.agent("a1", "cpus:1;mem:4096")
    bench.agent("a2", "cpus:1;mem:4096")
    running = Shape(resources=Resources.parse("cpus:1;mem:10"), count=2)
    for offer in offers_in(bench.framework("f1", Demand(version=1, shapes=(running,)))):
        bench.accept(offer, task(f"on-{offer.agent_id}", "cpus:1;mem:10"))
    bench.framework("f2", gang("g", ("cpus:1;mem:100", 2)))
    assert offers_in(bench.report("a1", "on-a1", TaskState.FINISHED)) == []
    assert offers_in(bench.wait(3)) == []
    said = bench.report("a2", "on-a2", TaskState.FINISHED)
    assert sorted(offer.agent_id for offer in offers_in(said)) == ["a1", "a2"]


def test_the_shapes_of_a_gang_come_together():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:1000")
    demand = gang("g", ("cpus:1;mem:100", 2), ("cpus:3;mem:500", 1))
    bench.framework("f1", demand)
    assert offers_in(bench.wait(2)) == []
    said = bench.agent("a2", "cpus:1;mem:1000")
    assert sum(offer.resources.get("cpus") for offer in offers_in(said)) == 5_000


def test_a_small_member_with_few_places_does_not_lose_them_to_a_large_one_without_preference():
    bench = Bench()
    bench.agent("a1", "cpus:3;mem:1000")
    bench.agent("a2", "cpus:4;mem:1000")
    shapes = (
        Shape(resources=Resources.parse("cpus:3;mem:10"), gang="g"),
        Shape(
            resources=Resources.parse("cpus:1;mem:10"),
            gang="g",
            constraints=(Constraint.parse("hostname==a1"),),
        ),
    )
    said = bench.framework("f1", Demand(version=1, shapes=shapes))
    assert {offer.agent_id: offer.resources.get("cpus") for offer in offers_in(said)} == {
        "a1": 1_000,
        "a2": 3_000,
    }


def test_a_limit_that_a_gang_would_exceed_keeps_all_of_it_back():
    config = ClusterConfig(version=1, roles={"*": RoleSettings(limit={"cpus": 3_000})})
    bench = Bench(config=config)
    bench.agent("a1", "cpus:8;mem:4096")
    assert offers_in(bench.framework("f1", gang("g", ("cpus:1;mem:100", 4)))) == []
    assert tasks_in(bench.framework("f2", gang("g", ("cpus:1;mem:100", 3)))) == 3


def test_the_offers_of_a_gang_end_together():
    bench = Bench()
    for n in range(2):
        bench.agent(f"a{n}", "cpus:2;mem:4096")
    bench.framework("f1", gang("g", ("cpus:2;mem:100", 2)))
    said = bench.decide(UnregisterAgent(agent_id="a0", session=bench.session("a0")))
    assert len(of(said, Rescind)[0].offer_ids) == 2
    assert not bench.state.offers


def test_the_rest_of_a_gang_that_has_begun_stays_offered_when_an_agent_leaves():
    bench = Bench()
    for n in range(3):
        bench.agent(f"a{n}", "cpus:2;mem:4096")
    first, second, third = offers_in(bench.framework("f1", gang("g", ("cpus:2;mem:100", 3))))
    bench.accept(first, task("t1", "cpus:2;mem:100"))
    agent = second.agent_id
    said = bench.decide(UnregisterAgent(agent_id=agent, session=bench.session(agent)))
    assert of(said, Rescind)[0].offer_ids == (second.offer_id,)
    bench.accept(third, task("t3", "cpus:2;mem:100"))
    assert {each.state for each in bench.state.tasks.values()} == {TaskState.STAGING}


def test_a_gang_that_has_begun_is_offered_again_only_once_its_framework_says_what_is_missing():
    bench = Bench()
    for n in range(2):
        bench.agent(f"a{n}", "cpus:2;mem:4096")
    first, second = offers_in(bench.framework("f1", gang("g", ("cpus:2;mem:100", 2))))
    bench.accept(first, task("t1", "cpus:2;mem:100"))
    said = bench.decide(Decline(framework_id="f1", offer_ids=(second.offer_id,), refuse_seconds=0))
    assert offers_in(said + bench.wait(3)) == []
    said = bench.framework("f1", gang("g", ("cpus:2;mem:100", 1), version=2))
    assert [offer.agent_id for offer in offers_in(said)] == [second.agent_id]


def test_a_framework_that_let_offers_lie_is_still_sent_a_gang_whole():
    bench = Bench()
    for n in range(2):
        bench.agent(f"a{n}", "cpus:2;mem:4096")
    bench.framework("f1", gang("g", ("cpus:2;mem:100", 2)))
    said = bench.wait(bench.limits.offer_timeout + bench.limits.refuse + 2)
    assert bench.state.frameworks["f1"].unanswered_rounds == 1
    assert len(offers_in(said)) == 2


def test_gang_that_passes_all_bounds_is_not_offered_anything_and_harms_nothing():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    huge = Shape(resources=Resources.parse("mem:1000000000"), count=10_000_000, gang="g")
    said = bench.framework("f1", demand=Demand(version=1, shapes=(huge,)))
    assert offers_in(said) == [] and offers_in(bench.wait(3.0)) == []
