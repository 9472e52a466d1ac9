"""Oversubscription in the cell: slack is offered once more, apart from everything else."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.explain import GetPlacement
from broker_mesos.core.api.maintenance import DrainAgents
from broker_mesos.core.cell.allocation.slack import left_of
from broker_mesos.core.cell.inputs import Configured, OperatorKill, OperatorMaintain
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentList, AgentTask
from broker_mesos.core.model.framework import REVOCABLE_RESOURCES, Demand, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, LaunchTasks, UpdateStatuses
from broker_mesos.core.protocol.events import Rescind
from broker_mesos.core.protocol.framework_messages import Decline
from broker_mesos.core.protocol.wire import Message
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in

S = TaskState
TAKES = (REVOCABLE_RESOURCES,)


@pytest.fixture
def bench() -> Bench:
    """f1 uses all of the agent a1; f2 takes slack."""
    bench = Bench()
    bench.framework("f1", failover_timeout=1e6)
    (offer,) = offers_in(bench.agent("a1", "cpus:4;mem:4096"))
    bench.accept(offer, task("t1", "cpus:4;mem:4096"))
    bench.report("a1", "t1", S.RUNNING)
    bench.framework("f2", capabilities=TAKES, failover_timeout=1e6)
    return bench


def says(bench: Bench, slack: str | None, agent: str = "a1") -> list[tuple[str, Message]]:
    """The agent's heartbeat."""
    found = bench.state.agents[agent]
    return bench.decide(
        AgentHeartbeat(
            agent_id=agent,
            session=found.session,
            applied=found.number,
            running=sum(not each.state.terminal for each in found.tasks.values()),
            slack=None if slack is None else Resources.parse(slack),
        )
    )


def slack_in(said: list[tuple[str, Message]]) -> list[Offer]:
    return [offer for offer in offers_in(said) if offer.revocable]


def test_slack_is_offered_as_revocable_to_who_can_do_with_it(bench):
    (offer,) = offers_in(says(bench, "cpus:2;mem:1024"))
    assert (offer.framework_id, offer.revocable) == ("f2", True)
    assert offer.resources == Resources.parse("cpus:2;mem:1024")
    assert not offers_in(says(bench, "cpus:2;mem:1024"))  # it is offered already


def test_a_task_on_slack_is_launched_as_revocable_and_takes_nothing_of_the_total(bench):
    (offer,) = offers_in(says(bench, "cpus:2;mem:1024"))
    said = bench.accept(offer, task("r1", "cpus:1;mem:512"), refuse=0)
    (launch,) = of(said, LaunchTasks)[0].launches
    assert launch.revocable
    agent = bench.state.agents["a1"]
    assert agent.used == Resources.parse("cpus:4;mem:4096") and agent.slack_held == offer.resources
    (rest,) = slack_in(said)
    assert rest.resources == Resources.parse("cpus:1;mem:512")
    bench.take_over(8)
    assert bench.state.tasks["r1"].revocable
    assert bench.state.agents["a1"].slack_held == Resources.parse("cpus:1;mem:512")
    (again,) = slack_in(bench.wait(1.1) + says(bench, "cpus:2;mem:1024"))
    assert again.resources == rest.resources  # never more than what is left


def test_slack_is_never_given_twice_and_comes_back_with_the_end_of_a_task(bench):
    (offer,) = offers_in(says(bench, "cpus:1;mem:1024"))
    assert not slack_in(bench.accept(offer, task("r1", "cpus:1;mem:1024")))
    assert not slack_in(says(bench, "cpus:1;mem:1024"))
    said = bench.report("a1", "r1", S.FINISHED, framework_id="f2")
    assert [each.resources for each in slack_in(said)] == [Resources.parse("cpus:1;mem:1024")]


def test_when_slack_shrinks_below_what_is_held_its_offers_are_rescinded_and_no_others(bench):
    bench.agent("a2", "cpus:4;mem:4096")
    (plain,) = bench.state.agents["a2"].offers.values()
    (offer,) = slack_in(says(bench, "cpus:2;mem:1024"))
    bench.accept(offer, task("r1", "cpus:1;mem:512"), refuse=0)
    assert not of(says(bench, "cpus:3;mem:2048"), Rescind)
    (rescind,) = of(says(bench, "cpus:1;mem:512"), Rescind)
    assert plain.offer_id not in rescind.offer_ids
    assert not left_of(bench.state.agents["a1"])
    assert of(says(bench, "cpus:0.5;mem:128"), Rescind) == []
    assert not slack_in(bench.wait(1.1))  # r1 holds more than there is


def test_an_agent_that_says_no_slack_any_more_lends_none(bench):
    says(bench, "cpus:2;mem:1024")
    assert of(says(bench, None), Rescind)
    assert not bench.state.oversubscribed


def test_a_new_session_says_its_slack_anew(bench):
    says(bench, "cpus:2;mem:1024")
    running = AgentTask(task_id="t1", framework_id="f1", resources=Resources.parse("cpus:4;mem:4096"))
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running,)))
    assert of(said, Rescind) and not offers_in(said)
    assert slack_in(says(bench, "cpus:2;mem:1024"))


def test_a_revocable_task_that_only_the_agent_knows_is_adopted_as_such(bench):
    tasks = (
        AgentTask(task_id="t1", framework_id="f1", resources=Resources.parse("cpus:4;mem:4096")),
        AgentTask(task_id="r9", framework_id="f2", resources=Resources.parse("cpus:1"), revocable=True),
    )
    bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=tasks))
    agent = bench.state.agents["a1"]
    assert agent.used == Resources.parse("cpus:4;mem:4096") and agent.slack_held == Resources.parse("cpus:1")


