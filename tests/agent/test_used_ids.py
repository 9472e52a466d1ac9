"""Ids that are used again: the offer says whether a launch is a repeat."""

from __future__ import annotations

import pytest

from broker_mesos.agent.effects import Forget, LaunchProcess
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import AcknowledgeStatuses, RegisterAgent
from broker_mesos.ports.containerizer import Recovered, TaskExited
from tests.agent.support import Agent, kill, launch, messages


def test_an_id_whose_task_has_ended_names_a_new_task_when_it_comes_from_another_offer(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [first] = agent.statuses()
    agent.command(AcknowledgeStatuses(uuids=(first.uuid,)))
    agent.command(launch(session, 2, "t1", offer="o2"))
    assert agent.launched == ["t1", "t1"]
    agent.exited("t1", 5)
    [second] = agent.statuses()
    assert (second.state, second.exit_code, second.offer_id) == (TaskState.FAILED, 5, "o2")
    assert second.uuid != first.uuid


def test_a_launch_that_is_repeated_from_the_same_offer_meets_its_outcome(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [first] = agent.statuses()
    agent.command(AcknowledgeStatuses(uuids=(first.uuid,)))
    agent.command(launch(session, 2, "t1"))
    assert agent.launched == ["t1"] and agent.statuses() == [first]


def test_a_launch_from_another_offer_says_that_the_cell_has_the_outcome_of_the_one_before(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [first] = agent.statuses()
    effects = agent.command(launch(session, 2, "t1", offer="o2"))
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Forget) < kinds.index(LaunchProcess)
    assert agent.journal.saved.outcomes == {}
    agent.exited("t1", 5)
    [second] = agent.statuses()
    agent.command(AcknowledgeStatuses(uuids=(first.uuid,)))
    assert agent.after(60) and agent.state.outcomes.unacknowledged() == [second]


def test_the_time_of_an_older_outcome_of_an_id_does_not_end_the_newer_one(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [first] = agent.statuses()
    agent.command(AcknowledgeStatuses(uuids=(first.uuid,)))
    agent.after(400)
    agent.command(launch(session, 2, "t1", offer="o2"))
    agent.exited("t1", 5)
    agent.after(300)
    assert [status.exit_code for status in agent.state.outcomes.unacknowledged()] == [5]


def test_an_agent_that_was_restarted_knows_the_offers_of_its_outcomes(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    agent.restart(Recovered("t1", False, 4.0, TaskExited("t1", 0, None, 8.0)))
    second = agent.register()
    agent.command(launch(second, 1, "t1"))
    assert agent.launched == ["t1"]
    agent.command(launch(second, 2, "t1", offer="o2"))
    assert agent.launched == ["t1", "t1"]


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_kill_of_an_unknown_task_keeps_a_later_task_of_that_id_off_only_until_it_is_acknowledged(
    agent: Agent, session: str, acknowledged: bool
) -> None:
    agent.command(kill(session, 1, "t1"))
    [dropped] = agent.statuses()
    if acknowledged:
        agent.command(AcknowledgeStatuses(uuids=(dropped.uuid,)))
    agent.command(launch(session, 2, "t1"))
    assert agent.launched == (["t1"] if acknowledged else [])


def test_a_refused_launch_may_be_tried_again_under_the_same_id(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2", "t3", "t4", "t5"))
    assert agent.launched == ["t1", "t2", "t3", "t4"]
    agent.exited("t1")
    agent.command(launch(session, 2, "t5", offer="o2"))
    assert agent.launched[4:] == ["t5"]
    assert messages(agent.due(), RegisterAgent) == []
