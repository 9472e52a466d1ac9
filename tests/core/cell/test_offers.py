"""Offers: each ends once, and what it promised is accounted to the unit."""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.inputs import ConsumersCounted, OffersReturned
from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks
from broker_mesos.core.protocol.events import Rescind
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Acceptance,
    Accepts,
    Decline,
    FrameworkHeartbeat,
    Revive,
    Settle,
    Suppress,
)
from broker_mesos.core.protocol.limits import Instant, Limits
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in


@pytest.fixture
def bench() -> Bench:
    """One agent, one framework, one open offer."""
    bench = Bench()
    bench.framework("f1")
    bench.agent("a1", "cpus:4;mem:4096;ports:[31000-31009]")
    return bench


def open_offer(bench: Bench):
    (offer,) = bench.state.offers.values()
    return offer


def accept(bench: Bench, *tasks, refuse=None, offer_ids=None):
    ids = offer_ids or tuple(bench.state.offers)
    return bench.decide(Accept(framework_id="f1", offer_ids=ids, tasks=tasks, refuse_seconds=refuse))


def test_everything_free_is_offered_to_the_only_framework(bench):
    assert str(open_offer(bench).resources) == "cpus:4;mem:4096;ports:[31000-31009]"
    assert not bench.state.agents["a1"].free


def test_unused_part_of_an_accept_is_hidden_from_its_framework_for_the_refusal_time(bench):
    assert offers_in(accept(bench, task("t1", "cpus:1;mem:1024"))) == []
    (offer,) = offers_in(bench.wait(6.1))
    assert str(offer.resources) == "cpus:3;mem:3072;ports:[31000-31009]"


def test_accept_without_a_filter_gets_the_rest_at_once(bench):
    (offer,) = offers_in(accept(bench, task("t1", "cpus:1;mem:1024"), refuse=0))
    assert str(offer.resources) == "cpus:3;mem:3072;ports:[31000-31009]"


def test_ports_go_to_the_task_and_come_back(bench):
    accept(bench, task("t1", "cpus:1;mem:10;ports:[31002-31003]"))
    assert str(bench.state.agents["a1"].free) == "cpus:3;mem:4086;ports:[31000-31001,31004-31009]"
    bench.report("a1", "t1", TaskState.FINISHED)
    assert bench.state.agents["a1"].used == Resources()


def test_task_that_wants_more_than_is_left_of_the_offer_is_an_error_and_its_neighbours_launch(bench):
    said = accept(bench, task("t1", "cpus:3;mem:10"), task("t2", "cpus:2;mem:10"), task("t3", "cpus:1;mem:10"))
    (status,) = updates_in(said)
    assert (status.task_id, status.state, status.reason) == ("t2", TaskState.ERROR, Reason.TASK_INVALID)
    assert "cpus:2" in status.message and "cpus:1" in status.message
    (launch,) = of(said, LaunchTasks)
    assert [each.task.task_id for each in launch.launches] == ["t1", "t3"]


def test_task_id_that_lives_is_refused_with_a_reason_of_its_own_and_the_task_lives_on(bench):
    accept(bench, task("t1", "cpus:1;mem:10"), refuse=0)
    bench.report("a1", "t1", TaskState.RUNNING)
    (status,) = updates_in(accept(bench, task("t1", "cpus:1;mem:10")))
    assert (status.state, status.reason) == (TaskState.ERROR, Reason.TASK_ID_IN_USE)
    assert bench.state.tasks["t1"].state is TaskState.RUNNING


def test_repeated_accept_is_silent_about_the_tasks_it_launched(bench):
    ids = tuple(bench.state.offers)
    accept(bench, task("t1", "cpus:1;mem:10"), offer_ids=ids)
    assert accept(bench, task("t1", "cpus:1;mem:10"), offer_ids=ids) == []
    assert list(bench.state.tasks) == ["t1"]


def test_repeated_accept_is_silent_even_after_its_task_was_forgotten(bench):
    from broker_mesos.core.protocol.framework_messages import Acknowledge

    ids = tuple(bench.state.offers)
    accept(bench, task("t1", "cpus:1;mem:10"), offer_ids=ids)
    bench.report("a1", "t1", TaskState.FINISHED)
    bench.decide(Acknowledge(framework_id="f1", task_ids=("t1",)))
    assert not bench.state.tasks
    assert updates_in(accept(bench, task("t1", "cpus:1;mem:10"), offer_ids=ids)) == []


