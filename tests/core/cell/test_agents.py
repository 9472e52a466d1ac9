"""Agents: registrations, sessions, statuses, lists and recoveries."""

from __future__ import annotations

import pytest

from broker_mesos.core.model.agent import AgentInfo, AgentList
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import (
    AcknowledgeStatuses,
    AgentHeartbeat,
    AgentListed,
    AgentRefused,
    AgentRegistered,
    KillTasks,
    LaunchTasks,
    ListTasks,
    RegisterAgent,
    Reregister,
    SetHeartbeat,
    UpdateStatuses,
)
from broker_mesos.core.protocol.framework_messages import Accept, Settle
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import AgentStatus, RecordKind
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in
from tests.core.cell.launched import bench_with_a_task, heartbeat, running


@pytest.fixture
def bench() -> Bench:
    return bench_with_a_task()


def test_registration_opens_a_session_and_its_repeat_is_answered_with_the_same(bench):
    session = bench.session("a1")
    (again,) = of(bench.agent("a1", "cpus:4;mem:4096"), AgentRegistered)
    assert again.session == session == bench.session("a1")


def test_new_registration_ends_the_earlier_session(bench):
    session = bench.session("a1")
    (answer,) = of(bench.agent("a1", "cpus:4;mem:4096", attempt="2"), AgentRegistered)
    assert answer.session == bench.session("a1") != session


def test_launch_that_never_arrived_is_sent_again_in_the_new_session(bench):
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2")
    (launch,) = of(said, LaunchTasks)
    assert (launch.session, launch.number) == (bench.session("a1"), 1)
    assert [each.task.task_id for each in launch.launches] == ["t1"]


def test_launch_that_arrived_is_not_sent_again(bench):
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running(),)))
    assert of(said, LaunchTasks) == []
    assert bench.state.tasks["t1"].state is TaskState.RUNNING


def test_running_task_that_its_agent_does_not_know_after_registration_is_lost_once(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    (status,) = updates_in(bench.agent("a1", "cpus:4;mem:4096", attempt="2"))
    assert (status.state, status.reason) == (TaskState.LOST, Reason.AGENT_UNKNOWN_TASK)
    assert updates_in(bench.agent("a1", "cpus:4;mem:4096", attempt="3")) == []
    assert not bench.state.agents["a1"].used


def test_outcome_in_a_registration_counts_as_a_status(bench):
    outcome = bench.status("a1", "t1", TaskState.FINISHED, uuid="u-end")
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(outcomes=(outcome,)))
    assert [each.state for each in updates_in(said)] == [TaskState.FINISHED]
    assert of(bench.wait(11, agents=True), AcknowledgeStatuses)[0].uuids == ("u-end",)


def test_agent_of_another_cell_or_count_is_refused():
    bench = Bench(cells=4, cell=0)
    info = AgentInfo(agent_id="a-of-elsewhere", resources=Resources.parse("cpus:1"))
    cells = [3, 4] if bench.state.cells == 4 else []
    said = bench.decide(RegisterAgent(agent=info, attempt="1", cells=cells[0]))
    assert len(of(said, AgentRefused)) == 1 and not bench.state.agents


def test_agent_that_has_seen_a_higher_term_makes_the_owner_claim_again(bench):
    info = AgentInfo(agent_id="a2", resources=Resources.parse("cpus:1"))
    bench.decide(RegisterAgent(agent=info, attempt="1", cells=1, highest_term=99))
    assert bench.decisions[-1].reclaim == 99
    assert "a2" not in bench.state.agents


def test_terminal_status_is_acknowledged_again_when_it_is_repeated(bench):
    bench.report("a1", "t1", TaskState.FINISHED, uuid="u-1")
    assert [each.uuids for each in of(bench.wait(11, agents=True), AcknowledgeStatuses)] == [("u-1",)]
    said = bench.report("a1", "t1", TaskState.FINISHED, uuid="u-1")
    assert updates_in(said) == []
    assert [each.uuids for each in of(bench.wait(11, agents=True), AcknowledgeStatuses)] == [("u-1",)]


