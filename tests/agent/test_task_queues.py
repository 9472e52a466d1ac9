"""Tasks in line on an agent: turns, patience, kills, and what a restart leaves of them."""

from __future__ import annotations

import pytest

from broker_mesos.agent.tasks import QUEUE_TIMEOUT_SECONDS
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchItem, LaunchTasks
from broker_mesos.ports.containerizer import Recovered, TaskExited, TaskStarted
from tests.agent.support import Agent, kill, task


@pytest.fixture
def agent() -> Agent:
    return Agent(Resources.parse("cpus:2;mem:200"))


@pytest.fixture
def session(agent: Agent) -> str:
    return agent.register()


def line(session: str, holding: int, waiting: int, number: int = 1) -> LaunchTasks:
    return LaunchTasks(
        session=session,
        number=number,
        launches=tuple(
            LaunchItem(task=task(f"t{at}", line="l"), framework_id="f1", waits=at >= holding)
            for at in range(holding + waiting)
        ),
    )


def exits(agent: Agent, *task_ids: str) -> list:
    return agent.carry(
        agent.state.on_container_events([TaskExited(each, 0, None, 5.0) for each in task_ids], agent.instant)
    )


def test_those_in_line_start_where_others_have_ended(agent: Agent, session: str) -> None:
    agent.command(line(session, 2, 3))
    assert agent.launched == ["t0", "t1"]
    exits(agent, "t1")
    assert agent.launched == ["t0", "t1", "t2"]
    exits(agent, "t0", "t2")
    assert agent.launched[3:] == ["t3", "t4"]
    exits(agent, "t3", "t4")
    assert not agent.state.tasks and not agent.state.table.used


def test_no_more_run_at_once_than_fit(agent: Agent, session: str) -> None:
    agent.command(line(session, 2, 2))
    assert agent.state.table.used == Resources.parse("cpus:2;mem:200")
    exits(agent, "t0")
    assert agent.state.table.used == Resources.parse("cpus:2;mem:200")


def test_one_in_line_whose_line_has_ended_starts_if_it_fits(agent: Agent, session: str) -> None:
    agent.command(line(session, 0, 3))
    assert agent.launched == ["t0"]  # and the others wait for what it holds
    exits(agent, "t0")
    exits(agent, "t1")
    assert agent.launched == ["t0", "t1", "t2"]


def test_who_waits_for_too_long_is_dropped_and_may_run_elsewhere(agent: Agent, session: str) -> None:
    agent.command(line(session, 2, 2))
    agent.now += QUEUE_TIMEOUT_SECONDS + 0.1
    assert agent.state.next_due() <= agent.now
    agent.due()
    dropped = {s.task_id: s for s in agent.state.outcomes.unacknowledged()}
    assert set(dropped) == {"t2", "t3"} and set(agent.state.tasks) == {"t0", "t1"}
    assert {s.state for s in dropped.values()} == {TaskState.DROPPED}
    assert {s.reason for s in dropped.values()} == {Reason.LAUNCH_REFUSED}
    exits(agent, "t0", "t1")
    assert agent.launched == ["t0", "t1"] and not agent.state.table.used


def test_one_in_line_is_killed_at_once_and_never_runs(agent: Agent, session: str) -> None:
    agent.command(line(session, 1, 1))
    agent.command(kill(session, 2, "t1"))
    assert agent.killed == []
    [status] = agent.state.outcomes.unacknowledged()
    assert status.state is TaskState.KILLED and status.reason is Reason.TASK_KILLED_DURING_LAUNCH
    exits(agent, "t0")
    assert agent.launched == ["t0"]


def test_an_agent_that_ends_its_tasks_starts_none_of_those_in_line(agent: Agent, session: str) -> None:
    agent.command(line(session, 1, 2))
    agent.carry(agent.state.table.kill_all(agent.instant))
    exits(agent, "t0")
    assert agent.launched == ["t0"] and not agent.state.tasks


def test_what_stood_in_line_when_the_agent_died_goes_elsewhere(agent: Agent, session: str) -> None:
    agent.command(line(session, 2, 2))
    exits(agent, "t0")
    assert agent.launched == ["t0", "t1", "t2"]
    agent.restart(Recovered("t1", 4.0, True, None), Recovered("t2", 4.5, True, None))
    assert {s.task_id: s.state for s in agent.state.outcomes.unacknowledged()} == {
        "t0": TaskState.FINISHED,
        "t3": TaskState.DROPPED,
    }
    assert agent.state.table.used == Resources.parse("cpus:2;mem:200")
    exits(agent, "t1", "t2")
    assert not agent.state.table.used


def test_a_list_names_first_those_that_hold_something(agent: Agent, session: str) -> None:
    agent.command(line(session, 1, 2))
    agent.carry(agent.state.on_container_events([TaskStarted("t0", 7, 1.0)], agent.instant))
    exits(agent, "t0")
    listed = agent.state.task_list().tasks
    assert [(each.task_id, each.waits, each.state) for each in listed] == [
        ("t1", False, TaskState.STARTING),
        ("t2", True, TaskState.STAGING),
    ]


def test_a_task_that_was_listed_in_line_can_still_be_dropped(agent: Agent, session: str) -> None:
    agent.command(line(session, 1, 1))
    agent.state.task_list()
    assert not agent.state.tasks["t1"].reported


def test_ends_gather_while_others_stand_in_line(agent: Agent, session: str) -> None:
    agent.command(line(session, 1, 3))
    exits(agent, "t0")
    assert agent.state.table.send_at(agent.now) > agent.now
