"""What an agent tells of its tasks, and when."""

from __future__ import annotations

import pytest

from broker_mesos.agent.effects import Checkpoint, Effect, Forget, Publish
from broker_mesos.agent.status_buffer import COMPANION_AGE_SECONDS, END_DELAY_SECONDS, RUNNING_DELAY_SECONDS
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, Source, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.agent_messages import (
    AcknowledgeStatuses,
    ListTasks,
    RegisterAgent,
    Reregister,
    UpdateStatuses,
)
from broker_mesos.core.protocol.events import EarlyStatuses
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.ports.containerizer import StartFailed
from tests.agent.support import Agent, all_statuses, kill, launch, messages, task


def test_a_start_is_reported_as_running(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    assert agent.statuses() == []
    agent.started("t1")
    [status] = agent.statuses()
    assert (status.state, status.started_at, status.source) == (TaskState.RUNNING, 5.0, Source.AGENT)
    assert status.agent_id == "a1" and status.framework_id == "f1" and status.uuid
    assert agent.after(300) and agent.statuses() == []  # said once


def test_a_short_tasks_end_takes_the_place_of_its_start(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.started("t1")
    agent.exited("t1")
    [status] = agent.statuses()
    assert (status.state, status.started_at, status.exit_code) == (TaskState.FINISHED, 5.0, 0)


def test_a_start_waits_a_moment_for_its_end_and_an_end_for_those_launched_with_it(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.started("t1", "t2")
    table = agent.state.table
    assert table.send_at(agent.now) == agent.now + RUNNING_DELAY_SECONDS
    agent.exited("t1")
    assert table.send_at(agent.now) == agent.now + END_DELAY_SECONDS
    agent.exited("t2")
    assert table.send_at(agent.now) == agent.now, "nobody is left to be waited for"


def test_an_end_without_young_company_is_sent_at_once(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.started("t1", "t2")
    agent.statuses()
    agent.now += 2 * COMPANION_AGE_SECONDS
    agent.exited("t1")
    assert agent.state.table.send_at(agent.now) == agent.now


@pytest.mark.parametrize(
    ("code", "signal", "killed", "state", "message"),
    [
        (0, None, False, TaskState.FINISHED, ""),
        (3, None, False, TaskState.FAILED, "exited with code 3"),
        (None, 9, False, TaskState.FAILED, "terminated by SIGKILL"),
        (None, 15, True, TaskState.KILLED, "terminated by SIGTERM"),
        (0, None, True, TaskState.KILLED, ""),
        (None, None, False, TaskState.LOST, "its process is gone, and its exit status is not known"),
    ],
)
def test_an_exit_becomes_the_right_status(
    agent: Agent,
    session: str,
    code: int | None,
    signal: int | None,
    killed: bool,
    state: TaskState,
    message: str,
) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.started("t1")
    if killed:
        agent.command(kill(session, 2, "t1"))
    agent.exited("t1", code, signal)
    [status] = agent.statuses()
    assert (status.state, status.message, status.exit_code, status.signal) == (state, message, code, signal)


def test_a_failed_start_is_a_failed_task(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.carry(agent.state.on_container_events([StartFailed("t1", "no such program")], agent.instant))
    [status] = agent.statuses()
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.COMMAND_EXECUTOR_FAILED)
    assert status.message == "no such program" and agent.used == Resources.EMPTY


def cannot_start(agent: Agent, *task_ids: str) -> list[Effect]:
    failed = [StartFailed(task_id, "No space left on device", machine=True) for task_id in task_ids]
    return agent.carry(agent.state.on_container_events(failed, agent.instant))


def test_an_agent_that_can_start_nothing_lends_nothing_for_longer_and_longer(agent: Agent, session: str) -> None:
    """Or it would be offered at once what it has just dropped, and all there is would be dropped here."""
    waits = []
    for number in range(1, 9):
        agent.command(launch(agent.state.session, 1, f"t{number}"))
        [closed] = messages(cannot_start(agent, f"t{number}"), RegisterAgent)
        [status] = closed.list.outcomes
        assert (status.state, status.reason) == (TaskState.DROPPED, Reason.LAUNCH_REFUSED)
        assert "No space" in status.message
        assert closed.agent.resources == Resources.EMPTY
        agent.registered(closed.attempt)
        agent.command(AcknowledgeStatuses(uuids=(status.uuid,)))
        began = agent.now
        opened: list[RegisterAgent] = []
        while not opened:
            agent.now = agent.state.next_due()
            opened = messages(agent.due(), RegisterAgent)
        assert opened[0].agent == agent.state.info
        agent.registered(opened[0].attempt)
        waits.append(agent.now - began)
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])

    agent.command(launch(agent.state.session, 1, "fine"))
    agent.started("fine")
    agent.command(launch(agent.state.session, 2, "again"))
    [closed] = messages(cannot_start(agent, "again"), RegisterAgent)
    assert agent.state.table.backoff.until - agent.now == pytest.approx(1)
    # What runs goes on, and is its own.
    assert [listed.task_id for listed in closed.list.tasks] == ["fine"]
    assert closed.agent.resources == agent.used


def test_an_agent_waits_for_what_it_starts_before_it_lends_nothing(agent: Agent, session: str) -> None:
    """A task that a list names cannot be dropped any more."""
    agent.command(launch(session, 1, "t1", "t2"))
    assert not messages(cannot_start(agent, "t1"), RegisterAgent)
    [closed] = messages(cannot_start(agent, "t2"), RegisterAgent)
    assert {status.state for status in closed.list.outcomes} == {TaskState.DROPPED}


def test_what_a_list_has_named_fails_instead_of_being_dropped(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.command(ListTasks(session=session))
    [closed] = messages(cannot_start(agent, "t1"), RegisterAgent)
    assert {status.state for status in closed.list.outcomes} == {TaskState.FAILED}


def test_an_outcome_is_written_down_before_it_is_sent(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    assert agent.journal.saved.outcomes["t1"].uuid == agent.statuses()[0].uuid


def test_an_outcome_is_sent_again_with_growing_pauses_until_it_is_acknowledged(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [status] = agent.statuses()
    again = all_statuses(agent.after(600))
    assert {s.uuid for s in again} == {status.uuid}
    assert 5 <= len(again) <= 7  # 30, 60, then every 120 s
    effects = agent.command(AcknowledgeStatuses(uuids=(status.uuid,)))
    assert Forget("t1") in effects and agent.journal.saved.outcomes == {}
    assert agent.command(AcknowledgeStatuses(uuids=(status.uuid,))) == []
    assert all_statuses(agent.after(600)) == []


def test_an_outcome_that_could_not_be_sent_is_tried_again_soon(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    agent.after(300)
    agent.exited("t1")
    agent.state.on_unsent(
        UpdateStatuses(agent_id="a1", session=session, statuses=(agent.journal.saved.outcomes["t1"],)),
        agent.instant,
    )
    assert len(all_statuses(agent.after(2.0))) == 1


def test_an_acknowledged_outcome_is_still_known_for_ten_minutes(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [status] = agent.statuses()
    agent.command(AcknowledgeStatuses(uuids=(status.uuid,)))
    agent.after(590)
    agent.command(kill(session, 2, "t1"))
    assert agent.statuses() == [status]
    agent.after(20)
    assert "t1" not in agent.state.outcomes


def test_without_a_session_statuses_wait_for_the_next_one(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.now += 10
    [message] = messages(agent.command(Reregister(session=session)), RegisterAgent)
    agent.started("t1")
    agent.exited("t2")
    assert agent.statuses() == []
    agent.registered(message.attempt)
    assert [(s.task_id, s.state) for s in agent.statuses()] == [
        ("t1", TaskState.RUNNING),
        ("t2", TaskState.FINISHED),
    ]


def test_what_the_registrations_list_says_is_not_said_again_at_once(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    agent.now += 10
    [message] = messages(agent.command(Reregister(session=session)), RegisterAgent)
    assert [s.task_id for s in message.list.outcomes] == ["t1"]
    agent.registered(message.attempt)
    assert agent.statuses() == []
    assert all_statuses(agent.after(25)) == []
    assert len(all_statuses(agent.after(6))) == 1


def test_messages_of_statuses_stay_below_the_largest_body(session: str) -> None:
    agent = Agent(Resources.parse("cpus:5000;mem:500000"))
    session = agent.register()
    ids = [f"t{i}" + "x" * 200 for i in range(3000)]
    agent.command(launch(session, 1, *ids))
    events = [StartFailed(task_id, "ä" * 5000) for task_id in ids]
    agent.carry(agent.state.on_container_events(events, agent.instant))
    updates = messages(agent.state.statuses(), UpdateStatuses)
    assert sum(len(update.statuses) for update in updates) == 3000
    assert max(len(update.encode()) for update in updates) < MAX_BODY
    assert len(updates) < 20


# -- what frameworks are told early


def test_an_end_that_its_framework_waits_for_is_written_down_and_told_before_its_cell(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, task("t1", early=True), task("t2")))
    effects = agent.exited("t1") + agent.exited("t2", 3)
    [early] = messages(effects, EarlyStatuses)
    at = next(n for n, each in enumerate(effects) if isinstance(each, Publish))
    publish = effects[at]
    assert isinstance(publish, Publish) and publish.to == addresses.early_statuses("f1") and not publish.persistent
    assert any(isinstance(each, Checkpoint) for each in effects[:at])
    [told] = early.statuses
    assert (told.task_id, told.state) == ("t1", TaskState.FINISHED)
    said = {each.task_id: each for each in all_statuses(agent.carry(agent.state.statuses()))}
    assert said["t1"] == told and said["t2"].state is TaskState.FAILED


def test_a_cell_that_may_have_given_a_task_up_says_alone_how_it_ended(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", early=True)))
    agent.state.on_commands_lost()
    assert messages(agent.exited("t1"), EarlyStatuses) == []
    assert agent.state.outcomes.get("t1") is not None


def test_a_killed_task_is_told_of_by_its_cell_alone(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", early=True)))
    agent.command(kill(session, 2, "t1"))
    assert messages(agent.exited("t1", None, 15), EarlyStatuses) == []
