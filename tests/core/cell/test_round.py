"""Offers that fit, that end, and that nobody can hoard."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.api.maintenance import DeactivateAgents
from broker_mesos.core.cell.allocation.feasibility import Feasibility
from broker_mesos.core.cell.allocation.round import Round
from broker_mesos.core.cell.inputs import Configured, OperatorMaintain
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import DEMAND_ROLES, Demand, FrameworkInfo, Shape
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.agent_messages import LaunchTasks, RegisterAgent
from broker_mesos.core.protocol.framework_messages import Accept, Decline, FrameworkHeartbeat, Settle
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from tests.core.cell.harness import Bench, of, offers_in, shape, task
from tests.examples import examples


def wants(*shapes: Shape, version: int = 1) -> Demand:
    return Demand(version=version, shapes=shapes)


def put(bench: Bench, ident: str, resources: str, **info):
    """An agent with attributes, reservations …"""
    found = AgentInfo(agent_id=ident, hostname=ident, resources=Resources.parse(resources), **info)
    return bench.decide(RegisterAgent(agent=found, attempt=f"{ident}1", cells=bench.cells))


def given_to(said) -> dict[str, list[str]]:
    """Framework to the resources that it is offered."""
    found: dict[str, list[str]] = {}
    for offer in offers_in(said):
        found.setdefault(offer.framework_id, []).append(f"{offer.agent_id} {offer.resources}")
    return {name: sorted(some) for name, some in found.items()}


def test_stated_demand_is_offered_what_it_asks_for_and_no_more():
    bench = Bench()
    bench.agent("a1", "cpus:8;mem:8192")
    said = bench.framework("f1", demand=wants(shape("cpus:1;mem:512", 3)))
    assert given_to(said) == {"f1": ["a1 cpus:3;mem:1536"]}
    assert given_to(bench.framework("f2")) == {"f2": ["a1 cpus:5;mem:6656"]}


def test_stated_demand_in_one_message_holds_all_its_agents():
    bench = Bench()
    for at in range(3):
        bench.agent(f"a{at}", "cpus:2;mem:2048")
    said = bench.framework("f1", demand=wants(shape("cpus:2;mem:512", 3)))
    messages = [message for to, message in said if to.startswith("offers:")]
    assert len(messages) == 1 and len(messages[0].offers) == 3


def test_agents_that_do_not_fit_are_not_offered():
    bench = Bench()
    bench.agent("small", "cpus:2;mem:2048")
    bench.agent("large", "cpus:16;mem:2048")
    assert given_to(bench.framework("f1", demand=wants(shape("cpus:4;mem:64", 9)))) == {"f1": ["large cpus:16;mem:256"]}


def test_best_fit_takes_the_fullest_agent_first_and_spread_the_emptiest():
    for packing, expected in (("binpack", "tight"), ("spread", "wide")):
        bench = Bench()
        bench.agent("wide", "cpus:16;mem:16384")
        bench.agent("tight", "cpus:4;mem:4096")
        said = bench.framework("f1", demand=wants(shape("cpus:1;mem:512")), packing=packing)
        assert [offer.agent_id for offer in offers_in(said)] == [expected]


def test_constraints_of_a_stated_demand_choose_the_agents():
    bench = Bench()
    put(bench, "a1", "cpus:4;mem:4096", attributes={"rack": "r1"})
    put(bench, "a2", "cpus:4;mem:4096", attributes={"rack": "r2"})
    said = bench.framework("f1", demand=wants(shape("cpus:1;mem:64", 2, "rack==r2")))
    assert given_to(said) == {"f1": ["a2 cpus:2;mem:128"]}


def test_what_is_launched_is_not_wanted_any_more_until_a_new_demand():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    offer = offers_in(bench.framework("f1", demand=wants(shape("cpus:1;mem:64", 2))))[0]
    said = bench.accept(offer, task("t1", "cpus:1;mem:64"), task("t2", "cpus:1;mem:64"))
    assert offers_in(said) == []
    assert offers_in(bench.wait(3.0)) == []
    beat = FrameworkHeartbeat(
        framework_id="f1",
        framework=FrameworkInfo(framework_id="f1"),
        demand=wants(shape("cpus:1;mem:64", 1), version=2),
    )
    assert given_to(bench.decide(beat)) == {"f1": ["a1 cpus:1;mem:64"]}


def test_what_an_accept_leaves_of_a_stated_demand_is_offered_again():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    offer = offers_in(bench.framework("f1", demand=wants(shape("cpus:1;mem:64", 2))))[0]
    said = bench.accept(offer, task("t1", "cpus:1;mem:64"), refuse=0.0)
    assert given_to(said) == {"f1": ["a1 cpus:1;mem:64"]}


def test_declined_offer_of_a_stated_demand_is_met_by_another_agent_at_once():
    bench = Bench()
    bench.agent("a1", "cpus:1;mem:1024")
    bench.agent("a2", "cpus:1;mem:1024")
    offer = offers_in(bench.framework("f1", demand=wants(shape("cpus:1;mem:64"))))[0]
    said = bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,)))
    assert [each.agent_id for each in offers_in(said)] == [{"a1": "a2", "a2": "a1"}[offer.agent_id]]


def test_two_that_compete_for_one_agent_both_get_a_part():
    bench = Bench()
    bench.framework("f1", demand=wants(shape("cpus:1;mem:64", 100)))
    bench.framework("f2", demand=wants(shape("cpus:1;mem:64", 100)))
    assert given_to(bench.agent("a1", "cpus:8;mem:4096")) == {
        "f1": ["a1 cpus:4;mem:256"],
        "f2": ["a1 cpus:4;mem:256"],
    }


def test_role_that_is_suppressed_gets_nothing_while_another_does():
    bench = Bench()
    bench.framework("f1", roles=("a", "b"), demand=Demand(version=1, suppressed=("a",)))
    bench.agent("a1", "cpus:4;mem:4096")
    bench.agent("a2", "cpus:4;mem:4096")
    assert {offer.role for offer in bench.state.offers.values()} == {"b"}


def test_demand_with_roles_is_served_in_those_instead_of_the_frameworks_own():
    bench = Bench()
    anything = Demand(version=1, roles=("a", "b"))
    bench.framework("f1", demand=anything, capabilities=(DEMAND_ROLES,))
    for at in range(4):
        bench.agent(f"a{at}", "cpus:4;mem:4096")
    assert {offer.role for offer in bench.state.offers.values()} == {"a", "b"}


def test_stated_tasks_of_two_roles_of_one_framework_share_an_agent_fairly():
    bench = Bench()
    eng, ops = (shape("cpus:1;mem:64", 100, role=role) for role in ("eng", "ops"))
    demand = Demand(version=1, shapes=(eng, ops), roles=("eng", "ops"))
    bench.framework("f1", demand=demand, capabilities=(DEMAND_ROLES,))
    bench.agent("a1", "cpus:8;mem:4096")
    held = {offer.role: str(offer.resources) for offer in bench.state.offers.values()}
    assert held == {"eng": "cpus:4;mem:256", "ops": "cpus:4;mem:256"}


def test_roles_of_a_demand_count_only_with_the_capability_for_them():
    bench = Bench()
    bench.framework("f1", roles=("a",), demand=Demand(version=1, roles=("b",)))
    bench.agent("a1", "cpus:4;mem:4096")
    assert {offer.role for offer in bench.state.offers.values()} == {"a"}


def test_smallest_offer_that_a_framework_takes_is_respected():
    bench = Bench()
    least = {"*": (Resources.parse("cpus:4"), Resources.parse("mem:8192"))}
    bench.framework("f1", offer_filters=least)
    assert offers_in(bench.agent("a1", "cpus:2;mem:4096")) == []
    assert len(offers_in(bench.agent("a2", "cpus:4;mem:64"))) == 1
    assert len(offers_in(bench.agent("a3", "cpus:1;mem:9000"))) == 1


@pytest.mark.parametrize(
    ("constraint", "agents"),
    [
        ("rack", ["a1", "a2"]),
        ("!rack", ["a3"]),
        ("rack==r1", ["a1"]),
        ("rack!=r1", ["a2", "a3"]),
        ("rack~=r[0-9]", ["a1", "a2"]),
        ("rack!~r[12]", ["a3"]),
        ("hostname==a2", ["a2"]),
    ],
)
def test_offer_constraints_choose_agents_by_attribute_and_host_name(constraint, agents):
    bench = Bench()
    put(bench, "a1", "cpus:1;mem:512", attributes={"rack": "r1"})
    put(bench, "a2", "cpus:1;mem:512", attributes={"rack": "r2"})
    put(bench, "a3", "cpus:1;mem:512")
    said = bench.framework("f1", offer_constraints={"*": ((Constraint.parse(constraint),),)})
    assert sorted(offer.agent_id for offer in offers_in(said)) == agents


def test_one_group_of_offer_constraints_is_enough():
    bench = Bench()
    put(bench, "a1", "cpus:1;mem:512", attributes={"rack": "r1"})
    put(bench, "a2", "cpus:1;mem:512", attributes={"disk": "ssd"})
    put(bench, "a3", "cpus:1;mem:512")
    groups = ((Constraint.parse("rack==r1"),), (Constraint.parse("disk==ssd"),))
    said = bench.framework("f1", offer_constraints={"*": groups})
    assert sorted(offer.agent_id for offer in offers_in(said)) == ["a1", "a2"]


def test_agents_with_gpus_go_only_to_frameworks_that_ask_for_gpus():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096;gpus:1")
    assert offers_in(bench.framework("f1")) == []
    assert len(offers_in(bench.framework("f2", capabilities=("GPU_RESOURCES",)))) == 1


def test_what_is_reserved_goes_to_the_role_and_to_those_below_it_only():
    bench = Bench()
    reserved = Reservation(role="eng", resources=Resources.parse("cpus:3;mem:1024"), static=True)
    put(bench, "a1", "cpus:4;mem:4096", reservations=(reserved,))
    assert given_to(bench.framework("f1")) == {"f1": ["a1 cpus:1;mem:3072"]}
    said = bench.framework("f2", roles=("eng/db",))
    assert given_to(said) == {"f2": ["a1 cpus:3;mem:1024"]}
    assert offers_in(said)[0].reservations == (reserved,)


# -- nobody can hoard ----------------------------------------------------------------------------------


def test_hoarder_starves_others_for_no_longer_than_one_timeout():
    bench = Bench(limits=Limits(offer_timeout=10.0))
    for at in range(4):
        bench.agent(f"a{at}", "cpus:4;mem:4096")
    bench.framework("hoarder")
    assert len(bench.state.frameworks["hoarder"].offers) == 4
    bench.framework("other")
    bench.wait(10.5, agents=True)
    assert len(bench.state.frameworks["other"].offers) >= 3
    bench.wait(60.0, agents=True)
    assert len(bench.state.frameworks["hoarder"].offers) <= 1


def test_who_answers_again_is_offered_all_again():
    bench = Bench(limits=Limits(offer_timeout=10.0))
    for at in range(4):
        bench.agent(f"a{at}", "cpus:4;mem:4096")
    bench.framework("f1")
    bench.wait(16.0, agents=True)  # timed out, and the filter that came of it as well
    first = list(bench.state.frameworks["f1"].offers)
    assert len(first) == 1
    said = bench.decide(Decline(framework_id="f1", offer_ids=tuple(first), refuse_seconds=0))
    assert len(offers_in(said)) == 4


def test_no_agent_is_checked_for_a_framework_that_has_to_answer_first(monkeypatch: pytest.MonkeyPatch):
    bench = Bench()
    for at in range(20):
        put(bench, f"a{at}", "cpus:1;mem:1024")
    bench.framework("f1")
    bench.wait(20)
    assert len(bench.state.frameworks["f1"].offers) == 1, "it let all of them time out"
    looked = 0
    check = Feasibility.check

    def counted(self: Feasibility, *arguments):
        nonlocal looked
        looked += 1
        return check(self, *arguments)

    monkeypatch.setattr(Feasibility, "check", counted)
    bench.wait(3)
    assert looked == 0


def test_whoever_answers_too_late_is_given_more_time_until_its_answers_come_in_time():
    bench = Bench(limits=Limits(agent_missed=1_000))
    put(bench, "a1", "cpus:1;mem:1024")
    bench.framework("f1")
    launched = []
    for at in range(12):
        (offer,) = bench.state.frameworks["f1"].offers.values()
        bench.wait(25)  # so long its accept is on the way
        said = bench.decide(
            Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=(task(f"t{at}", "cpus:1;mem:1024"),))
        )
        if of(said, LaunchTasks):
            launched.append(at)
            break
        bench.wait(6)  # it is offered again
    assert launched, "each of its accepts came too late"
    assert launched[0] <= 4


def test_nothing_is_offered_while_the_inbox_is_full_and_everything_after_that():
    bench = Bench()
    bench.framework("f1")
    put(bench, "a1", "cpus:1;mem:1024")
    (offer,) = bench.state.offers.values()
    bench.state.end_offer(offer)
    full = bench.cell.decide([], bench.now, full=True)
    assert not full.hints and not bench.state.offers
    assert len(offers_in(bench.decide())) == 1


def test_offers_last_in_their_queue_as_long_as_they_are_open():
    bench = Bench(limits=Limits(agent_missed=1_000))
    put(bench, "a1", "cpus:1;mem:1024")
    bench.framework("f1")
    framework = bench.state.frameworks["f1"]
    framework.offer_timeouts, framework.offer_timeouts_raised_at = 4, bench.now.mono
    (offer,) = bench.state.offers
    bench.decide(Decline(framework_id="f1", offer_ids=(offer,), refuse_seconds=0))
    (hint,) = [each for each in bench.decisions[-1].hints if each.message.TYPE == "OFFERS"]
    assert hint.expiration == 4 * bench.limits.offer_timeout
    bench.wait(4 * bench.limits.offer_timeout + 1)
    (hint,) = [each for made in bench.decisions for each in made.hints if each.message.TYPE == "RESCIND"]
    assert hint.expiration == 4 * bench.limits.offer_timeout


def test_more_time_is_not_given_for_ever():
    bench = Bench(limits=Limits(agent_missed=1_000))
    put(bench, "a1", "cpus:1;mem:1024")
    bench.framework("f1")
    for _ in range(8):
        (offer,) = bench.state.frameworks["f1"].offers.values()
        bench.wait(200)
        assert offer.offer_id not in bench.state.offers
        bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,)))
        bench.wait(6)


def test_whoever_answers_in_time_again_has_no_more_time_than_others():
    bench = Bench(limits=Limits(agent_missed=1_000))
    put(bench, "a1", "cpus:1;mem:1024")
    bench.framework("f1")
    (offer,) = bench.state.frameworks["f1"].offers.values()
    bench.wait(12)
    bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=0))
    assert bench.state.frameworks["f1"].offer_timeouts == 2
    bench.wait(11)
    for _ in range(2):  # the first of them was made long ago
        (offer,) = bench.state.frameworks["f1"].offers.values()
        bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=0))
    assert bench.state.frameworks["f1"].offer_timeouts == 1


def test_two_hundred_that_decline_do_not_keep_the_next_one_from_its_share():
    bench = Bench()
    for at in range(200):
        bench.framework(f"no{at}", demand=Demand(version=1))
    bench.framework("yes", demand=Demand(version=1))
    bench.agent("a1", "cpus:4;mem:4096")
    bench.agent("a2", "cpus:4;mem:4096")
    for _ in range(201):
        taken = [each for each in bench.state.offers.values() if each.framework.ident == "yes"]
        if taken:
            break
        calls = [
            Decline(framework_id=each.framework.ident, offer_ids=(each.offer_id,))
            for each in bench.state.offers.values()
        ]
        bench.decide(*calls)
    assert taken


@settings(max_examples=examples(25))
@given(
    takers=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    agents=st.integers(1, 4),
)
def test_everybody_with_unmet_demand_is_offered_something_within_bounded_rounds(takers, agents):
    """Each framework declines so many offers before it takes one; nobody waits for more than the sum."""
    bench = Bench()
    for at in range(len(takers)):
        bench.framework(f"f{at}", demand=wants(shape("cpus:1;mem:64")))
    for at in range(agents):
        bench.agent(f"a{at}", "cpus:1;mem:1024")
    left = dict(enumerate(takers))
    served: set[str] = set()
    bound = sum(takers) + 6 * len(takers) + 6
    for _ in range(bound):
        calls = []
        for each in list(bench.state.offers.values()):
            name = each.framework.ident
            at = int(name[1:])
            if left[at] > 0:
                left[at] -= 1
                calls.append(Decline(framework_id=name, offer_ids=(each.offer_id,), refuse_seconds=1))
            else:
                served.add(name)
                info = task(f"t{name}", "cpus:1;mem:64")
                calls.append(Accept(framework_id=name, offer_ids=(each.offer_id,), tasks=(info,)))
        bench.decide(*calls)
        for info in list(bench.state.tasks.values()):  # it ends at once, and makes room
            if not info.state.terminal:
                from broker_mesos.core.model.task_states import TaskState

                bench.report(info.agent_id, info.task_id, TaskState.FINISHED, framework_id=info.framework_id)
        if len(served) == len(takers):
            break
        bench.wait(1.0, agents=True)
    assert len(served) == len(takers)


def test_weights_that_are_set_change_the_order_at_once():
    bench = Bench()
    bench.framework("f1", roles=("low",), demand=wants(shape("cpus:1;mem:64", 100, role="low")))
    bench.framework("f2", roles=("high",), demand=wants(shape("cpus:1;mem:64", 100, role="high")))
    bench.decide(Configured(ClusterConfig(version=1, roles={"high": RoleSettings(weight=3.0)})))
    bench.agent("a1", "cpus:8;mem:4096")
    amounts = {name: each.offered.get("cpus") for name, each in bench.state.frameworks.items()}
    assert amounts == {"f1": 2000, "f2": 6000}


def test_nothing_is_offered_for_tasks_that_need_nothing() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    nothing = Shape(resources=Resources.EMPTY, count=3)
    some = Shape(resources=Resources.parse("cpus:1"), count=1)
    (offer,) = offers_in(bench.framework("f1", Demand(version=1, shapes=(nothing, some))))
    assert offer.resources == some.resources
    assert offers_in(bench.wait(3)) == []


def test_what_was_meant_for_a_claim_that_is_settled_is_offered_elsewhere() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:1;mem:100")
    bench.framework("f1", Demand(version=1, wanted=False))
    (offer,) = offers_in(bench.framework("f2", wants(shape("cpus:1;mem:100"))))
    few = (Resources.parse("cpus:64"),)
    bench.framework("f3", roles=("*",), offer_filters={"*": few})  # for it, nothing here is enough
    bench.agent("a2", "cpus:1;mem:100")
    bench.wait(3, agents=True)  # nobody who wants something can do with a2
    request = DeactivateAgents(agent_ids=("a1",))
    said = bench.decide(Settle(framework_id="f2", claims=(("t1", offer.offer_id),)), OperatorMaintain(request))
    assert [each.agent_id for each in offers_in(said)] == ["a2"]


def test_what_becomes_free_in_a_large_cell_gathers_and_is_offered_together():
    bench = Bench(limits=Limits(round_pause=0.5, round_agents=2))
    bench.framework("f1")
    put(bench, "a1", "cpus:1;mem:1024")
    put(bench, "a2", "cpus:1;mem:1024")
    bench.wait(2)
    assert len(bench.state.offers) == 2
    for offer_id in list(bench.state.offers):
        bench.decide(Decline(framework_id="f1", offer_ids=(offer_id,), refuse_seconds=0))
    assert len(bench.state.offers) < 2
    at = bench.cell.wake_at(bench.now)
    assert 0 < at - bench.now.mono <= 0.5
    bench.wait(0.5)
    assert len(bench.state.offers) == 2


def test_a_small_cell_offers_at_once_what_becomes_free():
    bench = Bench()
    bench.framework("f1")
    for at in range(200):
        put(bench, f"a{at}", "cpus:1;mem:1024")
    assert len(bench.state.offers) == 200


def test_who_is_served_takes_several_agents_at_once_and_shares_stay_even():
    """Offers of many agents travel in few messages; nobody is ahead by more than a sixteenth of its share."""
    bench = Bench()
    for at in range(128):
        put(bench, f"a{at}", "cpus:1;mem:1024")
    said = bench.decide(
        *[
            FrameworkHeartbeat(
                framework_id=name,
                framework=FrameworkInfo(framework_id=name),
                demand=wants(shape("cpus:1;mem:1024", 1_000)),
            )
            for name in ("f1", "f2")
        ]
    )
    given = {name: len(some) for name, some in given_to(said).items()}
    assert given == {"f1": 64, "f2": 64}
    order = [offer.framework.ident for offer in bench.state.offers.values()]
    runs = [len(list(some)) for _, some in groupby(order)]
    assert max(runs) == 4  # of 128 agents between two, a sixteenth of a half


def test_a_round_ends_when_nothing_is_left(monkeypatch):
    bench = Bench()
    for at in range(50):
        bench.framework(f"f{at}", demand=wants(shape("cpus:1;mem:1024", 5)))
    served = []
    serve = Round._serve
    monkeypatch.setattr(
        Round,
        "_serve",
        lambda self, claimant, **more: served.append(claimant) or serve(self, claimant, **more),
    )
    assert len(offers_in(put(bench, "a1", "cpus:1;mem:1024"))) == 1
    assert len(served) <= 2
