"""Valid messages at bad moments, and valid messages that somebody would not send in good faith."""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.inputs import OperatorMarkGone
from broker_mesos.core.cell.views.usage import take_in
from broker_mesos.core.model.agent import AgentInfo, AgentList, AgentTask
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentListed,
    AgentRefused,
    KillTasks,
    LaunchTasks,
    RegisterAgent,
    Reregister,
    UpdateStatuses,
)
from broker_mesos.core.protocol.events import Offers
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Acknowledge,
    Decline,
    FrameworkHeartbeat,
    Kill,
    Teardown,
)
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import FrameworkStatus, RecordKind
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import InvalidMessage
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in

PORTS = "cpus:4;mem:4096;ports:[31000-31009]"


@pytest.fixture
def bench() -> Bench:
    """A framework with one task, t1, launched on the agent a1."""
    bench = Bench()
    bench.framework("f1", failover_timeout=1e6)
    (offer,) = offers_in(bench.agent("a1", PORTS))
    bench.accept(offer, task("t1", "cpus:1;mem:1024;ports:[31000-31000]"), refuse=0)
    return bench


def running(ident: str, resources: str, framework: str = "f1", **more) -> AgentTask:
    return AgentTask(task_id=ident, framework_id=framework, resources=Resources.parse(resources), **more)


def registration(bench: Bench, attempt: str, listing: AgentList) -> RegisterAgent:
    info = bench.state.agents["a1"].info
    return RegisterAgent(agent=info, attempt=attempt, cells=1, list=listing)


def accept_all(bench: Bench, *tasks: TaskInfo) -> Accept:
    offer = next(iter(bench.state.offers.values()))
    return Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=tasks, refuse_seconds=0)


# -- a store that went back in time -----------------------------------------------------------------------