def test_declined_slack_hides_slack_and_nothing_else(bench):
    (offer,) = slack_in(says(bench, "cpus:2;mem:1024"))
    call = Decline(framework_id="f2", offer_ids=(offer.offer_id,), refuse_seconds=600)
    assert not offers_in(bench.decide(call))
    bench.state.frameworks["f1"].demand = Demand(version=10, wanted=False)
    said = bench.report("a1", "t1", S.FINISHED)
    assert [(each.framework_id, each.revocable) for each in offers_in(said)] == [("f2", False)]
    (plain,) = offers_in(said)
    bench.decide(Decline(framework_id="f2", offer_ids=(plain.offer_id,), refuse_seconds=600))
    (more,) = slack_in(says(bench, "cpus:3;mem:2048"))  # more than was refused
    assert more.resources == Resources.parse("cpus:3;mem:2048")


def test_slack_counts_for_no_quota_and_no_share(bench):
    roles = {"*": RoleSettings(limit={"cpus": 4_000, "mem": 4_096_000})}
    bench.decide(Configured(ClusterConfig(version=1, roles=roles)))
    (offer,) = slack_in(says(bench, "cpus:2;mem:1024"))
    bench.accept(offer, task("r1", "cpus:2;mem:1024"))
    assert not bench.state.frameworks["f2"].held.get("*")
    assert bench.state.frameworks["f2"].used == Resources.parse("cpus:2;mem:1024")


def test_several_takers_share_the_slack(bench):
    bench.framework("f3", capabilities=TAKES)
    bench.framework("f4")
    for number in range(2, 6):
        (offer,) = offers_in(bench.agent(f"a{number}", "cpus:4;mem:4096"))
        bench.accept(offer, task(f"x{number}", "cpus:4;mem:4096"))
    said = []
    for number in range(2, 6):
        said += slack_in(says(bench, "cpus:1;mem:256", f"a{number}"))
    assert sorted(each.framework_id for each in said) == ["f2", "f2", "f3", "f3"]


def test_a_stated_demand_for_slack_is_met_by_slack_only(bench):
    wanted = Shape(resources=Resources.parse("cpus:0.5;mem:256"), count=3, revocable=True)
    bench.framework("f3", Demand(version=1, shapes=(wanted,)), capabilities=TAKES)
    bench.state.frameworks["f2"].demand = Demand(version=10, wanted=False)
    bench.state.frameworks["f1"].demand = Demand(version=10, wanted=False)
    assert not offers_in(bench.agent("a2", "cpus:4;mem:4096"))
    (offer,) = offers_in(says(bench, "cpus:4;mem:1024"))
    assert (offer.framework_id, offer.revocable) == ("f3", True)
    assert offer.resources == Resources.parse("cpus:1.5;mem:768")


def test_a_stated_demand_for_more_than_slack_gets_none(bench):
    wanted = Shape(resources=Resources.parse("cpus:0.5;mem:256"), count=3)
    bench.framework("f3", Demand(version=1, shapes=(wanted,)), capabilities=TAKES)
    bench.state.frameworks["f2"].demand = Demand(version=10, wanted=False)
    assert not offers_in(says(bench, "cpus:4;mem:1024"))


def test_nothing_of_a_draining_agent_is_offered_and_its_revocable_tasks_go_too(bench):
    (offer,) = slack_in(says(bench, "cpus:2;mem:1024"))
    bench.accept(offer, task("r1", "cpus:1;mem:512"), refuse=0)
    said = bench.decide(OperatorMaintain(DrainAgents(agent_ids=("a1",))))
    assert of(said, Rescind) and not slack_in(says(bench, "cpus:3;mem:1024"))
    assert bench.state.tasks["r1"].kill_requested


@pytest.mark.parametrize("killed", [False, True])
def test_an_evicted_task_says_so_unless_it_was_to_be_killed_anyway(bench, killed):
    (offer,) = slack_in(says(bench, "cpus:2;mem:1024"))
    bench.accept(offer, task("r1", "cpus:1;mem:512"))
    if killed:
        bench.decide(OperatorKill("r1"))
    status = bench.status("a1", "r1", S.KILLED, framework_id="f2")
    status = status.model_copy(update={"reason": Reason.CONTAINER_PREEMPTED})
    call = UpdateStatuses(agent_id="a1", session=bench.session("a1"), statuses=(status,))
    (told,) = updates_in(bench.decide(call))
    assert told.reason is (None if killed else Reason.CONTAINER_PREEMPTED)


@pytest.mark.parametrize(("slack", "runs"), [(None, False), ("cpus:0.5;mem:64", False), ("cpus:2;mem:1024", True)])
def test_it_is_told_whether_there_is_slack_for_a_task(bench, slack, runs):
    bench.state.frameworks["f2"].demand = Demand(version=10, wanted=False)
    says(bench, slack)
    shape = Shape(resources=Resources.parse("cpus:1;mem:256"), revocable=True)
    asked = GetPlacement(framework_id="f2", shape=shape)
    found = placement(bench.state, bench.cell.policy, asked, bench.now)
    assert found.would_run is runs and found.fits == (2 if runs else 0)
    assert runs or ("slack" in found.unwanted and "slack" in found.agents[0].message)
    other = placement(bench.state, bench.cell.policy, GetPlacement(framework_id="f1", shape=shape), bench.now)
    assert not other.would_run and "REVOCABLE_RESOURCES" in other.unwanted
