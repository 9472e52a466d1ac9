"""What an agent makes of what it finds when it starts."""

from __future__ import annotations

import pytest

from broker_mesos.agent.effects import Forget, KillProcess
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import AcknowledgeStatuses, RegisterAgent, Reregister
from broker_mesos.ports.containerizer import Recovered, SupervisorBack, SupervisorLost, TaskExited
from tests.agent.support import Agent, kill, launch, messages, task


def test_a_restarted_agent_adopts_what_still_runs(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", "cpus:3")))
    agent.restart(Recovered("t1", True, 4.0, None))
    message = agent.registration()
    assert [(t.task_id, t.state, t.started_at) for t in message.list.tasks] == [("t1", TaskState.RUNNING, 4.0)]
    second = agent.registered(message.attempt)
    agent.command(launch(second, 1, task("t2", "cpus:2")))
    assert agent.launched == ["t1"] and agent.killed == []


def test_a_restarted_agent_reports_what_ended_meanwhile(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.restart(Recovered("t1", False, 4.0, TaskExited("t1", 7, None, 8.0)))
    [status] = agent.registration().list.outcomes
    assert (status.state, status.exit_code, status.started_at, status.timestamp) == (
        TaskState.FAILED,
        7,
        4.0,
        8.0,
    )


def test_a_restarted_agent_sends_unacknowledged_outcomes_under_the_same_uuid(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [status] = agent.statuses()
    agent.restart(Recovered("t1", False, 4.0, TaskExited("t1", 0, None, 8.0)))
    message = agent.registration()
    assert message.list.outcomes == (status,)
    agent.registered(message.attempt)
    assert Forget("t1") in agent.command(AcknowledgeStatuses(uuids=(status.uuid,)))


@pytest.mark.parametrize(("boot", "state"), [("boot-1", TaskState.DROPPED), ("boot-2", TaskState.LOST)])
def test_a_journaled_task_that_the_containerizer_does_not_know_never_began_unless_the_machine_was_restarted(
    agent: Agent, session: str, boot: str, state: TaskState
) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.restart(boot_id=boot)
    [status] = agent.registration().list.outcomes
    assert (status.state, status.reason) == (state, Reason.AGENT_RESTARTED)
    agent.restart()
    assert agent.registration().list.outcomes == (status,)
    assert agent.used == Resources.EMPTY


def test_a_reboot_loses_what_ran_and_keeps_what_had_ended(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    gone = Recovered("t1", False, 4.0, TaskExited("t1", None, None, 9.0))
    ended = Recovered("t2", False, 4.0, TaskExited("t2", 0, None, 8.0))
    agent.restart(gone, ended, boot_id="boot-2")
    outcomes = {s.task_id: s for s in agent.registration().list.outcomes}
    assert outcomes["t1"].state is TaskState.LOST and outcomes["t1"].reason is Reason.AGENT_RESTARTED
    assert "machine" in outcomes["t1"].message
    assert outcomes["t2"].state is TaskState.FINISHED


def test_a_kill_that_was_asked_for_before_the_restart_is_not_forgotten(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.command(kill(session, 2, "t1"))
    agent.killed.clear()
    agent.restart(Recovered("t1", True, 4.0, None))
    assert agent.killed == ["t1"]
    agent.exited("t1", None, 15)
    assert agent.journal.saved.outcomes["t1"].state is TaskState.KILLED


def test_processes_that_no_journal_knows_are_ended_and_forgotten(agent: Agent, session: str) -> None:
    ended = Recovered("t8", False, 4.0, TaskExited("t8", 0, None, 8.0))
    assert agent.restart(Recovered("t7", True, 4.0, None), ended) == [KillProcess("t7", 0.0), Forget("t8")]
    assert agent.exited("t7", None, 9) == [Forget("t7")]


def test_an_agent_that_lends_less_than_before_takes_nothing_until_enough_has_ended(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", "cpus:2"), task("t2", "cpus:2")))
    agent.total = Resources.parse("cpus:2;mem:4096")
    agent.restart(Recovered("t1", True, 4.0, None), Recovered("t2", True, 4.0, None))
    second = agent.register()
    agent.command(launch(second, 1, task("t3", "cpus:1")))
    agent.exited("t1")
    agent.command(launch(second, 2, task("t4", "cpus:1")))
    agent.exited("t2")
    agent.command(launch(second, 3, task("t5", "cpus:1")))
    assert agent.launched == ["t1", "t2", "t5"]


def test_registration_in_a_recovery_names_acknowledged_outcomes_too(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [status] = agent.statuses()
    agent.command(AcknowledgeStatuses(uuids=(status.uuid,)))
    agent.now += 10
    [message] = messages(agent.command(Reregister(recover=True)), RegisterAgent)
    assert message.list.outcomes == (status,)
    session = agent.registered(message.attempt)
    agent.now += 10
    [message] = messages(agent.command(Reregister(session=session)), RegisterAgent)
    assert message.list.outcomes == ()


def test_a_launch_of_another_session_is_dropped(agent: Agent, session: str) -> None:
    assert agent.command(launch("another", 1, "t1")) == []
    assert agent.launched == []
    agent.command(launch(session, 1, "t2"))
    assert agent.launched == ["t2"]


def test_an_agent_whose_tasks_cannot_be_started_lends_nothing_until_they_can(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", "cpus:1")))
    agent.started("t1")
    lost = agent.carry(agent.state.on_container_events([SupervisorLost("no process")], agent.instant))
    [message] = messages(lost, RegisterAgent)
    assert message.agent.resources == agent.used and agent.state.table.backoff.take_reason() == "no process"
    agent.registered(message.attempt)
    assert agent.carry(agent.state.on_container_events([SupervisorLost("no process")], agent.instant)) == []
    back = agent.carry(agent.state.on_container_events([SupervisorBack()], agent.instant))
    [message] = messages(back, RegisterAgent)
    assert message.agent.resources == agent.total
