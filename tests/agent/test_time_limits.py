"""Tasks that may run for so long and no longer."""

from __future__ import annotations

from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.ports.containerizer import Recovered
from tests.agent.support import Agent, launch, task


def test_a_task_is_ended_when_its_time_limit_is_reached_and_has_failed_for_that_reason(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, task("t1", max_completion_time=30.0), task("t2")))
    agent.after(100.0)  # a slow start is not its time
    agent.started("t1", "t2")
    agent.after(29.0)
    assert agent.killed == []
    agent.after(1.5)
    assert agent.killed == ["t1"]
    agent.after(10.0)
    assert agent.killed == ["t1"]
    agent.exited("t1", None, 15)
    [status] = [each for each in agent.statuses() if each.task_id == "t1" and each.state.terminal]
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.MAX_COMPLETION_TIME_REACHED)
    assert "time limit of 30 s" in status.message and status.signal == 15


def test_a_task_that_ends_in_time_is_not_ended_for_it(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", max_completion_time=30.0)))
    agent.started("t1")
    agent.exited("t1")
    agent.after(60.0)
    assert agent.killed == []


def test_a_killed_task_stays_killed_though_its_time_limit_is_reached_meanwhile(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", max_completion_time=1.0)))
    agent.started("t1")
    agent.state.table.kill_all(agent.instant)
    agent.after(2.0)
    agent.exited("t1", None, 15)
    assert [each.state for each in agent.statuses() if each.state.terminal] == [TaskState.KILLED]


def test_a_time_limit_goes_on_when_the_agent_is_restarted(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", max_completion_time=30.0)))
    agent.started("t1")
    started_at = agent.instant.wall
    agent.after(20.0)
    agent.restart(Recovered("t1", running=True, started_at=started_at, exited=None))
    agent.after(9.0)
    assert agent.killed == []
    agent.after(1.5)
    assert agent.killed == ["t1"]
