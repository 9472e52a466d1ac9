"""The agent's decisions, without clock, bus or processes."""

from __future__ import annotations

import pytest

from broker_mesos.agent.effects import (
    AskHello,
    Checkpoint,
    Effect,
    Forget,
    KillProcess,
    LaunchProcess,
    Publish,
    SaveTerm,
)
from broker_mesos.agent.news import END_WAITS, RUNNING_WAITS, YOUNG
from broker_mesos.agent.state import DEBOUNCE, REPEAT_AT_MOST, ROOM
from broker_mesos.core import addresses
from broker_mesos.core.messages import (
    MAX_BODY,
    AcknowledgeStatuses,
    AgentHeartbeat,
    AgentListed,
    AgentRefused,
    AgentRegistered,
    EarlyStatuses,
    KillTasks,
    ListTasks,
    RegisterAgent,
    Reregister,
    SetHeartbeat,
    UnregisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.resources import Resources
from broker_mesos.core.tasks import Reason, Source, TaskState
from broker_mesos.ports import Recovered, StartFailed, TaskExited
from tests.agent.support import TERM, Agent, all_statuses, kill, launch, messages, task


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def session(agent: Agent) -> str:
    return agent.register()


# -- registration


def test_registration_needs_the_cell_count_and_a_consumer(agent: Agent) -> None:
    assert agent.state.on_listening(agent.instant) == []
    [publish] = agent.state.on_hello(4, agent.instant)
    assert isinstance(publish, Publish) and isinstance(publish.message, RegisterAgent)
    assert publish.to == addresses.updates(addresses.cell_of("a1", 4))
    assert publish.mandatory and publish.message.cells == 4 and publish.message.boot_id == "boot-1"


def test_registration_is_repeated_with_the_same_attempt_and_ever_longer_pauses(agent: Agent) -> None:
    first = agent.registration()
    repeats = messages(agent.after(120), RegisterAgent)
    assert {repeat.attempt for repeat in repeats} == {first.attempt}
    assert 120 / (1.2 * REPEAT_AT_MOST) <= len(repeats) <= 15


def test_a_registration_that_no_queue_took_is_repeated_soon(agent: Agent) -> None:
    message = agent.registration()
    agent.after(60)
    agent.state.on_unsent(message, agent.instant)
    assert messages(agent.after(2.5), RegisterAgent)


def test_the_answer_to_another_attempt_opens_no_session(agent: Agent) -> None:
    attempt = agent.registration().attempt
    agent.registered("other")
    assert agent.state.session == ""
    agent.registered(attempt, "s1")
    assert agent.state.session == "s1"
    agent.registered(attempt, "s2")
    assert agent.state.session == "s1"


def test_a_new_session_begins_with_a_heartbeat_and_goes_on_at_the_interval(agent: Agent) -> None:
    attempt = agent.registration().attempt
    agent.command(AgentRegistered(session="s1", attempt=attempt, cell=0, heartbeat_interval=5.0))
    effects = agent.due()
    [beat] = [e for e in effects if isinstance(e, Publish)]
    assert isinstance(beat.message, AgentHeartbeat) and beat.message.session == "s1"
    assert beat.to == addresses.heartbeats(0)
    assert beat.expiration == 10.0 and not beat.persistent and not beat.mandatory
    assert len(messages(agent.after(50), AgentHeartbeat)) == 10


def test_the_cell_sets_how_often_an_agent_beats(agent: Agent, session: str) -> None:
    agent.after(1)
    assert agent.command(SetHeartbeat(session="older", interval=20.0)) == []
    agent.command(SetHeartbeat(session=session, interval=20.0))
    [at_once] = messages(agent.due(), AgentHeartbeat)
    assert at_once.interval == 20.0
    assert len(messages(agent.after(100), AgentHeartbeat)) == 5


def test_a_launch_acknowledges_outcomes_whatever_session_it_is_of(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [status] = agent.statuses()
    command = launch("older", 1, "t2").model_copy(update={"acknowledged": (status.uuid,)})
    assert Forget("t1") in agent.command(command)
    assert agent.state.outcomes.unacknowledged() == []


def test_reregister_opens_a_new_attempt_at_most_once_a_second(agent: Agent, session: str) -> None:
    agent.now += 10
    [first] = messages(agent.command(Reregister(session=session)), RegisterAgent)
    assert agent.command(Reregister(session=session)) == []  # a repeat: that session is over
    second = agent.registered(first.attempt)
    assert messages(agent.command(Reregister(session=second)), RegisterAgent) == []
    [later] = messages(agent.after(DEBOUNCE), RegisterAgent)
    assert later.attempt != first.attempt


def test_reregister_for_another_session_is_ignored(agent: Agent, session: str) -> None:
    agent.now += 10
    assert agent.command(Reregister(session="older")) == []
    assert messages(agent.command(Reregister()), RegisterAgent)


def test_a_refused_agent_asks_for_the_cell_count_again(agent: Agent, session: str) -> None:
    assert AskHello() in agent.command(AgentRefused(message="not mine", cells=8))
    assert agent.state.session == "" and agent.after(60) == []
    [message] = messages(agent.state.on_hello(8, agent.instant), RegisterAgent)
    assert message.cells == 8


def test_a_lost_consumer_ends_the_session_and_the_next_one_registers_anew(agent: Agent, session: str) -> None:
    agent.state.on_deaf()
    assert agent.command(launch(session, 1, "t1")) == [] and agent.launched == []
    assert agent.after(60) == []
    agent.register()


def test_leaving_for_good_ends_the_session(agent: Agent, session: str) -> None:
    [message] = messages(agent.state.leave(), UnregisterAgent)
    assert message.session == session
    assert agent.state.leave() == []


# -- numbers, sessions, terms


def test_a_launch_is_checkpointed_before_its_process_is_started(agent: Agent, session: str) -> None:
    effects = agent.command(launch(session, 1, "t1", "t2"))
    assert [type(e) for e in effects] == [Checkpoint, LaunchProcess, LaunchProcess]


def test_repeated_commands_are_dropped(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.command(launch(session, 2, "t2"))
    assert agent.command(launch(session, 1, "t1")) == [] and agent.command(launch(session, 2, "t2")) == []
    assert agent.launched == ["t1", "t2"]


def test_a_gap_makes_the_agent_register_anew_with_what_it_has(agent: Agent, session: str) -> None:
    agent.now += 10
    agent.command(launch(session, 1, "t1"))
    effects = agent.command(launch(session, 3, "t3"))
    [message] = messages(effects, RegisterAgent)
    assert [each.task_id for each in message.list.tasks] == ["t1"]
    assert agent.launched == ["t1"]


def test_while_registering_no_command_of_the_former_session_is_applied(agent: Agent, session: str) -> None:
    agent.now += 10
    agent.command(Reregister(session=session))
    assert agent.command(launch(session, 1, "t1")) == [] and agent.launched == []


def test_commands_of_another_session_are_dropped(agent: Agent, session: str) -> None:
    assert agent.command(launch("other", 1, "t1")) == [] and agent.launched == []


def test_numbers_begin_anew_with_each_session(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.now += 10
    [message] = messages(agent.command(Reregister(session=session)), RegisterAgent)
    second = agent.registered(message.attempt)
    agent.command(launch(session, 2, "t2"))
    agent.command(launch(second, 1, "t3"))
    assert agent.launched == ["t1", "t3"]


def test_a_lower_term_is_refused_and_answered_with_the_highest(agent: Agent, session: str) -> None:
    agent.due()
    assert SaveTerm(TERM + 5) in agent.command(launch(session, 1, "t1"), TERM + 5)
    assert agent.command(launch(session, 2, "t2"), TERM + 4) == []
    [beat] = messages(agent.due(), AgentHeartbeat)
    assert beat.highest_term == TERM + 5 and beat.applied == 1
    assert agent.launched == ["t1"]


def test_the_highest_term_is_saved_before_anything_else(agent: Agent, session: str) -> None:
    effects = agent.command(launch(session, 1, "t1"), TERM + 1)
    assert effects[0] == SaveTerm(TERM + 1)
    assert agent.command(kill(session, 2, "t1"), TERM + 1) != []


def test_the_highest_term_outlives_the_agent(agent: Agent, session: str) -> None:
    agent.restart()
    attempt = agent.registration()
    assert attempt.highest_term == TERM
    agent.registered(attempt.attempt, term=TERM - 1)
    assert agent.state.session == ""


# -- launches


def test_what_does_not_fit_beside_what_runs_is_refused(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", "cpus:3"), task("t2", "cpus:2"), task("t3", "cpus:1")))
    assert agent.launched == ["t1", "t3"]
    [status] = agent.statuses()
    assert (status.task_id, status.state, status.reason) == (
        "t2",
        TaskState.DROPPED,
        Reason.LAUNCH_REFUSED,
    )
    assert status.framework_id == "f1" and "cpus:1" in status.message


def test_ports_are_given_out_once(agent: Agent, session: str) -> None:
    first, second = task("t1", "ports:[31000-31004]"), task("t2", "ports:[31004-31005]")
    agent.command(launch(session, 1, first, second))
    assert agent.launched == ["t1"]
    agent.exited("t1")
    agent.command(launch(session, 2, task("t3", "ports:[31004-31005]")))
    assert agent.launched == ["t1", "t3"]


def test_resources_are_free_again_when_a_task_ends(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", "cpus:4")))
    agent.exited("t1")
    agent.command(launch(session, 2, task("t2", "cpus:4")))
    assert agent.launched == ["t1", "t2"]


def test_a_known_task_is_not_launched_again_but_reported_again(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.started("t1")
    agent.exited("t2", 3)
    agent.statuses()
    agent.command(launch(session, 2, "t1", "t2"))
    assert agent.launched == ["t1", "t2"]
    assert [(s.task_id, s.state) for s in agent.statuses()] == [
        ("t1", TaskState.RUNNING),
        ("t2", TaskState.FAILED),
    ]


def test_the_process_gets_the_tasks_environment_and_its_own(agent: Agent, session: str) -> None:
    info = task("t1", "cpus:1", "echo $X", shell=True, kill_grace=7.0)
    command = info.command.model_copy(update={"environment": {"X": "1", "BMESOS_TASK_ID": "forged"}})
    effects = agent.command(launch(session, 1, info.model_copy(update={"command": command})))
    [start] = [e for e in effects if isinstance(e, LaunchProcess)]
    assert start.spec.env == {"X": "1", "BMESOS_TASK_ID": "t1", "BMESOS_AGENT_ID": "a1"}
    assert (start.spec.argv, start.spec.shell, start.spec.kill_grace) == (("echo $X",), True, 7.0)


def test_five_hundred_launches_in_one_command_make_one_checkpoint(session: str) -> None:
    agent = Agent(Resources.parse("cpus:500;mem:50000"))
    session = agent.register()
    effects = agent.command(launch(session, 1, *(f"t{i}" for i in range(501))))
    assert len([e for e in effects if isinstance(e, Checkpoint)]) == 1
    assert len(agent.launched) == 500
    assert [s.task_id for s in agent.statuses()] == ["t500"]


# -- statuses


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


def test_a_start_waits_a_moment_for_its_end_and_an_end_for_those_launched_with_it(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.started("t1", "t2")
    table = agent.state.table
    assert table.send_at(agent.now) == agent.now + RUNNING_WAITS
    agent.exited("t1")
    assert table.send_at(agent.now) == agent.now + END_WAITS
    agent.exited("t2")
    assert table.send_at(agent.now) == agent.now, "nobody is left to be waited for"


def test_an_end_without_young_company_is_sent_at_once(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.started("t1", "t2")
    agent.statuses()
    agent.now += 2 * YOUNG
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
        (None, None, False, TaskState.LOST, "it is gone, and nobody saw how it ended"),
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


def test_an_agent_that_can_start_nothing_lends_nothing_for_longer_and_longer(
    agent: Agent, session: str
) -> None:
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


def test_an_outcome_is_sent_again_with_growing_pauses_until_it_is_acknowledged(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [status] = agent.statuses()
    again = all_statuses(agent.after(600))
    assert {s.uuid for s in again} == {status.uuid}
    assert 11 <= len(again) <= 15  # 5, 10, 20, 40, then every 60 s
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


# -- kills


def test_a_kill_before_the_start_reaches_the_containerizer_after_the_launch(
    agent: Agent, session: str
) -> None:
    effects = agent.command(launch(session, 1, task("t1", kill_grace=5.0)))
    effects += agent.command(kill(session, 2, "t1"))
    assert KillProcess("t1", 5.0) == effects[-1]
    agent.carry(agent.state.on_container_events([StartFailed("t1", "gone")], agent.instant))
    [status] = agent.statuses()
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)


def test_the_grace_of_a_kill_caps_that_of_the_task(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", kill_grace=5.0)))
    for number, (given, used) in enumerate([(2.0, 2.0), (60.0, 5.0), (None, 5.0)], 2):
        effects = agent.command(KillTasks(session=session, number=number, task_ids=("t1",), grace=given))
        assert KillProcess("t1", used) in effects


def test_killing_an_unknown_task_is_answered_with_dropped(agent: Agent, session: str) -> None:
    agent.command(kill(session, 1, "t9"))
    [status] = agent.statuses()
    assert (status.task_id, status.state) == ("t9", TaskState.DROPPED)
    assert agent.killed == []
    assert all_statuses(agent.after(6))  # it is an outcome like any other


def test_killing_an_ended_task_says_its_outcome_again(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.exited("t1")
    [status] = agent.statuses()
    agent.command(kill(session, 2, "t1"))
    assert agent.statuses() == [status] and agent.killed == []


# -- lists


def test_the_list_names_what_runs_and_what_is_not_acknowledged(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2", "t3"))
    agent.command(launch(session, 2, "t4"))
    agent.started("t1", "t2", "t3")
    agent.exited("t2")
    agent.exited("t3")
    done = next(s for s in agent.statuses() if s.task_id == "t3")
    agent.command(AcknowledgeStatuses(uuids=(done.uuid,)))
    [listed] = messages(agent.command(ListTasks(session=session)), AgentListed)
    assert listed.session == session and listed.list.applied == 2
    assert [(t.task_id, t.state, t.offer_id, t.framework_id) for t in listed.list.tasks] == [
        ("t1", TaskState.RUNNING, "o1", "f1"),
        ("t4", TaskState.STARTING, "o1", "f1"),
    ]
    assert [s.task_id for s in listed.list.outcomes] == ["t2"]


def test_a_list_for_another_session_is_not_given(agent: Agent, session: str) -> None:
    assert agent.command(ListTasks(session="other")) == []


def test_the_heartbeat_counts_what_runs_and_the_commands_applied(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.exited("t1")
    [beat] = messages(agent.due(), AgentHeartbeat)
    assert (beat.applied, beat.running) == (1, 1)


def test_a_list_that_is_too_long_goes_without_ornaments(session: str) -> None:
    agent = Agent(Resources.parse("cpus:5000;mem:500000"))
    session = agent.register()
    tasks = [task(f"t{i}", labels={"why": "x" * 1000}, name="n" * 100) for i in range(2000)]
    agent.command(launch(session, 1, *tasks))
    whole = agent.state.task_list()
    assert len(whole.tasks) == 2000 and not whole.tasks[0].labels
    assert len(whole.model_dump_json(exclude_defaults=True)) < ROOM


# -- restarts


def test_a_restarted_agent_adopts_what_still_runs(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", "cpus:3")))
    agent.restart(Recovered("t1", True, 4.0, None))
    message = agent.registration()
    assert [(t.task_id, t.state, t.started_at) for t in message.list.tasks] == [
        ("t1", TaskState.RUNNING, 4.0)
    ]
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


def test_a_restarted_agent_sends_unacknowledged_outcomes_under_the_same_uuid(
    agent: Agent, session: str
) -> None:
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


def test_an_agent_that_lends_less_than_before_takes_nothing_until_enough_has_ended(
    agent: Agent, session: str
) -> None:
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


# -- what frameworks are told early


def test_an_end_that_its_framework_waits_for_is_written_down_and_told_before_its_cell(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, task("t1", early=True), task("t2")))
    effects = agent.exited("t1") + agent.exited("t2", 3)
    [early] = messages(effects, EarlyStatuses)
    at = next(n for n, each in enumerate(effects) if isinstance(each, Publish))
    publish = effects[at]
    assert isinstance(publish, Publish) and publish.to == addresses.offers("f1") and not publish.persistent
    assert any(isinstance(each, Checkpoint) for each in effects[:at])
    [told] = early.statuses
    assert (told.task_id, told.state) == ("t1", TaskState.FINISHED)
    said = {each.task_id: each for each in all_statuses(agent.carry(agent.state.statuses()))}
    assert said["t1"] == told and said["t2"].state is TaskState.FAILED


def test_a_cell_that_may_have_given_a_task_up_says_alone_how_it_ended(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", early=True)))
    agent.state.on_deaf()
    assert messages(agent.exited("t1"), EarlyStatuses) == []
    assert agent.state.outcomes.get("t1") is not None


def test_a_killed_task_is_told_of_by_its_cell_alone(agent: Agent, session: str) -> None:
    agent.command(launch(session, 1, task("t1", early=True)))
    agent.command(kill(session, 2, "t1"))
    assert messages(agent.exited("t1", None, 15), EarlyStatuses) == []