def test_accept_of_an_ended_offer_drops_its_tasks(bench):
    ids = tuple(bench.state.offers)
    bench.decide(Decline(framework_id="f1", offer_ids=ids))
    (status,) = updates_in(accept(bench, task("t1", "cpus:1;mem:10"), offer_ids=ids))
    assert (status.state, status.reason) == (TaskState.DROPPED, Reason.INVALID_OFFERS)


def test_offers_of_an_earlier_term_have_ended(bench):
    ids = tuple(bench.state.offers)
    bench.take_over(term=8)
    (status,) = updates_in(accept(bench, task("t1", "cpus:1;mem:10"), offer_ids=ids))
    assert status.state is TaskState.DROPPED


def test_nobody_else_can_accept_an_offer(bench):
    bench.framework("f2")
    ids = tuple(bench.state.offers)
    said = bench.decide(Accept(framework_id="f2", offer_ids=ids, tasks=(task("t1", "cpus:1;mem:1"),)))
    assert [each.state for each in updates_in(said)] == [TaskState.DROPPED]
    assert tuple(bench.state.offers) == ids


def test_accept_of_offers_of_two_agents_drops_its_tasks_and_frees_both(bench):
    bench.agent("a2", "cpus:2;mem:10")
    said = accept(bench, task("t1", "cpus:1;mem:10"))
    assert [each.state for each in updates_in(said)] == [TaskState.DROPPED]
    assert not bench.state.tasks


def test_two_offers_of_one_agent_are_used_together(bench):
    accept(bench, task("t1", "cpus:3;mem:10"), refuse=0)
    bench.report("a1", "t1", TaskState.FINISHED)
    assert len(bench.state.offers) == 2
    accept(bench, task("t2", "cpus:4;mem:10"))
    assert str(bench.state.agents["a1"].used) == "cpus:4;mem:10"


def test_declined_resources_are_offered_to_the_next_framework(bench):
    said = bench.framework("f2")
    assert offers_in(said) == []
    said = bench.decide(Decline(framework_id="f1", offer_ids=tuple(bench.state.offers)))
    (offer,) = offers_in(said)
    assert offer.framework_id == "f2"


@pytest.mark.parametrize(("refuse", "hidden"), [(None, 5), (20, 20), (-3, 5), (0.1, 1), (1e12, 1000)])
def test_decline_hides_the_like_for_its_refusal_time(bench, refuse, hidden):
    ids = tuple(bench.state.offers)
    bench.decide(Decline(framework_id="f1", offer_ids=ids, refuse_seconds=refuse))
    assert offers_in(bench.wait(hidden - 0.1)) == []
    if hidden < 1000:
        assert len(offers_in(bench.wait(1.3))) == 1


def test_filter_does_not_hide_an_offer_that_has_more(bench):
    accept(bench, task("t1", "cpus:2;mem:10"))
    (offer,) = offers_in(bench.report("a1", "t1", TaskState.FINISHED))
    assert str(offer.resources) == "cpus:4;mem:4096;ports:[31000-31009]"


def test_revive_clears_filters_and_suppress_stops_offers(bench):
    ids = tuple(bench.state.offers)
    bench.decide(Decline(framework_id="f1", offer_ids=ids, refuse_seconds=1000))
    said = bench.decide(Revive(framework_id="f1", demand=Demand(version=5)))
    assert len(offers_in(said)) == 1
    bench.decide(Suppress(framework_id="f1", demand=Demand(version=6, wanted=False)))
    bench.decide(Decline(framework_id="f1", offer_ids=tuple(bench.state.offers), refuse_seconds=0))
    assert offers_in(bench.wait(3)) == []


def test_demand_of_a_lower_version_is_ignored(bench):
    bench.decide(Suppress(framework_id="f1", demand=Demand(version=6, wanted=False)))
    bench.decide(Revive(framework_id="f1", demand=Demand(version=5)))
    assert not bench.state.frameworks["f1"].wants


def beat(bench: Bench, ident: str = "f1"):
    info = FrameworkInfo(framework_id=ident)
    return bench.decide(FrameworkHeartbeat(framework_id=ident, framework=info))


