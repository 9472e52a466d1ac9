"""Agents that fall silent, leave, or are marked as gone."""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.inputs import OperatorMarkGone, Reconnected
from broker_mesos.core.model.agent import AgentInfo, AgentList
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import (
    KillTasks,
    LaunchTasks,
    RegisterAgent,
    UnregisterAgent,
)
from broker_mesos.core.protocol.events import Failure
from broker_mesos.core.protocol.framework_messages import Accept, Acknowledge, Kill
from broker_mesos.core.protocol.records import AgentStatus, RecordKind
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in
from tests.core.cell.launched import bench_with_a_task, heartbeat, running


@pytest.fixture
def bench() -> Bench:
    return bench_with_a_task()


def test_silent_agent_is_declared_unreachable_and_its_tasks_with_it(bench):
    said = bench.wait(26.1)
    assert bench.state.agents["a1"].state is AgentStatus.UNREACHABLE
    assert bench.session("a1") == ""
    assert [each.state for each in updates_in(said)] == [TaskState.UNREACHABLE]
    assert [each.agent_id for each in of(said, Failure)] == ["a1"]
    assert bench.state.total == Resources()


def test_offer_is_rescinded_when_its_agent_goes_unreachable(bench):
    bench.wait(26.1)
    assert not bench.state.offers and not bench.state.agents["a1"].offered


def test_heartbeats_keep_an_agent(bench):
    for _ in range(10):
        heartbeat(bench, 1, 1)
    assert bench.state.agents["a1"].state is AgentStatus.REGISTERED


def test_owner_that_was_blind_does_not_judge_the_silence_before(bench):
    bench.wait(24)
    bench.decide(Reconnected())
    bench.wait(24)
    assert bench.state.agents["a1"].state is AgentStatus.REGISTERED
    bench.wait(3)
    assert bench.state.agents["a1"].state is AgentStatus.UNREACHABLE


def test_new_owner_gives_every_agent_its_full_patience(bench):
    bench.wait(20)
    bench.take_over(term=8)
    bench.wait(24)
    assert bench.state.agents["a1"].state is AgentStatus.REGISTERED


def test_unreachable_agent_that_comes_back_keeps_its_running_tasks(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.wait(27)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running(),)))
    assert [each.state for each in updates_in(said)] == [TaskState.RUNNING]
    assert str(bench.state.agents["a1"].used) == "cpus:1;mem:1024"


def test_launch_that_waited_while_its_agent_was_unreachable_is_dropped(bench):
    bench.wait(27)
    (status,) = updates_in(bench.agent("a1", "cpus:4;mem:4096", attempt="2"))
    assert (status.task_id, status.state) == ("t1", TaskState.DROPPED)


def test_task_that_ended_while_its_agent_was_away_ends_once(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.wait(27)
    outcome = bench.status("a1", "t1", TaskState.FAILED)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(outcomes=(outcome,)))
    assert [each.state for each in updates_in(said)] == [TaskState.FAILED]
    assert not bench.state.agents["a1"].used


def test_kill_is_remembered_for_an_agent_that_is_away(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.wait(27)
    assert of(bench.decide(Kill(framework_id="f1", task_ids=("t1",))), KillTasks) == []
    bench.take_over(term=8)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running(),)))
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]


def leave(bench: Bench, **listing):
    call = UnregisterAgent(agent_id="a1", session=bench.session("a1"), list=AgentList(**listing))
    return bench.decide(call)


def test_agent_that_leaves_with_nothing_running_is_gone_at_once(bench):
    bench.report("a1", "t1", TaskState.FINISHED)
    leave(bench, applied=1)
    assert not bench.state.agents and not bench.state.offers
    assert not bench.stored[RecordKind.AGENTS]
    assert bench.state.total == Resources()


def test_launch_that_a_leaving_agent_had_not_applied_is_dropped_at_once(bench):
    (status,) = updates_in(leave(bench, applied=0))
    assert (status.task_id, status.state) == ("t1", TaskState.DROPPED)
    assert not bench.state.agents