def test_a_launch_says_which_statuses_are_committed(bench):
    [offer] = offers_in(bench.report("a1", "t1", TaskState.FINISHED, uuid="u-1"))
    [launch] = of(bench.accept(offer, task("t2", "cpus:1")), LaunchTasks)
    assert launch.acknowledged == ("u-1",)
    assert of(bench.wait(20, agents=True), AcknowledgeStatuses) == []


def test_a_launch_takes_no_more_acknowledgements_along_than_fit(bench):
    """Too long a message could never be sent, and all that is committed after it would wait."""
    uuids = {f"\u0001{n}".ljust(255, "\u0001") for n in range(300)}
    for uuid in uuids:
        bench.report("a1", "t1", TaskState.FINISHED, uuid=uuid)
    (offer,) = offers_in(bench.wait(1, agents=True)) or bench.state.offers.values()
    ident = offer.offer_id
    said = bench.decide(Accept(framework_id="f1", offer_ids=(ident,), tasks=(task("t2", "cpus:1"),)))
    (launch,) = of(said, LaunchTasks)
    assert len(launch.encode()) < 64 * 1024
    told = [uuid for each in of([*said, *bench.wait(11, agents=True)], AcknowledgeStatuses) for uuid in each.uuids]
    assert uuids <= {*told, *launch.acknowledged}


def test_agents_of_a_large_cell_are_told_to_beat_less_often():
    bench = Bench(limits=Limits(agent_beat=1.0, agent_missed=5, agent_beats=2.0))
    for number in range(20):
        bench.agent(f"a{number}", "cpus:1")
    told = [each.heartbeat_interval for _, each in bench.said if isinstance(each, AgentRegistered)]
    assert told[0] == 1.0 and told[-1] == 10.0
    [slower] = of(beat(bench, "a0", interval=1.0), SetHeartbeat)
    assert slower.interval == 10.0
    assert of(beat(bench, "a0", interval=10.0), SetHeartbeat) == []
    bench.take_over(term=8)
    bench.wait(20)
    assert bench.state.agents["a0"].state is AgentStatus.REGISTERED  # it beats each 10 s, for any owner
    bench.wait(40)
    assert bench.state.agents["a0"].state is AgentStatus.UNREACHABLE


def test_agents_of_a_cell_that_has_become_small_beat_more_often_again():
    bench = Bench(limits=Limits(agent_beat=1.0, agent_beats=2.0))
    bench.agent("a1", "cpus:1")
    [faster] = of(beat(bench, "a1", interval=30.0), SetHeartbeat)
    assert faster.interval == 1.0
    bench.wait(20)  # until it has said so, it may be as slow as before
    assert bench.state.agents["a1"].state is AgentStatus.REGISTERED
    beat(bench, "a1", interval=1.0)
    bench.wait(20)
    assert bench.state.agents["a1"].state is AgentStatus.UNREACHABLE


def beat(bench: Bench, agent_id: str, interval: float):
    agent = bench.state.agents[agent_id]
    return bench.decide(
        AgentHeartbeat(agent_id=agent_id, session=agent.session, applied=agent.number, interval=interval)
    )


def test_state_never_goes_back(bench):
    bench.report("a1", "t1", TaskState.FINISHED)
    assert updates_in(bench.report("a1", "t1", TaskState.RUNNING)) == []
    assert updates_in(bench.report("a1", "t1", TaskState.FAILED)) == []
    assert bench.state.tasks["t1"].state is TaskState.FINISHED


def test_status_from_an_unknown_agent_makes_it_register(bench):
    status = bench.status("ghost", "t1", TaskState.FINISHED)
    said = bench.decide(UpdateStatuses(agent_id="ghost", session="old", statuses=(status,)))
    assert len(of(said, Reregister)) == 1
    assert bench.state.tasks["t1"].state is TaskState.STAGING