def test_adopted_task_on_a_port_that_an_older_store_gives_to_another_task_is_counted(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.take_over(term=8, recovering=True)
    both = AgentList(
        tasks=(
            running("t1", "cpus:1;mem:1024;ports:[31000-31000]"),
            running("t9", "cpus:1;mem:64;ports:[31000-31001]"),
        )
    )
    bench.decide(registration(bench, "2", both))
    agent = bench.state.agents["a1"]
    assert str(agent.used) == "cpus:2;mem:1088;ports:[31000-31001]"
    bench.take_over(term=9)
    bench.report("a1", "t9", TaskState.FINISHED)
    agent = bench.state.agents["a1"]
    assert str(agent.used) == "cpus:1;mem:1024;ports:[31000-31000]"
    bench.report("a1", "t1", TaskState.FINISHED)
    assert agent.used == Resources() and agent.offered == agent.info.resources


def test_agent_whose_recovery_was_not_asked_for_or_got_lost_is_asked_again_by_its_heartbeats(bench):
    bench.take_over(term=8, recovering=True)
    bench.wait(5, beating=False)
    said = bench.decide(AgentHeartbeat(agent_id="a1", session=bench.session("a1"), applied=1))
    (asked,) = of(said, Reregister)
    assert asked.recover


def test_task_of_a_framework_that_is_torn_down_before_it_was_known_dies_with_it():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096", listing=AgentList(tasks=(running("t9", "cpus:1;mem:64"),)))
    said = bench.decide(Teardown(framework_id="f1"))
    assert [each.task_ids for each in of(said, KillTasks)] == [("t9",)]
    bench.report("a1", "t9", TaskState.KILLED)
    assert not bench.state.tasks and not bench.stored[RecordKind.TASKS]
    assert bench.state.agents["a1"].used == Resources()


# -- one batch, several messages --------------------------------------------------------------------------


def test_list_does_not_judge_a_launch_of_its_own_batch(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    listed = AgentListed(
        agent_id="a1",
        session=bench.session("a1"),
        list=AgentList(applied=1, tasks=(running("t1", "cpus:1;mem:1024;ports:[31000-31000]"),)),
    )
    said = bench.decide(accept_all(bench, task("t2", "cpus:1;mem:1")), listed)
    assert updates_in(said) == []
    (launch,) = of(said, LaunchTasks)
    assert [each.task.task_id for each in launch.launches] == ["t2"]


def test_task_of_an_earlier_session_that_vanishes_is_lost_however_few_commands_there_were_since(bench):
    for _ in range(5):
        bench.decide(Kill(framework_id="f1", task_ids=("t1",)))
    bench.report("a1", "t1", TaskState.FINISHED)
    bench.decide(accept_all(bench, task("t2", "cpus:1;mem:1")))
    listing = AgentList(tasks=(running("t2", "cpus:1;mem:1"),))
    bench.agent("a1", PORTS, attempt="2", listing=listing)
    listed = AgentListed(agent_id="a1", session=bench.session("a1"), list=AgentList(applied=0))
    assert [(each.task_id, each.state) for each in updates_in(bench.decide(listed))] == [("t2", TaskState.LOST)]


# -- ends stay ends -----------------------------------------------------------------------------------------


def test_list_within_a_session_revives_no_task_whose_end_was_forgotten(bench):
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.decide(OperatorMarkGone("a1"), Acknowledge(framework_id="f1", task_ids=("t1",)))
    bench.take_over(term=8)
    listing = AgentList(tasks=(running("t1", "cpus:1;mem:1024"),))
    bench.agent("a1", PORTS, attempt="2", listing=listing)
    # It dies slowly, and shows up once more.
    listing = AgentList(applied=1, tasks=listing.tasks)
    said = bench.decide(AgentListed(agent_id="a1", session=bench.session("a1"), list=listing))
    assert updates_in(said) == [] and not bench.state.tasks
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]


def test_late_status_of_an_unreachable_agent_ends_a_task_but_does_not_revive_it(bench):
    session = bench.session("a1")
    bench.wait(27)
    assert bench.state.tasks["t1"].state is TaskState.UNREACHABLE
    late = bench.status("a1", "t1", TaskState.RUNNING)
    said = bench.decide(UpdateStatuses(agent_id="a1", session=session, statuses=(late,)))
    assert updates_in(said) == []
    assert bench.state.tasks["t1"].state is TaskState.UNREACHABLE
    end = bench.status("a1", "t1", TaskState.FAILED)
    said = bench.decide(UpdateStatuses(agent_id="a1", session=session, statuses=(end,)))
    assert [each.state for each in updates_in(said)] == [TaskState.FAILED]


def test_late_status_of_an_agent_that_was_marked_gone_is_not_told_as_another_end(bench):
    session = bench.session("a1")
    bench.decide(OperatorMarkGone("a1"), Acknowledge(framework_id="f1", task_ids=("t1",)))
    bench.take_over(term=8)
    end = bench.status("a1", "t1", TaskState.FINISHED)
    said = bench.decide(UpdateStatuses(agent_id="a1", session=session, statuses=(end,)))
    assert updates_in(said) == [] and not bench.state.tasks


@pytest.mark.parametrize("state", [TaskState.UNKNOWN, TaskState.FINISHED, TaskState.UNREACHABLE])
def test_listed_task_runs_whatever_its_agent_calls_it(bench, state):
    listing = AgentList(tasks=(running("t9", "cpus:1;mem:64", state=state),))
    bench.agent("a1", PORTS, attempt="2", listing=listing)
    assert bench.state.tasks["t9"].state is TaskState.RUNNING
    bench.report("a1", "t9", TaskState.FINISHED)
    assert bench.state.tasks["t9"].state is TaskState.FINISHED


# -- clocks and blindness -----------------------------------------------------------------------------------


def test_new_owner_tears_nobody_down_before_its_processes_had_time_to_beat(bench):
    bench.framework("f2", failover_timeout=60)
    bench.wait(15, beating=False)
    assert bench.state.frameworks["f2"].state is FrameworkStatus.DISCONNECTED
    bench.now = Instant(bench.now.wall + 3_600, bench.now.mono + 3_600)  # nobody owns the cell
    bench.take_over(term=8)
    bench.wait(2, beating=False)
    info = bench.state.frameworks["f2"].info
    bench.decide(FrameworkHeartbeat(framework_id="f2", framework=info))
    assert bench.state.frameworks["f2"].state is FrameworkStatus.SUBSCRIBED


def test_framework_that_was_disconnected_under_a_clock_ahead_is_torn_down_all_the_same(bench):
    bench.framework("f2", failover_timeout=60)
    bench.now = Instant(bench.now.wall + 1e9, bench.now.mono)
    bench.wait(15, beating=False)
    bench.now = Instant(bench.now.wall - 1e9, bench.now.mono)
    bench.take_over(term=8)
    bench.wait(75, beating=False)
    assert bench.state.frameworks["f2"].state is FrameworkStatus.TORN_DOWN


# -- what grows ---------------------------------------------------------------------------------------------


def test_decline_in_one_role_leaves_the_filter_of_another_role(bench):
    bench = Bench()
    bench.framework("f1", roles=("x", "y"))
    (first,) = offers_in(bench.agent("a1", "cpus:4;mem:4096"))
    decline = Decline(framework_id="f1", offer_ids=(first.offer_id,))
    (second,) = offers_in(bench.decide(decline))
    assert {first.role, second.role} == {"x", "y"}
    assert offers_in(bench.decide(Decline(framework_id="f1", offer_ids=(second.offer_id,)))) == []


def test_filters_of_one_agent_are_bounded_and_leave_with_it(bench):
    for number in range(200):
        (offer,) = bench.state.offers.values()
        bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=1e6))
        total = f"cpus:4;mem:{4097 + number}"
        bench.agent("a1", total, attempt=f"n{number}")
    framework = bench.state.frameworks["f1"]
    assert 0 < len(framework.filters["a1"]) <= 64
    bench.decide(OperatorMarkGone("a1"))
    bench.state.seconds += 9 * 86_400
    bench.wait(1.5)
    assert not bench.state.agents and not framework.filters


