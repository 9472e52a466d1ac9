"""Demands for isolation: which agents are offered, what an accept may launch on them, and how it is explained."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.explain import GetPlacement, Placement
from broker_mesos.core.api.explain_reasons import change, reason
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_isolation import LEVEL_WORDS, TaskIsolation, demanded_words
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks, RegisterAgent
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in

LIMITS = LEVEL_WORDS["limits"]
NOT_DELEGATED = "cgroup v2 is not delegated to us"


def registered(bench: Bench, name: str, words: tuple[str, ...], reason: str = "", attempt: str = "1"):
    resources = Resources.parse("cpus:4;mem:4096")
    info = AgentInfo(agent_id=name, hostname=name, resources=resources, isolation=words, not_isolated=reason)
    return bench.decide(RegisterAgent(agent=info, attempt=attempt, cells=1))


def shape_for(demand: TaskIsolation, count: int = 1, need: str = "cpus:1;mem:64") -> Shape:
    return Shape(resources=Resources.parse(need), count=count, isolation=demanded_words(demand, None))


def test_only_agents_that_hold_tasks_to_what_is_demanded_are_offered() -> None:
    bench = Bench()
    wanted = shape_for(TaskIsolation(level="limits"), count=100)
    bench.framework("f1", demand=Demand(version=1, shapes=(wanted,)))
    assert offers_in(registered(bench, "old", ())) == []
    assert offers_in(registered(bench, "some", ("mem",), NOT_DELEGATED)) == []
    (offer,) = offers_in(registered(bench, "new", ("cpu", *LIMITS)))
    assert offer.agent_id == "new" and offer.isolation == ("cpu", *LIMITS)


def test_an_agent_that_comes_back_with_less_is_not_offered_any_more_and_its_offer_ends() -> None:
    bench = Bench()
    demand = TaskIsolation(level="limits")
    bench.framework("f1", demand=Demand(version=1, shapes=(shape_for(demand),)))
    (offer,) = offers_in(registered(bench, "a1", LIMITS))
    assert offers_in(registered(bench, "a1", (), attempt="2")) == []
    (dropped,) = updates_in(bench.accept(offer, task("t1", "cpus:1").model_copy(update={"isolation": demand})))
    assert (dropped.state, dropped.reason) == (TaskState.DROPPED, Reason.INVALID_OFFERS)


@pytest.mark.parametrize("stated", [True, False])
def test_a_task_is_not_launched_where_its_demand_does_not_hold(stated: bool) -> None:
    bench = Bench()
    shapes = (shape_for(TaskIsolation(), need="cpus:4;mem:4096"),) if stated else None
    bench.framework("f1", demand=Demand(version=1, shapes=shapes))
    (offer,) = offers_in(registered(bench, "a1", LIMITS))
    first = task("t1", "cpus:1").model_copy(update={"isolation": TaskIsolation(network="none")})
    second = task("t2", "cpus:1").model_copy(update={"limits": Resources.parse("cpus:2")})
    third = task("t3", "cpus:1").model_copy(update={"isolation": TaskIsolation(level="limits")})
    said = bench.accept(offer, first, second, third)
    refused = updates_in(said)
    assert [(each.task_id, each.state, each.reason) for each in refused] == [
        ("t1", TaskState.ERROR, Reason.TASK_INVALID),
        ("t2", TaskState.ERROR, Reason.TASK_INVALID),
    ]
    assert "demands isolation that its agent does not have: fs, net, pid;" in refused[0].message
    assert [item.task.task_id for each in of(said, LaunchTasks) for item in each.launches] == ["t3"]


def asked(bench: Bench, shape: Shape) -> tuple[Shape, list[Placement]]:
    request = GetPlacement(framework_id="f1", shape=shape)
    return shape, [placement(bench.state, bench.cell.policy, request, bench.now)]


def test_a_demand_that_no_agent_meets_is_named_with_the_reason_of_one() -> None:
    bench = Bench()
    bench.framework("f1", demand=Demand(version=1, wanted=False))
    registered(bench, "a1", (), NOT_DELEGATED)
    registered(bench, "a2", (*LIMITS, "fs", "pid"))
    found = asked(bench, shape_for(TaskIsolation(network="none")))
    assert reason(*found) == "no agent can: net (a1: it does not hold tasks to fs kill mem net pid pids: " + (
        NOT_DELEGATED + ")"
    )
    assert change(*found).startswith("start an agent that holds tasks to it: bmesos agent --isolation limits")
    registered(bench, "a3", ("net",))
    assert reason(*asked(bench, shape_for(TaskIsolation(network="none")))).startswith(
        "no agent holds tasks to fs kill mem net pid pids (a1: "
    )


def test_a_task_with_an_image_is_for_agents_that_run_containers_whatever_they_hold_other_tasks_to() -> None:
    bench = Bench()
    bench.framework("f1", demand=Demand(version=1, wanted=False))
    wanted = shape_for(TaskIsolation(image="python:3.13", level="sandboxed", network="none"))
    resources = Resources.parse("cpus:4;mem:4096")
    info = AgentInfo(
        agent_id="a1",
        hostname="a1",
        resources=resources,
        isolation=LIMITS,
        not_isolated=NOT_DELEGATED,
        isolation_missing={"images": "there is no container engine at /run/docker.sock"},
    )
    bench.decide(RegisterAgent(agent=info, attempt="1", cells=1))
    why = "(a1: it does not run tasks in containers: there is no container engine at /run/docker.sock)"
    found = asked(bench, wanted)
    assert reason(*found) == f"no agent can: images {why}"
    assert change(*found).startswith("start a container engine (Docker or Podman) and then an agent on its machine")
    registered(bench, "a2", ("images",))
    assert any(each.would_run for each in asked(bench, wanted)[1])


def test_agents_that_do_not_meet_a_demand_are_told_from_those_that_are_busy_and_too_small() -> None:
    bench = Bench()
    bench.framework("f1", demand=Demand(version=1, wanted=False))
    registered(bench, "a1", (), NOT_DELEGATED)
    registered(bench, "a2", LIMITS)
    large = asked(bench, shape_for(TaskIsolation(level="limits"), need="cpus:64"))
    assert reason(*large) == (
        "of the agents that hold tasks to what it demands: it needs 64 cpus a task; the largest agent has 4"
    )
    ((why,),) = [[each for each in p.agents if each.what == "isolation"] for p in large[1]]
    assert why.message == f"it does not hold tasks to kill mem pids: {NOT_DELEGATED}"
    assert reason(*asked(bench, shape_for(TaskIsolation(level="limits")))).startswith("there is room")