def test_agent_that_leaves_its_tasks_running_gets_no_offers_and_keeps_them_on_its_return(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    assert updates_in(leave(bench, applied=1, tasks=(running(),))) == []
    assert not bench.state.offers
    bench.framework("f2")
    assert not bench.state.offers
    bench.wait(10)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running(),)))
    assert updates_in(said) == []
    assert bench.state.tasks["t1"].state is TaskState.RUNNING
    assert len(bench.state.offers) == 1


def test_agent_that_leaves_and_does_not_return_is_unreachable_in_the_end(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    leave(bench, applied=1, tasks=(running(),))
    assert [each.state for each in updates_in(bench.wait(27))] == [TaskState.UNREACHABLE]


def test_launch_of_the_batch_in_which_its_agent_leaves_is_dropped_and_never_sent(bench):
    bench.report("a1", "t1", TaskState.FINISHED)
    (offer,) = bench.state.offers.values()
    accept = Accept(
        framework_id="f1", offer_ids=(offer.offer_id,), tasks=(task("t2", "cpus:1;mem:1"),), refuse_seconds=0
    )
    goodbye = UnregisterAgent(agent_id="a1", session=bench.session("a1"), list=AgentList(applied=1))
    agent = AgentInfo(agent_id="a1", resources=Resources.parse("cpus:4;mem:4096"))
    said = bench.decide(accept, goodbye, RegisterAgent(agent=agent, attempt="2", cells=1))
    assert [(each.task_id, each.state) for each in updates_in(said)] == [("t2", TaskState.DROPPED)]
    assert not of(said, LaunchTasks)
    bench.decide(UnregisterAgent(agent_id="a1", session=bench.session("a1"), list=AgentList()))
    assert not bench.state.agents


def test_good_bye_of_an_earlier_session_changes_nothing(bench):
    call = UnregisterAgent(agent_id="a1", session="older", list=AgentList())
    bench.decide(call)
    assert bench.session("a1")


def test_many_agents_are_not_declared_unreachable_at_once():
    bench = Bench()
    for number in range(40):
        bench.agent(f"a{number}", "cpus:1;mem:64")
    bench.wait(26.5)
    silent = [each for each in bench.state.agents.values() if each.state is AgentStatus.UNREACHABLE]
    assert len(silent) == 2
    bench.wait(100)
    assert all(each.state is AgentStatus.UNREACHABLE for each in bench.state.agents.values())


def test_tasks_of_an_agent_that_is_marked_gone_end_for_everybody(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.wait(27)
    (status,) = updates_in(bench.decide(OperatorMarkGone("a1")))
    assert (status.task_id, status.state) == ("t1", TaskState.GONE_BY_OPERATOR)
    assert not bench.state.agents["a1"].used
    assert updates_in(bench.decide(OperatorMarkGone("a1"))) == []


def test_agent_that_was_marked_gone_and_comes_back_has_its_old_tasks_killed(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.decide(OperatorMarkGone("a1"), Acknowledge(framework_id="f1", task_ids=("t1",)))
    bench.take_over(term=8)
    old = bench.status("a1", "t0", TaskState.FINISHED)
    listing = AgentList(tasks=(running(),), outcomes=(old,))
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=listing)
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]
    assert updates_in(said) == []
    assert bench.state.agents["a1"].state is AgentStatus.REGISTERED
    assert [str(each.resources) for each in offers_in(said)] == ["cpus:4;mem:4096"]


def test_unreachable_agent_without_tasks_is_forgotten_after_its_time(bench):
    bench.agent("a2", "cpus:1;mem:64")
    bench.wait(60)
    assert bench.state.agents["a2"].state is AgentStatus.UNREACHABLE
    bench.state.seconds += bench.limits.forget_agent
    bench.wait(2)
    assert "a2" not in bench.state.agents and "a2" not in bench.stored[RecordKind.AGENTS]
    assert "a1" in bench.state.agents  # it has a task