def test_updates_do_not_pile_up_for_a_framework_that_does_not_listen(bench):
    bench.report("a1", "t1", TaskState.FINISHED)
    bench.wait(15, beating=False)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.DISCONNECTED
    assert updates_in(bench.wait(2_000, beating=False)) == []
    assert [each.task_id for each in updates_in(bench.framework("f1"))] == ["t1"]


# -- sizes: what does not fit into a message could never be sent, and all behind it would wait -------------


def encoded_sizes(bench: Bench) -> list[int]:
    decision = bench.decisions[-1]
    sizes = [len(each.body) for each in decision.outbox]
    return sizes + [len(each.message.encode()) for each in decision.hints]


def test_task_whose_launch_would_not_fit_into_a_message_is_an_error(bench):
    (offer,) = bench.state.offers.values()
    room = MAX_BODY - 300
    info = TaskInfo(
        task_id="t2",
        resources=Resources.parse("cpus:1"),
        command=CommandInfo(arguments=("x" * room,)),
    )
    call = Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=(info,))
    assert len(call.encode()) <= MAX_BODY
    (status,) = updates_in(bench.decide(call))
    assert (status.task_id, status.state) == ("t2", TaskState.ERROR)
    assert max(encoded_sizes(bench)) <= MAX_BODY


def test_long_statuses_travel_in_several_messages(bench):
    tasks = tuple(running(f"t{number}" + "x" * 200, "cpus:0.001", framework="f1") for number in range(2, 500))
    bench.agent("a1", PORTS, attempt="2", listing=AgentList(tasks=tasks))
    ends = [
        bench.status("a1", each.task_id, TaskState.FAILED).model_copy(update={"message": "é\n" * 2_000})
        for each in tasks
    ]
    call = UpdateStatuses(agent_id="a1", session=bench.session("a1"), statuses=tuple(ends))
    assert len(updates_in(bench.decide(call))) == len(tasks)
    assert max(encoded_sizes(bench)) <= MAX_BODY
    assert len(updates_in(bench.framework("f1"))) == len(tasks)
    assert max(encoded_sizes(bench)) <= MAX_BODY


