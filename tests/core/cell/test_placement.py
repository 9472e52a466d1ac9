"""Ports by count and tasks beside each other: what is offered, what is launched on it, and how it is explained."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.explain import GetPlacement, Placement
from broker_mesos.core.api.explain_reasons import change, reason
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.port_numbers import count_ports, numbers_of, pick_ports
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks, RegisterAgent
from broker_mesos.core.protocol.framework_messages import Decline
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in

R = Resources.parse
ALL = "cpus:8;mem:8192;ports:[31000-31009]"


def shape(count: int = 1, need: str = "cpus:1;mem:64", **more) -> Shape:
    return Shape(resources=R(need), count=count, **more)


def demand(*shapes: Shape, version: int = 1) -> Demand:
    return Demand(version=version, shapes=shapes)


def registered(bench: Bench, name: str, resources: str = ALL, rack: str = "", attempt: str = "1", **more):
    info = AgentInfo(
        agent_id=name, hostname="one-machine", resources=R(resources), attributes={"rack": rack} if rack else {}
    )
    return bench.decide(RegisterAgent(agent=info, attempt=attempt, cells=1, **more))


def resources_of(offers) -> list[str]:
    return [str(each.resources) for each in offers]


def by_agent(bench: Bench, name: str = "cpus") -> dict[str, int]:
    found = {each.agent.ident: 0 for each in bench.state.offers.values()}
    for each in bench.state.offers.values():
        found[each.agent.ident] += each.resources.get(name) // 1000
    return found


# -- ports


def test_an_offer_for_a_shape_holds_as_many_ports_as_its_tasks_need_and_names_them():
    bench = Bench()
    registered(bench, "a1")
    assert resources_of(offers_in(bench.framework("f1", demand(shape(3, ports=2))))) == [
        "cpus:3;mem:192;ports:[31000-31005]"
    ]
    assert resources_of(offers_in(bench.framework("f2", demand(shape(5, ports=3))))) == [
        "cpus:1;mem:64;ports:[31006-31008]"
    ]


def test_a_port_is_offered_again_only_after_the_others_and_an_agent_without_enough_of_them_is_not():
    bench = Bench()
    registered(bench, "a1", "cpus:8;mem:8192;ports:[31000-31003]")
    registered(bench, "a2", "cpus:8;mem:8192")
    (offer,) = offers_in(bench.framework("f1", demand(shape(ports=3))))
    assert str(offer.resources) == "cpus:1;mem:64;ports:[31000-31002]"
    bench.accept(offer, task("t1", "cpus:1;mem:64;ports:[31000-31002]"))
    bench.report("a1", "t1", TaskState.FINISHED)
    (offer,) = offers_in(bench.framework("f1", demand(shape(ports=2), version=2)))
    assert numbers_of(offer.resources) == [31000, 31003]


def test_a_refused_offer_is_hidden_whatever_ports_the_next_one_would_have():
    bench = Bench()
    registered(bench, "a1")
    (offer,) = offers_in(bench.framework("f1", demand(shape(ports=2))))
    bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=60))
    assert offers_in(bench.wait(5)) == []
    assert len(offers_in(bench.framework("f2", demand(shape(ports=1))))) == 1


def test_launched_tasks_with_ports_meet_their_shape_and_no_other():
    bench = Bench()
    registered(bench, "a1")
    both = demand(shape(1, ports=2), shape(2, ports=1))
    (offer,) = offers_in(bench.framework("f1", both))
    first = pick_ports(offer.resources, 2)
    said = bench.accept(offer, task("t1", str(R("cpus:1;mem:64") + first)), refuse=0)
    assert [each.task.task_id for item in of(said, LaunchTasks) for each in item.launches] == ["t1"]
    # Of the second shape nothing was launched: it is offered again, and nothing for the first.
    (again,) = bench.state.offers.values()
    assert str(again.resources.counted()) == "cpus:2;mem:128;ports:2"


def test_a_task_that_takes_a_port_twice_is_an_error():
    bench = Bench()
    registered(bench, "a1")
    (offer,) = offers_in(bench.framework("f1", demand(shape(2, ports=1))))
    same = "cpus:1;mem:64;ports:[31000-31000]"
    (refused,) = updates_in(bench.accept(offer, task("t1", same), task("t2", same)))
    assert (refused.task_id, refused.state) == ("t2", TaskState.ERROR)


def test_a_gang_with_ports_is_offered_whole_and_each_agent_by_distinct_ports():
    bench = Bench()
    registered(bench, "a1", "cpus:2;mem:8192;ports:[31000-31009]")
    registered(bench, "a2", "cpus:2;mem:8192;ports:[31000-31002]")
    assert offers_in(bench.framework("f1", demand(shape(4, ports=2, gang="g")))) == []
    registered(bench, "a3", "cpus:1;mem:8192;ports:[31000-31009]")
    offers = bench.state.offers.values()
    assert sum(count_ports(each.resources) for each in offers) == 8
    assert sum(each.resources.get("cpus") for each in offers) == 4000


def test_tasks_of_another_role_are_preempted_for_their_ports():
    bench = Bench()
    registered(bench, "a1", "cpus:8;mem:8192;ports:[31000-31001]")
    (offer,) = offers_in(bench.framework("low", demand(shape(ports=2)), roles=("*",)))
    bench.accept(offer, task("t1", str(offer.resources)))
    bench.report("a1", "t1", TaskState.RUNNING, framework_id="low")
    roles = {"high": RoleSettings(guarantee=R("cpus:8"), preempts=True)}
    bench.state.configure(ClusterConfig(version=1, roles=roles))
    bench.framework("f1", demand(shape(ports=1, role="high")), roles=("high",))
    bench.wait(3)
    assert bench.state.tasks["t1"].kill_requested


# -- the agent's id


def test_agents_of_one_machine_are_told_apart_by_their_id():
    bench = Bench()
    for name in ("a1", "a2", "a3"):
        registered(bench, name)
    not_first = (Constraint.parse("agent!=a1"), Constraint.parse("agent~=a[12]"))
    (offer,) = offers_in(bench.framework("f1", demand(shape(3, constraints=not_first))))
    assert offer.agent_id == "a2"


# -- at most so many


def test_no_more_than_so_many_tasks_are_offered_on_an_agent():
    bench = Bench()
    for name in ("a1", "a2", "a3"):
        registered(bench, name)
    bench.framework("f1", demand(shape(5, most=2)))
    assert sorted(by_agent(bench).values()) == [1, 2, 2]


@pytest.mark.parametrize("gang", ["", "g"])
def test_no_more_than_so_many_are_offered_for_a_value_and_none_without_the_attribute(gang: str):
    bench = Bench()
    for name, rack in (("a1", "r1"), ("a2", "r1"), ("a3", "r2"), ("a4", "")):
        registered(bench, name, rack=rack)
    bench.framework("f1", demand(shape(3 if gang else 4, most=2, per="rack", placed={"r2": 1}, gang=gang)))
    found = by_agent(bench)
    assert found.get("a1", 0) + found.get("a2", 0) == 2 and found.get("a3") == 1 and "a4" not in found


def test_a_gang_that_may_not_stand_together_waits_for_an_agent_of_another_rack():
    bench = Bench()
    registered(bench, "a1", rack="r1")
    registered(bench, "a2", rack="r1")
    assert offers_in(bench.framework("f1", demand(shape(2, most=1, per="rack", gang="g")))) == []
    said = registered(bench, "a3", rack="r2")
    assert len(offers_in(said)) == 2


def test_the_limit_counts_tasks_that_run_through_a_new_owner_and_until_they_have_ended():
    bench = Bench()
    registered(bench, "a1")
    wanted = demand(shape(2, most=1, name="web"))
    (offer,) = offers_in(bench.framework("f1", wanted))
    bench.accept(offer, task("t1", "cpus:1;mem:64"), refuse=0)
    assert bench.state.tasks["t1"].shape == "web"
    assert offers_in(bench.wait(3)) == []
    bench.take_over(term=8)
    # The same version is stated to the new owner, whose memory has no offers and no counts.
    assert offers_in(bench.framework("f1", wanted)) == [] and offers_in(bench.wait(3)) == []
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.report("a1", "t1", TaskState.FINISHED)
    assert [each.agent.ident for each in bench.state.offers.values()] == ["a1"]


def test_tasks_of_two_names_are_limited_apart_and_those_without_a_name_by_what_they_need():
    bench = Bench()
    registered(bench, "a1")
    bench.framework("f1", demand(shape(3, most=1, name="web"), shape(3, most=1, name="db"), shape(3, most=2)))
    (offer,) = bench.state.offers.values()
    assert offer.resources.get("cpus") == 4000
    wire = offers_in(bench.said)[-1]
    named = [task(f"t{n}", "cpus:1;mem:64") for n in range(4)]
    named[0] = named[0].model_copy(update={"shape": "db"})
    bench.accept(wire, *named, refuse=0)
    shapes = sorted(each.shape for each in bench.state.tasks.values())
    assert shapes.count("db") >= 1 and shapes.count("web") == 1 and "cpus:1;mem:64" in shapes
    bench.state.reconsider = True
    assert offers_in(bench.wait(3)) == []


def test_a_task_beyond_the_limit_is_dropped_whatever_its_offer_was_made_for():
    bench = Bench()
    registered(bench, "a1")
    (anything,) = offers_in(bench.framework("f1"))
    named = [task(f"t{n}", "cpus:1;mem:64").model_copy(update={"shape": "web"}) for n in range(3)]
    limited = demand(shape(2, most=1, name="web"), version=2)
    bench.framework("f1", limited)
    said = bench.accept(anything, *named, refuse=0)
    assert [item.task.task_id for each in of(said, LaunchTasks) for item in each.launches] == ["t0"]
    assert [(each.task_id, each.state) for each in updates_in(said)] == [
        ("t1", TaskState.DROPPED),
        ("t2", TaskState.DROPPED),
    ]
    assert "as many tasks of web as may run on it do: 1" in updates_in(said)[0].message


def test_the_limit_of_an_offer_holds_though_its_demand_has_ended():
    bench = Bench()
    registered(bench, "a1")
    (first,) = offers_in(bench.framework("f1", demand(shape(2, "cpus:1;mem:64", most=1, name="web"), version=2)))
    both = [task(f"t{n}", "cpus:0.5;mem:32").model_copy(update={"shape": "web"}) for n in range(2)]
    bench.framework("f1", Demand(version=3, wanted=False))
    said = bench.accept(first, *both)
    assert [(each.task_id, each.state) for each in updates_in(said)] == [("t1", TaskState.DROPPED)]


def test_an_unreachable_agent_still_has_its_tasks():
    bench = Bench()
    registered(bench, "a1", rack="r1")
    (offer,) = offers_in(bench.framework("f1", demand(shape(2, most=1, per="rack"))))
    bench.accept(offer, task("t1", "cpus:1;mem:64"))
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.wait(30)
    assert bench.state.tasks["t1"].state is TaskState.UNREACHABLE
    assert offers_in(registered(bench, "a2", rack="r1")) == []
    assert [each.agent_id for each in offers_in(registered(bench, "a3", rack="r2"))] == ["a3"]


# -- explained


def asked(bench: Bench, wanted: Shape, **more) -> tuple[Shape, list[Placement]]:
    request = GetPlacement(framework_id="f1", shape=wanted, **more)
    return wanted, [placement(bench.state, bench.cell.policy, request, bench.now)]


def explained() -> Bench:
    bench = Bench()
    bench.framework("f1", demand=Demand(version=1, wanted=False))
    return bench


def test_too_many_ports_are_named_with_what_the_largest_agent_has_and_each_agent_with_what_it_lacks():
    bench = explained()
    registered(bench, "a1", "cpus:8;mem:8192;ports:[31000-31003]")
    registered(bench, "a2", "cpus:8;mem:8192")
    found = asked(bench, shape(ports=5))
    assert reason(*found) == "it needs 5 ports a task; the largest agent has 4"
    assert change(*found) == "ask for at most cpus:1;mem:64;ports:4 a task instead of cpus:1;mem:64;ports:5"
    whys = {why.agent_id: (why.what, str(why.missing)) for why in found[1][0].agents}
    assert whys == {"a1": ("too-small", "ports:1"), "a2": ("too-small", "ports:5")}
    # Of a shape that one agent has ports for, that one is named.
    (offer,) = offers_in(bench.framework("f2", demand(shape(ports=3))))
    bench.accept(offer, task("t1", str(offer.resources)))
    found = asked(bench, shape(ports=2))
    assert reason(*found) == "all fitting agents are busy; a1 is the nearest, short of ports:1"
    assert asked(bench, shape(ports=1))[1][0].would_run


def test_a_limit_that_is_reached_is_the_reason_and_so_is_a_missing_attribute():
    bench = explained()
    registered(bench, "a1", rack="r1")
    wanted = shape(most=1, per="rack", placed={"r1": 1}, name="web")
    found = asked(bench, wanted)
    assert reason(*found) == (
        "at most 1 may run for each rack, and every agent is out "
        "(a1: as many as may run where rack is r1 do, or are offered it: 1)"
    )
    assert change(*found) == "let more than 1 run for each rack, or add an agent with another rack"
    found = asked(bench, shape(most=1, per="zone"))
    assert reason(*found).endswith("is out (a1: zone is not set, and at most 1 may run for each zone)")
    found = asked(bench, shape(most=1, placed={"a1": 1}))
    assert "as many as may run on it do" in reason(*found)


@pytest.mark.parametrize("everything", [False, True])
def test_a_plan_counts_no_more_tasks_than_may_run_beside_each_other(everything: bool, monkeypatch):
    bench = explained()
    for name, rack in (("a1", "r1"), ("a2", "r1"), ("a3", "r2")):
        registered(bench, name, rack=rack)
    if everything:
        monkeypatch.setattr("broker_mesos.core.cell.views.explain.MAX_TRIALS", 0)
    (found,) = asked(bench, shape(9, most=2, per="rack"), ignore_filters=True)[1]
    assert found.would_run and found.fits == 4