def test_heartbeat_of_an_unknown_session_makes_the_agent_register(bench):
    assert len(of(heartbeat(bench, 1, 1, session="old"), Reregister)) == 1


def test_unknown_running_task_is_adopted_and_counts():
    bench = Bench()
    bench.framework("f1")
    said = bench.agent("a1", "cpus:4;mem:4096", listing=AgentList(tasks=(running("t9"),)))
    assert [(each.task_id, each.state) for each in updates_in(said)] == [("t9", TaskState.RUNNING)]
    assert str(bench.state.agents["a1"].used) == "cpus:1;mem:1024"
    (offer,) = offers_in(said)
    assert str(offer.resources) == "cpus:3;mem:3072"


def test_adopted_task_of_an_unknown_framework_is_accounted_when_that_subscribes():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096", listing=AgentList(tasks=(running("t9"),)))
    bench.framework("f1")
    assert str(bench.state.frameworks["f1"].used) == "cpus:1;mem:1024"


def test_running_task_that_is_known_to_have_ended_is_killed(bench):
    bench.report("a1", "t1", TaskState.FAILED)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running(),)))
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]


def test_recovering_cell_offers_an_agent_only_after_its_list(bench):
    bench.take_over(term=8, recovering=True)
    (asked,) = of(bench.said[-1:], Reregister)
    assert asked.recover
    bench.framework("f2")
    assert not bench.state.offers
    bench.take_over(term=9)  # the recovery outlives the owner who began it
    bench.framework("f2")
    assert not bench.state.offers
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running(),)))
    (offer,) = offers_in(said)
    assert str(offer.resources) == "cpus:3;mem:3072"
    bench.take_over(term=10)
    assert bench.state.agents["a1"].listed


def test_command_that_was_lost_shows_in_the_heartbeats(bench):
    said = []
    for _ in range(3):
        said += heartbeat(bench, 0, 0)
    assert len(of(said, Reregister)) == 1


def test_miscount_in_the_heartbeats_makes_the_cell_ask_for_the_list(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    said = []
    for _ in range(2):
        said += heartbeat(bench, 1, 0)
    assert len(of(said, ListTasks)) == 1
    listed = AgentListed(agent_id="a1", session=bench.session("a1"), list=AgentList(applied=1))
    (status,) = updates_in(bench.decide(listed))
    assert status.state is TaskState.LOST


def test_list_does_not_judge_commands_it_had_not_seen(bench):
    listed = AgentListed(agent_id="a1", session=bench.session("a1"), list=AgentList(applied=0))
    assert updates_in(bench.decide(listed)) == []
    assert bench.state.tasks["t1"].state is TaskState.STAGING


def test_agent_that_grows_or_shrinks_is_the_same_agent(bench):
    bench.agent("a1", "cpus:0.5;mem:512", attempt="2", listing=AgentList(tasks=(running(),)))
    assert bench.state.agents["a1"].free == Resources()
    assert str(bench.state.total) == "cpus:0.5;mem:512"
    bench.agent("a1", "cpus:8;mem:8192", attempt="3", listing=AgentList(tasks=(running(),)))
    assert str(bench.state.agents["a1"].used) == "cpus:1;mem:1024"


def test_what_is_stored_restores_the_same_cell(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    before = {kind: dict(values) for kind, values in bench.stored.items()}
    bench.take_over(term=8)
    agent = bench.state.agents["a1"]
    assert (str(agent.used), agent.number) == ("cpus:1;mem:1024", 1)
    assert bench.state.tasks["t1"].state is TaskState.RUNNING
    assert bench.stored == before
    assert set(bench.stored[RecordKind.TASKS]) == {"t1"}


def test_late_repeat_of_a_registration_whose_session_has_ended_is_refused_and_its_list_not_believed(bench):
    bench.wait(27)
    assert bench.state.tasks["t1"].state is TaskState.UNREACHABLE
    agent = AgentInfo(agent_id="a1", resources=Resources.parse("cpus:4;mem:4096"))
    repeat = RegisterAgent(agent=agent, attempt=bench.state.agents["a1"].attempt, cells=1)
    (refused,) = bench.decide(repeat)
    assert isinstance(refused[1], AgentRefused)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running(),)))
    assert [each.state for each in updates_in(said)] == [TaskState.RUNNING]