def test_many_kills_travel_in_several_messages_with_numbers_of_their_own(bench):
    tasks = tuple(running(f"t{number}-" + "x" * 245, "cpus:0.001") for number in range(4_500))
    session = {}
    for at in range(0, len(tasks), 1_500):
        listing = AgentList(tasks=tasks[: at + 1_500])
        session = bench.agent("a1", "cpus:400;mem:4096", attempt=f"n{at}", listing=listing)
    assert session
    said = bench.decide(Teardown(framework_id="f1"))
    kills = of(said, KillTasks)
    assert sum(len(each.task_ids) for each in kills) >= len(tasks)
    assert [each.number for each in kills] == list(range(kills[0].number, kills[0].number + len(kills)))
    assert max(encoded_sizes(bench)) <= MAX_BODY


def test_offers_of_agents_with_much_to_say_travel_in_several_messages():
    bench = Bench()
    attributes = {f"a{number}": "x" * 250 for number in range(200)}
    for number in range(50):
        info = AgentInfo(agent_id=f"a{number}", resources=Resources.parse("cpus:1;mem:64"), attributes=attributes)
        bench.decide(RegisterAgent(agent=info, attempt="1", cells=1))
    messages = of(bench.framework("f1"), Offers)
    assert sum(len(each.offers) for each in messages) == 50
    assert max(len(each.encode()) for each in messages) <= MAX_BODY


def test_agent_that_needs_a_whole_message_to_describe_itself_is_refused():
    bench = Bench()
    info = AgentInfo(agent_id="a1", resources=Resources.parse("cpus:1"), attributes={"a": "x" * 300_000})
    assert len(of(bench.decide(RegisterAgent(agent=info, attempt="1", cells=1)), AgentRefused)) == 1
    assert not bench.state.agents


# -- numbers that have no JSON, or no bounds -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_name", "body"),
    [
        ("SUBSCRIBE", b'{"framework_id":"f","framework":{"framework_id":"f","failover_timeout":1e999}}'),
        (
            "UPDATE_STATUSES",
            b'{"agent_id":"a","session":"x","statuses":[{"task_id":"t","state":"TASK_RUNNING","timestamp":NaN}]}',
        ),
        ("DECLINE", b'{"framework_id":"f","offer_ids":["o"],"refuse_seconds":-Infinity}'),
        ("AGENT_HEARTBEAT", b'{"agent_id":"a","session":"x","highest_term":4503599627370496}'),
        ("AGENT_HEARTBEAT", b'{"agent_id":"a","session":"x","usage":{"load":Infinity}}'),
    ],
)
def test_numbers_that_could_not_be_stored_or_compared_are_refused(type_name, body):
    with pytest.raises(InvalidMessage):
        decode(type_name, body)


def test_advice_of_another_cell_that_cannot_be_summed_up_is_ignored():
    bench = Bench()
    beyond = b'{"total":{"cpus":1000,"ports":%d}}' % (2**63 * 1_000)
    take_in(bench.state, {1: beyond, 2: b"{", 3: b'{"total":{"cpus":4000}}'})
    assert str(bench.state.foreign_total) == "cpus:4"


def test_framework_info_may_not_name_roles_without_end():
    with pytest.raises(ValueError, match="roles"):
        FrameworkInfo(framework_id="f", roles=tuple(map(str, range(101))))


def test_agent_that_filters_hide_from_all_is_looked_at_again_when_the_first_of_them_ends():
    bench = Bench()
    for ident in ("f1", "f2"):
        bench.framework(ident)
    bench.agent("a1", "cpus:4;mem:4096")
    for seconds in (20, 50):
        (offer,) = bench.state.offers.values()
        bench.decide(Decline(framework_id=offer.framework.ident, offer_ids=(offer.offer_id,), refuse_seconds=seconds))
    assert not bench.state.offers
    bench.wait(1.5)
    assert bench.state.agents["a1"].hidden_until > bench.now.mono + 10
    assert offers_in(bench.wait(15, agents=True)) == []
    assert len(offers_in(bench.wait(5, agents=True))) == 1


def test_newcomer_is_offered_at_once_what_filters_hide_from_all_others(bench):
    (offer,) = bench.state.offers.values()
    bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=100))
    bench.wait(1.5)
    assert len(offers_in(bench.framework("f2"))) == 1