def test_offer_is_rescinded_at_its_timeout_and_goes_to_somebody_else(bench):
    bench.framework("f2")
    said = []
    for _ in range(11):
        said += bench.wait(1)
        beat(bench)
        beat(bench, "f2")
    (rescind,) = of(said, Rescind)
    assert rescind.offer_ids
    assert [each.framework_id for each in offers_in(said)] == ["f2"]


def test_offer_outlives_its_timeout_while_the_owner_is_behind_but_not_for_ever():
    bench = Bench(limits=Limits(offer_timeout=10.0, framework_missed=1_000, agent_missed=1_000))
    bench.framework("f1")
    bench.agent("a1", "cpus:4;mem:4096")
    (offer,) = bench.state.offers

    def at(seconds):
        return Instant(bench.now.wall + seconds, bench.now.mono + seconds)

    bench.cell.decide([], at(12), behind=True)
    assert offer in bench.state.offers
    bench.cell.decide([], at(61), behind=True)
    assert offer not in bench.state.offers


def test_unanswered_offer_makes_the_cell_count_the_consumers(bench):
    bench.wait(0.35)
    assert [each for decision in bench.decisions for each in decision.count_consumers] == ["f1"]


@pytest.mark.parametrize("count", [0, None])
def test_offers_come_back_from_a_framework_without_consumers_until_it_is_heard_of(bench, count):
    bench.framework("f2")
    (offer,) = offers_in(bench.decide(ConsumersCounted("f1", count)))
    assert offer.framework_id == "f2"
    assert not bench.state.frameworks["f1"].wants
    beat(bench)
    assert bench.state.frameworks["f1"].wants


def test_offers_that_the_broker_returned_come_back(bench):
    bench.decide(OffersReturned("f1"))
    assert not bench.state.offers


def test_settle_of_a_claim_that_was_never_launched_drops_it_and_ends_the_offer(bench):
    (offer_id,) = bench.state.offers
    (status,) = updates_in(bench.decide(Settle(framework_id="f1", claims=(("t1", offer_id),))))
    assert status.state is TaskState.DROPPED
    (status,) = updates_in(accept(bench, task("t1", "cpus:1;mem:1"), offer_ids=(offer_id,)))
    assert status.state is TaskState.DROPPED


def test_settle_of_a_launched_claim_answers_its_state(bench):
    (offer_id,) = bench.state.offers
    accept(bench, task("t1", "cpus:1;mem:10"))
    (status,) = updates_in(bench.decide(Settle(framework_id="f1", claims=(("t1", offer_id),))))
    assert status.state is TaskState.STAGING


def test_crumbs_are_not_offered():
    bench = Bench()
    bench.framework("f1")
    assert offers_in(bench.agent("a1", "cpus:0.005;mem:31")) == []
    assert len(offers_in(bench.agent("a2", "cpus:0.005;mem:32"))) == 1


def test_weights_divide_between_roles():
    bench = Bench(weights={"big": 3.0})
    bench.framework("fb", roles=("big",))
    bench.framework("fs", roles=("small",))
    for number in range(8):
        bench.agent(f"a{number}", "cpus:1;mem:100")
    count = [each.framework.ident for each in bench.state.offers.values()]
    assert (count.count("fb"), count.count("fs")) == (6, 2)


# -- a place that is kept ready


def spare_demand(version: int = 5) -> Demand:
    return Demand(version=version, spare=True, shapes=(Shape(resources=Resources.parse("cpus:1;mem:10")),))


def accept_and_keep(bench: Bench, version: int = 5):
    """Use the open offer for a task, and want one more place."""
    ids = tuple(bench.state.offers)
    call = Accept(
        framework_id="f1",
        offer_ids=ids,
        tasks=(task(f"t{version}", "cpus:1;mem:10"),),
        refuse_seconds=0,
        demand=spare_demand(version),
    )
    return bench.decide(call)


def test_an_accept_may_ask_for_one_more_place_and_gets_no_more_than_that(bench):
    said = accept_and_keep(bench)
    (offer,) = offers_in(said)
    assert offer.spare and str(offer.resources) == "cpus:1;mem:10"
    assert of(said, LaunchTasks)
    assert offers_in(bench.wait(3.0)) == []
    said = accept_and_keep(bench, 6)
    (offer,) = offers_in(said)
    assert offer.spare and list(bench.state.offers) == [offer.offer_id]


