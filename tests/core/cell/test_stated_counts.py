"""What a stated demand counts as met. Too little is harmless; too much would starve what waits."""

from __future__ import annotations

from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat
from tests.core.cell.harness import Bench, offers_in, task

ONE, TWO = "cpus:1;mem:100", "cpus:2;mem:100"


def demand(version: int, *shapes: tuple[str, int, str]) -> Demand:
    return Demand(
        version=version,
        shapes=tuple(
            Shape(resources=Resources.parse(text), count=count, constraints=(where,) if where else ())
            for text, count, where in shapes
        ),
    )


def state_demand(bench: Bench, wanted: Demand):
    info = FrameworkInfo(framework_id="f1")
    return bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=wanted))


def test_tasks_chosen_before_a_demand_was_stated_are_not_taken_off_it() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:1;mem:1000")
    [offer] = offers_in(bench.framework("f1", demand(1, (ONE, 2, ""))))
    # The framework has chosen the first of its two tasks for that offer, so it states one; its accept, on
    # another queue, comes later than that.
    assert offers_in(state_demand(bench, demand(2, (ONE, 1, "")))) == []
    bench.accept(offer, task("t1", ONE))
    assert [str(each.resources) for each in offers_in(bench.agent("a2", "cpus:4;mem:1000"))] == [ONE]


def test_what_was_given_for_an_older_demand_is_met_again_when_it_is_declined() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:1;mem:1000")
    [offer] = offers_in(bench.framework("f1", demand(1, (ONE, 1, ""))))
    state_demand(bench, demand(2, (ONE, 1, "")))
    said = bench.accept(offer, refuse=0.0)
    assert len(offers_in(said) + offers_in(bench.wait(2))) >= 1


def test_a_demand_is_met_by_tasks_on_the_offers_made_for_it() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:1;mem:1000")
    [offer] = offers_in(bench.framework("f1", demand(1, (ONE, 1, ""))))
    bench.accept(offer, task("t1", ONE))
    assert offers_in(bench.agent("a2", "cpus:4;mem:1000")) == []


def test_an_offer_that_was_used_for_another_shape_has_not_met_its_own() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:2;mem:1000")
    wanted = demand(1, (TWO, 1, ""), (ONE, 1, "hostname==nowhere"))
    [offer] = offers_in(bench.framework("f1", wanted))
    bench.accept(offer, task("t1", ONE))
    assert [str(each.resources) for each in offers_in(bench.agent("a2", "cpus:4;mem:1000"))] == [TWO]


def test_tasks_that_are_smaller_than_stated_meet_the_demand() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:2;mem:1000")
    [offer] = offers_in(bench.framework("f1", demand(1, (TWO, 1, ""))))
    bench.accept(offer, task("t1", "cpus:1;mem:50"))
    assert offers_in(bench.agent("a2", "cpus:4;mem:1000")) == []
