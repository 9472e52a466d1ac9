"""Two machines with one agent id: a clone, or a copied work folder."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.cells import GetCell
from broker_mesos.core.cell.views.views import view
from broker_mesos.core.model.agent import AgentList
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import AgentListed, AgentRefused, AgentRegistered, UnregisterAgent
from tests.core.cell.harness import of, updates_in
from tests.core.cell.test_agents import bench, running

__all__ = ["bench"]


def test_machines_that_replace_each_other_under_one_id_are_reported_and_lose_no_tasks(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    listing = AgentList(tasks=(running(),))
    for attempt in ("p.1", "q.1"):
        bench.agent("a1", "cpus:4;mem:4096", attempt=attempt, boot_id="b1", listing=listing)
    assert not any(each.warnings for each in bench.decisions)
    bench.agent("a1", "cpus:4;mem:4096", attempt="p.2", boot_id="b1", listing=listing)
    bench.wait(20)  # the session of p is not heard of any more
    bench.agent("a1", "cpus:4;mem:4096", attempt="q.2", boot_id="b1")
    bench.decide(AgentListed(agent_id="a1", session=bench.session("a1"), list=AgentList(applied=9)))
    warnings = [warning for each in bench.decisions for warning in each.warnings]
    assert len(warnings) == 1 and "two machines use the agent id a1" in warnings[0]
    assert bench.state.tasks["t1"].state is TaskState.RUNNING
    (agent,) = view(bench.state, "m", GetCell(parts=("agents",)), bench.now).agents
    assert agent.contested
    # One of them is stopped: what the other one does not know is lost then.
    bench.wait(130)
    bench.agent("a1", "cpus:4;mem:4096", attempt="q.3", boot_id="b1")
    assert "t1" not in bench.state.tasks or bench.state.tasks["t1"].state is TaskState.LOST


def test_agent_that_is_restarted_again_and_again_is_not_taken_for_two_machines(bench):
    for process in "pqrstuvw":
        for number in (1, 2):
            bench.agent("a1", "cpus:4;mem:4096", attempt=f"{process}.{number}")
    assert not any(each.warnings for each in bench.decisions)


REPLACEMENTS = {
    "another-boot": ({"boot_id": "b2"}, AgentList()),
    "another-boot-with-outcomes": (
        {"boot_id": "b2"},
        AgentList(outcomes=(TaskStatus(task_id="t1", state=TaskState.LOST, uuid="u9", framework_id="f1"),)),
    ),
    "same-boot": ({"boot_id": "b1"}, AgentList()),
}


def register_first(bench, attempt="p.1"):
    """The agent that runs t1, as in its own list, with a session."""
    bench.report("a1", "t1", TaskState.RUNNING)
    return bench.agent("a1", "cpus:4;mem:4096", attempt=attempt, boot_id="b1", listing=AgentList(tasks=(running(),)))


@pytest.mark.parametrize("kind", sorted(REPLACEMENTS))
def test_clone_that_registers_while_the_first_agent_is_alive_is_refused_and_loses_no_task(bench, kind):
    more, listing = REPLACEMENTS[kind]
    register_first(bench)
    session = bench.session("a1")
    bench.wait(5, agents=True)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="q.1", listing=listing, **more)
    (refused,) = of(said, AgentRefused)
    assert refused.attempt == "q.1" and refused.retry_after > 0 and "a1" in refused.message
    assert updates_in(said) == [] and bench.session("a1") == session
    assert bench.state.tasks["t1"].state is TaskState.RUNNING


def test_clone_that_was_refused_is_reported_when_the_first_agent_is_back(bench):
    register_first(bench)
    bench.agent("a1", "cpus:4;mem:4096", attempt="q.1", boot_id="b2")
    assert not any(each.warnings for each in bench.decisions)
    listing = AgentList(tasks=(running(),))
    bench.agent("a1", "cpus:4;mem:4096", attempt="p.2", boot_id="b1", listing=listing)
    (warning,) = [warning for each in bench.decisions for warning in each.warnings]
    assert "two machines use the agent id a1" in warning
    (agent,) = view(bench.state, "m", GetCell(parts=("agents",)), bench.now).agents
    assert agent.contested


def test_machine_that_was_rebooted_registers_when_its_former_session_has_fallen_silent(bench):
    register_first(bench)
    bench.wait(2.5 * bench.limits.agent_beat + 0.1)
    assert bench.state.agents["a1"].session
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="q.1", boot_id="b2")
    assert of(said, AgentRegistered) and [each.state for each in updates_in(said)] == [TaskState.LOST]
    assert not any(each.warnings for each in bench.decisions)


def test_machine_that_was_rebooted_within_seconds_registers_after_refusals_and_is_no_clone(bench):
    register_first(bench)
    for number in range(1, 7):
        said = bench.agent("a1", "cpus:4;mem:4096", attempt=f"q.{number}", boot_id="b2")
        if of(said, AgentRegistered):
            break
        bench.wait(3)
    assert [each.state for each in updates_in(said)] == [TaskState.LOST]
    assert not any(each.warnings for each in bench.decisions)


def test_machine_that_was_shut_down_and_started_registers_at_once(bench):
    register_first(bench)
    left = AgentList(tasks=(running(),))
    bench.decide(UnregisterAgent(agent_id="a1", session=bench.session("a1"), list=left))
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="q.1", boot_id="b2")
    assert of(said, AgentRegistered) and [each.state for each in updates_in(said)] == [TaskState.LOST]


def test_machine_without_tasks_that_was_rebooted_registers_at_once(bench):
    bench.agent("a2", "cpus:4;mem:4096", attempt="p.1", boot_id="b1")
    assert of(bench.agent("a2", "cpus:4;mem:4096", attempt="q.1", boot_id="b2"), AgentRegistered)


def test_restarted_agent_that_lists_its_tasks_registers_at_once(bench):
    register_first(bench)
    listing = AgentList(tasks=(running(),))
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="q.1", boot_id="b1", listing=listing)
    assert of(said, AgentRegistered) and updates_in(said) == []


def test_new_owner_refuses_a_clone_until_the_first_agent_could_have_reported(bench):
    register_first(bench)
    bench.take_over(term=8)
    assert of(bench.agent("a1", "cpus:4;mem:4096", attempt="q.1", boot_id="b2"), AgentRefused)
    assert bench.state.tasks["t1"].state is TaskState.RUNNING
