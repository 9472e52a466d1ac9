"""The agent's decisions, without clock, bus or processes."""

from __future__ import annotations

import pytest

from broker_mesos.agent.effects import (
    AskHello,
    Checkpoint,
    Forget,
    KillProcess,
    LaunchProcess,
    Publish,
    SaveTerm,
)
from broker_mesos.agent.state import DEBOUNCE_SECONDS, MAX_LIST_BYTES, MAX_REPEAT_SECONDS
from broker_mesos.agent.term_bound import TermRefused
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.agent_messages import (
    AcknowledgeStatuses,
    AgentHeartbeat,
    AgentListed,
    AgentRefused,
    AgentRegistered,
    KillTasks,
    ListTasks,
    RegisterAgent,
    Reregister,
    SetHeartbeat,
    UnregisterAgent,
)
from broker_mesos.errors import InvalidMessage
from broker_mesos.ports.containerizer import Recovered, StartFailed
from tests.agent.support import TERM, Agent, all_statuses, kill, launch, messages, task

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
    assert 120 / (1.2 * MAX_REPEAT_SECONDS) <= len(repeats) <= 15


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
    [later] = messages(agent.after(DEBOUNCE_SECONDS), RegisterAgent)
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
    agent.state.on_commands_lost()
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


# -- kills


def test_a_kill_before_the_start_reaches_the_containerizer_after_the_launch(agent: Agent, session: str) -> None:
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


def test_a_task_that_names_no_grace_has_that_of_its_agent_also_after_a_restart(agent: Agent, session: str) -> None:
    agent.state.table.kill_grace = 9.0
    agent.command(launch(session, 1, task("t1"), task("t2", kill_grace=0.0)))
    effects = agent.command(kill(session, 2, "t1", "t2"))
    assert {KillProcess("t1", 9.0), KillProcess("t2", 0.0)} <= set(effects)
    running = [Recovered(task_id, True, 1.0, None) for task_id in ("t1", "t2")]
    assert {KillProcess("t1", 9.0), KillProcess("t2", 0.0)} <= set(agent.restart(*running))


def test_killing_an_unknown_task_is_answered_with_dropped(agent: Agent, session: str) -> None:
    agent.command(kill(session, 1, "t9"))
    [status] = agent.statuses()
    assert (status.task_id, status.state) == ("t9", TaskState.DROPPED)
    assert agent.killed == []
    assert all_statuses(agent.after(31))  # it is an outcome like any other


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
    assert len(whole.model_dump_json(exclude_defaults=True)) < MAX_LIST_BYTES


DAY_MS = 86_400_000


def test_a_command_with_a_term_above_the_bound_of_the_masters_is_refused_and_a_later_term_passes(
    agent: Agent, session: str
) -> None:
    agent.state.on_hello(1, agent.instant, TERM + DAY_MS)
    session = agent.registered(agent.state._attempt)
    for term in (TERM + DAY_MS, TERM + DAY_MS + 1, 2**42 - 1):
        with pytest.raises(TermRefused, match="out of bounds"):
            agent.command(launch(session, 1, "t1"), term)
    assert agent.state.highest_term == agent.journal.saved.highest_term == TERM
    agent.now += 3600.0  # an hour later an owner may have a term that is an hour higher
    agent.command(launch(session, 1, "t1"), TERM + DAY_MS + 3_000_000)
    assert agent.launched == ["t1"]


def test_a_stored_term_that_no_owner_can_have_is_forgotten_at_the_answer_of_a_master(agent: Agent) -> None:
    """Such a command was accepted before the agent had reached a master."""
    agent.command(KillTasks(session="x", number=1, task_ids=()), 2**42 - 1)
    assert agent.journal.saved.highest_term == 2**42 - 1
    agent.carry(agent.state.on_listening(agent.instant))
    [attempt] = messages(agent.carry(agent.state.on_hello(1, agent.instant, TERM + DAY_MS)), RegisterAgent)
    assert agent.journal.saved.highest_term == 0 and attempt.highest_term == 0
    session = agent.registered(attempt.attempt)
    agent.command(launch(session, 1, "t1"))
    assert agent.launched == ["t1"]


@pytest.mark.parametrize("term", [2**52 - 1, 2**42, -1])
def test_a_command_with_a_term_out_of_bounds_is_refused_and_not_remembered(
    agent: Agent, session: str, term: int
) -> None:
    with pytest.raises(InvalidMessage, match="out of bounds"):
        agent.command(launch(session, 1, "t1"), term)
    assert agent.state.highest_term == agent.journal.saved.highest_term == TERM
    agent.command(launch(session, 1, "t1"))
    assert agent.launched == ["t1"]