def test_recovering_cell_drops_no_claim_before_every_list_is_in(bench):
    bench.take_over(term=8, recovering=True)
    settle = Settle(framework_id="f1", claims=(("t9", "o1"),))
    accept = Accept(framework_id="f1", offer_ids=("o1",), tasks=(task("t9", "cpus:1;mem:1"),))
    assert updates_in(bench.decide(settle, accept)) == []
    bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(running("t9"),)))
    (status,) = updates_in(bench.decide(settle))
    assert (status.task_id, status.state) == ("t9", TaskState.RUNNING)
    bench.wait(26, agents=True)
    settle = Settle(framework_id="f1", claims=(("t10", "o1"),))
    assert [each.state for each in updates_in(bench.decide(settle))] == [TaskState.DROPPED]


def test_owner_who_follows_in_a_recovery_drops_no_claim_before_it_is_over(bench):
    bench.take_over(term=8, recovered=False)
    settle = Settle(framework_id="f1", claims=(("t9", "o1"),))
    assert updates_in(bench.decide(settle)) == []
    bench.wait(24, agents=True)
    assert updates_in(bench.decide(settle)) == []
    bench.wait(2, agents=True)
    assert [each.state for each in updates_in(bench.decide(settle))] == [TaskState.DROPPED]


def test_offer_of_a_term_since_the_recovery_is_certain_at_once(bench):
    bench.take_over(term=8, recovered=False, recovery_term=6)
    settle = Settle(framework_id="f1", claims=(("t9", "o0-7-1"),))
    assert [each.state for each in updates_in(bench.decide(settle))] == [TaskState.DROPPED]
    accept = Accept(framework_id="f1", offer_ids=("o0-6-3",), tasks=(task("t8", "cpus:1;mem:1"),))
    assert [each.state for each in updates_in(bench.decide(accept))] == [TaskState.DROPPED]


@pytest.mark.parametrize("offer_id", ["o0-5-1", "o0-9-1", "o1-7-1", "o0--1", "x", "o0-" + "9" * 5000 + "-1"])
def test_offer_of_a_term_before_the_recovery_stays_uncertain(bench, offer_id):
    bench.take_over(term=8, recovered=False, recovery_term=6)
    settle = Settle(framework_id="f1", claims=(("t9", offer_id[:100]),))
    assert updates_in(bench.decide(settle)) == []


def test_earlier_attempt_to_register_that_comes_late_opens_no_session_and_its_list_is_not_believed(bench):
    """Written on a connection that was given up meanwhile: its list knows nothing of t1."""
    bench.agent("a1", "cpus:4;mem:4096", attempt="p.2", listing=AgentList(tasks=(running(),)))
    session = bench.session("a1")
    for late in ("p.1", "p.0"):
        assert bench.agent("a1", "cpus:4;mem:4096", attempt=late) == []
    assert bench.session("a1") == session
    assert bench.state.tasks["t1"].state is TaskState.RUNNING


@pytest.mark.parametrize(("first", "second"), [("p.2", "p.10"), ("p.2", "q.1"), ("2", "1"), ("p.2", "p.x")])
def test_later_attempt_and_one_of_another_process_open_a_session(bench, first, second):
    bench.agent("a1", "cpus:4;mem:4096", attempt=first)
    session = bench.session("a1")
    bench.agent("a1", "cpus:4;mem:4096", attempt=second)
    assert bench.session("a1") != session
