"""Why a task waits: the same answer as the next round of allocation gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.api.explain import GetPlacement, Placement
from broker_mesos.core.api.explain_reasons import reason
from broker_mesos.core.api.maintenance import DrainAgents
from broker_mesos.core.cell.inputs import Configured, OperatorMaintain
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.agent_messages import RegisterAgent
from broker_mesos.core.protocol.framework_messages import Accept, Decline
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from tests.core.cell.harness import Bench, offers_in, shape, task


def ask(bench: Bench, framework: str, wanted: Shape) -> Placement:
    request = GetPlacement(framework_id=framework, shape=wanted)
    return placement(bench.state, bench.cell.policy, request, bench.now)


def put(bench: Bench, ident: str, resources: str, **info) -> None:
    found = AgentInfo(agent_id=ident, hostname=ident, resources=Resources.parse(resources), **info)
    bench.decide(RegisterAgent(agent=found, attempt=f"{ident}1", cells=bench.cells))


NOTHING = Demand(version=1, wanted=False)


def test_task_that_fits_would_run():
    bench = Bench()
    bench.framework("f1", demand=NOTHING)
    bench.agent("a1", "cpus:4;mem:4096")
    found = ask(bench, "f1", shape("cpus:1;mem:64", 9))
    assert found.would_run and found.fits == 4 and found.changes == ()


def test_an_owner_that_offers_nothing_until_it_has_read_its_inbox_says_so():
    bench = Bench()
    bench.framework("f1", demand=NOTHING)
    bench.agent("a1", "cpus:4;mem:4096")
    wanted = shape("cpus:1;mem:64")
    bench.cell.decide([], bench.now, full=True)
    found = ask(bench, "f1", wanted)
    assert not found.would_run and "overloaded" in reason(wanted, [found])
    bench.decide()
    assert ask(bench, "f1", wanted).would_run


def test_a_gang_that_does_not_fit_whole_is_told_how_much_of_it_would():
    bench = Bench()
    bench.agent("a1", "cpus:2;mem:4096")
    bench.agent("a2", "cpus:3;mem:4096")
    wanted = shape("cpus:1;mem:64", 6).model_copy(update={"gang": "g"})
    bench.framework("f1", demand=Demand(version=1, shapes=(wanted,)))
    found = ask(bench, "f1", wanted)
    assert (found.would_run, found.together, found.counts) == (False, 5, {"gang": 2})
    assert found.changes[0].message == "begin with 5 tasks at once instead of 6"
    assert reason(wanted, [found]) == "of the 6 tasks, which start together, 5 have room"
    assert "several cells" in reason(wanted, [found, found])
    assert ask(bench, "f1", wanted.model_copy(update={"gang": "h", "count": 5})).would_run


def test_asking_changes_nothing():
    bench = Bench()
    bench.framework("f1")
    for at in range(3):
        bench.agent(f"a{at}", "cpus:4;mem:4096")
    before = (list(bench.state.offers), bench.state.rotation, bench.state.rounds, dict(bench.stored))
    ask(bench, "f1", shape("cpus:1;mem:64"))
    assert before == (list(bench.state.offers), bench.state.rotation, bench.state.rounds, bench.stored)


def test_each_agent_says_what_is_short_and_by_how_much():
    bench = Bench()
    bench.framework("f1")
    bench.agent("busy", "cpus:4;mem:4096")
    bench.accept(offers_in(bench.said)[-1], task("t1", "cpus:3;mem:64"), refuse=0.0)
    offer = next(iter(bench.state.offers))
    bench.decide(Accept(framework_id="f1", offer_ids=(offer,), tasks=(task("t2", "cpus:0.5;mem:64"),)))
    bench.agent("small", "cpus:1;mem:1024")
    bench.decide(Decline(framework_id="f1", offer_ids=tuple(bench.state.offers), refuse_seconds=0))
    bench.framework("f1", demand=Demand(version=9, wanted=False))
    found = {why.agent_id: why for why in ask(bench, "f1", shape("cpus:2;mem:64")).agents}
    assert found["busy"].what in ("resources", "offered")
    assert found["busy"].missing == Resources.parse("cpus:1.5")
    assert found["small"].what == "too-small" and found["small"].missing == Resources.parse("cpus:1")


def test_the_constraint_that_stands_in_the_way_is_named_and_dropping_it_helps():
    bench = Bench()
    bench.framework("f1", demand=NOTHING)
    put(bench, "a1", "cpus:4;mem:4096", attributes={"rack": "r1"})
    found = ask(bench, "f1", shape("cpus:1;mem:64", 1, "rack==r2"))
    assert found.agents[0].message == "rack is r1, wanted r2"
    assert found.unmatched == ("rack==r2",)
    assert found.changes[0].message == "drop the constraint rack==r2" and found.changes[0].sure


def test_a_drained_agent_that_would_not_do_in_any_case_is_explained_by_what_stays():
    bench = Bench()
    bench.framework("f1", demand=NOTHING)
    put(bench, "a1", "cpus:4;mem:4096")
    put(bench, "a2", "cpus:4;mem:4096;gpus:1")
    put(bench, "a3", "cpus:4;mem:4096", attributes={"rack": "r2"})
    put(bench, "a4", "cpus:1;mem:4096")
    bench.decide(OperatorMaintain(DrainAgents(agent_ids=("a1", "a2", "a3", "a4"))))
    agents = ask(bench, "f1", shape("cpus:2;mem:64", 1, "rack!=r2")).agents
    found = {why.agent_id: why.what for why in agents}
    assert found == {"a1": "drain", "a2": "gpus", "a3": "constraint", "a4": "too-small"}


def test_filter_says_until_when():
    bench = Bench()
    offer = None
    bench.framework("f1")
    offer = offers_in(bench.agent("a1", "cpus:4;mem:4096"))[0]
    bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=30))
    why = ask(bench, "f1", shape("cpus:1;mem:64")).agents[0]
    assert why.what == "filter" and why.seconds is not None and 29 < why.seconds <= 30


def test_offer_to_somebody_else_is_named():
    bench = Bench()
    bench.framework("f1")
    bench.agent("a1", "cpus:4;mem:4096")
    bench.framework("f2", demand=NOTHING)
    why = ask(bench, "f2", shape("cpus:1;mem:64")).agents[0]
    assert why.what == "offered" and "f1" in why.message and why.seconds is not None


def test_quota_and_reservations_are_named():
    bench = Bench()
    config = ClusterConfig(version=1, roles={"eng": RoleSettings(limit={"cpus": 1000})})
    bench.decide(Configured(config))
    bench.framework("f1", roles=("eng",), demand=NOTHING)
    reserved = Reservation(role="ops", resources=Resources.parse("cpus:4"), static=True)
    put(bench, "a1", "cpus:4;mem:4096", reservations=(reserved,))
    put(bench, "a2", "cpus:4;mem:4096")
    found = {why.agent_id: why for why in ask(bench, "f1", shape("cpus:2;mem:64", role="eng")).agents}
    assert found["a1"].what == "reserved"
    assert found["a2"].what == "quota" and "eng" in found["a2"].message


def test_place_in_the_order_and_who_is_ahead_are_told():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    bench.framework("f1")
    bench.accept(offers_in(bench.said)[-1], task("t1", "cpus:3;mem:4000"))
    bench.framework("f2")
    found = ask(bench, "f1", shape("cpus:1;mem:64"))
    assert found.place == 1 and [each.framework_id for each in found.ahead] == ["f2"]


def test_unreachable_agents_and_unknown_frameworks_are_told():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    assert ask(bench, "nobody", shape("cpus:1;mem:64")).unwanted == "the framework is not registered"
    bench.framework("f1", demand=NOTHING)
    bench.wait(40.0)
    assert ask(bench, "f1", shape("cpus:1;mem:64")).agents[0].message == "it is unreachable"


def test_smaller_request_that_would_run_is_proposed():
    bench = Bench()
    bench.framework("f1", demand=NOTHING)
    bench.agent("a1", "cpus:4;mem:4096")
    found = ask(bench, "f1", shape("cpus:6;mem:64"))
    assert [each.message for each in found.changes if each.sure] == [
        "ask for at most cpus:4;mem:64 a task instead of cpus:6;mem:64"
    ]


amounts = st.builds("cpus:{};mem:{}".format, st.integers(1, 6), st.sampled_from((64, 512, 2048)))
racks = st.sampled_from(({}, {"rack": "r1"}, {"rack": "r2"}))


@given(
    agents=st.lists(st.tuples(amounts, racks, st.booleans()), max_size=5),
    others=st.lists(st.tuples(amounts, st.integers(1, 4), st.sampled_from(("*", "eng"))), max_size=3),
    used=st.lists(amounts, max_size=4),
    refused=st.booleans(),
    limit=st.none() | st.integers(0, 8),
    need=amounts,
    rack=st.sampled_from(((), ("rack==r1",), ("rack!=r1",))),
    role=st.sampled_from(("*", "eng")),
    stated=st.booleans(),
)
def test_it_would_run_exactly_when_the_next_allocation_runs_it(
    agents, others, used, refused, limit, need, rack, role, stated
):
    bench = Bench()
    if limit is not None:
        settings = RoleSettings(limit={"cpus": 1000 * limit})
        bench.decide(Configured(ClusterConfig(version=1, roles={"eng": settings})))
    for at, (text, attributes, kept) in enumerate(agents):
        reserved = (Reservation(role="eng", resources=Resources.parse("cpus:1"), static=True),) if kept else ()
        put(bench, f"a{at}", text, attributes=attributes, reservations=reserved)
    # Somebody runs tasks already, and the one who asks has refused some offers.
    bench.framework("old", capabilities=())
    for at, text in enumerate(used):
        offer = next((o for o in bench.state.offers.values() if o.framework.ident == "old"), None)
        if offer is not None:
            call = Accept(framework_id="old", offer_ids=(offer.offer_id,), tasks=(task(f"u{at}", text),))
            bench.decide(call)
    bench.framework("old", demand=Demand(version=5, wanted=False))
    held = [o.offer_id for o in bench.state.offers.values() if o.framework.ident == "old"]
    if held:
        bench.decide(Decline(framework_id="old", offer_ids=tuple(held), refuse_seconds=0))
    bench.framework("me", roles=(role,))
    mine = [o.offer_id for o in bench.state.offers.values() if o.framework.ident == "me"]
    if mine:
        seconds = 100.0 if refused else 0.0
        bench.framework("me", roles=(role,), demand=Demand(version=1, wanted=False))
        bench.decide(Decline(framework_id="me", offer_ids=tuple(mine), refuse_seconds=seconds))
    bench.framework("me", roles=(role,), demand=Demand(version=2, wanted=False))
    wanted = shape(need, 1, *rack, role=role)
    # All of this is one batch: whoever asks, and whoever competes, is looked at in one allocation.
    state = bench.state
    for at, (text, count, their) in enumerate(others):
        bench.framework(f"o{at}", roles=(their,), demand=Demand(version=1, wanted=False))
        state.frameworks[f"o{at}"].demand = Demand(version=2, shapes=(shape(text, count, role=their),))
    state.frameworks["me"].demand = Demand(version=3, shapes=(wanted,) if stated else None)
    found = ask(bench, "me", wanted)
    state.reconsider = True
    for agent in state.agents.values():
        agent.hidden_until = 0.0
    bench.decide()
    runs = any(
        offer.framework.ident == "me"
        and offer.resources.contains(wanted.resources)
        and all(
            each.matches(offer.agent.info.attributes, offer.agent.info.hostname, offer.agent.ident)
            for each in wanted.constraints
        )
        for offer in bench.state.offers.values()
    )
    assert found.would_run == runs
    if not runs:
        assert len(found.agents) == len(state.agents) and (found.agents == () or found.changes)


def test_asked_anew_its_refusals_are_void():
    bench = Bench()
    bench.framework("f1")
    offer = offers_in(bench.agent("a1", "cpus:4;mem:4096"))[0]
    bench.framework("f1", demand=Demand(version=1, wanted=False))
    bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=30))
    for ignore_filters in (False, True):
        request = GetPlacement(framework_id="f1", shape=shape("cpus:1;mem:64", 9), ignore_filters=ignore_filters)
        found = placement(bench.state, bench.cell.policy, request, bench.now)
        assert found.would_run is ignore_filters and found.fits == 4 * ignore_filters