def test_a_place_is_kept_although_that_nothing_is_wanted_overtakes_the_accept_that_asks_for_it(bench):
    info = bench.state.frameworks["f1"].info
    over = Demand(version=5, wanted=False)
    bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=over))
    (offer,) = offers_in(accept_and_keep(bench, 5))
    assert offer.spare
    bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=over))
    assert list(bench.state.offers) == [offer.offer_id]


def test_a_place_that_is_not_used_is_not_offered_again(bench):
    (offer,) = offers_in(accept_and_keep(bench))
    bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=0))
    assert offers_in(bench.wait(3.0)) == [] and not bench.state.wanting


def test_a_place_that_nobody_answers_ends_like_any_offer(bench):
    accept_and_keep(bench)
    bench.wait(12.0)
    assert not bench.state.offers and not bench.state.wanting and not bench.state.spare


def test_whoever_wants_something_gets_the_place_that_was_kept(bench):
    (offer,) = offers_in(accept_and_keep(bench))
    said = bench.framework("f2")
    (rescind,) = of(said, Rescind)
    assert rescind.offer_ids == (offer.offer_id,)
    assert {each.framework_id for each in offers_in(said)} == {"f2"}
    assert updates_in(accept(bench, task("late", "cpus:1;mem:10"), offer_ids=(offer.offer_id,)))[0].state is (
        TaskState.DROPPED
    )


def test_no_place_is_kept_while_somebody_else_wants_something(bench):
    bench.framework("f2")
    assert {each.framework_id for each in offers_in(accept_and_keep(bench))} == {"f2"}
    assert not bench.state.spare


def test_what_a_framework_wants_comes_before_what_it_may_want(bench):
    (kept,) = offers_in(accept_and_keep(bench))
    demand = Demand(version=6, shapes=(Shape(resources=Resources.parse("cpus:3;mem:10")),))
    info = bench.state.frameworks["f1"].info
    said = bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=demand))
    assert [each.offer_ids for each in of(said, Rescind)] == [(kept.offer_id,)]
    (offer,) = offers_in(said)
    assert not offer.spare and str(offer.resources) == "cpus:3;mem:10"


def test_a_place_outlives_that_nothing_else_is_wanted_and_still_makes_way(bench):
    (kept,) = offers_in(accept_and_keep(bench))
    info = bench.state.frameworks["f1"].info
    over = Demand(version=6, wanted=False)
    assert of(bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=over)), Rescind) == []
    assert [each.offer_ids for each in of(bench.framework("f2"), Rescind)] == [(kept.offer_id,)]


def test_several_accepts_in_one_message_are_worked_off_each_by_itself(bench):
    bench.agent("a2", "cpus:4;mem:4096")
    first, second = bench.state.offers
    calls = [
        Acceptance(offer_ids=(offer_id,), tasks=(task(name, "cpus:1"),))
        for offer_id, name in ((first, "t1"), ("gone", "t2"), (second, "t3"))
    ]
    said = bench.decide(Accepts(framework_id="f1", accepts=tuple(calls)))
    assert [each.launches[0].task.task_id for each in of(said, LaunchTasks)] == ["t1", "t3"]
    [status] = updates_in(said)
    assert (status.task_id, status.state) == ("t2", TaskState.DROPPED)
    again = bench.decide(Accepts(framework_id="f1", accepts=tuple(calls)))
    assert of(again, LaunchTasks) == []
    assert [each.task_id for each in updates_in(again)] == ["t2"]


def test_accepts_acknowledge_and_say_what_is_wanted_from_here_on(bench):
    accept(bench, task("t1", "cpus:1"))
    bench.report("a1", "t1", TaskState.FINISHED)
    call = Accepts(framework_id="f1", accepts=(), acknowledged=("t1",), demand=Demand(version=5, wanted=False))
    bench.decide(call)
    assert not bench.state.tasks
    assert bench.state.frameworks["f1"].demand == Demand(version=5, wanted=False)


def test_an_unanswered_offer_of_a_large_cell_is_looked_after_later():
    """There, an answer waits with much else before it is heard."""
    large = Bench(limits=Limits(round_agents=1))
    large.framework("f1")
    large.agent("a1", "cpus:4;mem:4096")
    large.wait(0.9)
    assert not any(each.count_consumers for each in large.decisions)
    large.wait(0.4)
    assert any(each.count_consumers for each in large.decisions)
