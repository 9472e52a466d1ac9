"""Frameworks: subscription, updates until acknowledged, failover, teardown."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from broker_mesos.core.api.explain import GetPlacement
from broker_mesos.core.cell.inputs import OperatorKill, OperatorReadmit, OperatorTearDown
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentList, AgentTask
from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import KillTasks
from broker_mesos.core.protocol.events import Error, Subscribed, Update
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Acknowledge,
    FrameworkAbsent,
    FrameworkHeartbeat,
    Kill,
    Reconcile,
    Subscribe,
    Teardown,
)
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import FrameworkStatus, RecordKind
from tests.core.cell.harness import Bench, of, offers_in, shape, task, updates_in


@pytest.fixture
def bench() -> Bench:
    """A framework (failover timeout 60 s) with one running task, t1, on the agent a1."""
    bench = Bench()
    bench.framework("f1", failover_timeout=60)
    (offer,) = offers_in(bench.agent("a1", "cpus:4;mem:4096"))
    bench.accept(offer, task("t1", "cpus:1;mem:1024"))
    bench.report("a1", "t1", TaskState.RUNNING)
    return bench


def subscribe(bench: Bench, ident: str = "f1"):
    return bench.framework(ident, failover_timeout=60)


def test_every_subscribe_is_answered(bench):
    (answer,) = of(subscribe(bench), Subscribed)
    assert (answer.framework_id, answer.cell, answer.cells) == ("f1", 0, 1)


def test_heartbeat_of_an_unknown_framework_subscribes_it(bench):
    info = FrameworkInfo(framework_id="f2")
    said = bench.decide(FrameworkHeartbeat(framework_id="f2", framework=info))
    assert len(of(said, Subscribed)) == 1
    assert "f2" in bench.stored[RecordKind.FRAMEWORKS]


def test_terminal_update_is_sent_again_later_and_later_until_acknowledged(bench):
    bench.report("a1", "t1", TaskState.FINISHED)
    times = []
    for second in range(250):
        if updates_in(bench.wait(1)):
            times.append(second)
    assert len(times) == 3  # after 30, 90 and 210 seconds
    bench.decide(Acknowledge(framework_id="f1", task_ids=("t1",)))
    assert updates_in(bench.wait(600)) == []
    assert not bench.state.tasks and not bench.stored[RecordKind.TASKS]


def test_unacknowledged_updates_are_sent_again_when_a_process_subscribes(bench):
    bench.report("a1", "t1", TaskState.FAILED)
    assert [each.state for each in updates_in(subscribe(bench))] == [TaskState.FAILED]


def test_new_owner_sends_unacknowledged_updates_at_once(bench):
    bench.report("a1", "t1", TaskState.FINISHED)
    bench.take_over(term=8)
    assert [each.state for each in updates_in(bench.wait(1.1))] == [TaskState.FINISHED]


def test_running_task_cannot_be_acknowledged_away(bench):
    bench.decide(Acknowledge(framework_id="f1", task_ids=("t1",)))
    assert "t1" in bench.state.tasks


def test_task_of_another_framework_can_neither_be_killed_nor_acknowledged(bench):
    bench.framework("f2")
    said = bench.decide(Kill(framework_id="f2", task_ids=("t1",)))
    assert of(said, KillTasks) == []
    assert [each.state for each in updates_in(said)] == [TaskState.UNKNOWN]
    bench.report("a1", "t1", TaskState.FINISHED)
    bench.decide(Acknowledge(framework_id="f2", task_ids=("t1",)))
    assert "t1" in bench.state.tasks


def test_kill_goes_to_the_agent_and_its_repeat_too(bench):
    for _ in range(2):
        assert [each.task_ids for each in of(bench.decide(Kill(framework_id="f1", task_ids=("t1",))), KillTasks)] == [
            ("t1",)
        ]


def test_kill_by_hand_reaches_the_agent(bench):
    assert len(of(bench.decide(OperatorKill("t1")), KillTasks)) == 1


def test_kill_of_an_ended_task_is_silent(bench):
    bench.report("a1", "t1", TaskState.FINISHED)
    assert bench.decide(Kill(framework_id="f1", task_ids=("t1",))) == []


def test_explicit_reconciliation_answers_each_id(bench):
    said = bench.decide(Reconcile(framework_id="f1", task_ids=("t1", "t2")))
    found = {each.task_id: (each.state, each.reason) for each in updates_in(said)}
    assert found == {
        "t1": (TaskState.RUNNING, Reason.RECONCILIATION),
        "t2": (TaskState.UNKNOWN, Reason.RECONCILIATION),
    }


def test_implicit_reconciliation_answers_all_tasks(bench):
    said = bench.decide(Reconcile(framework_id="f1"))
    assert [each.task_id for each in updates_in(said)] == ["t1"]


def test_reconciliation_sent_to_all_cells_is_silent_about_unknown_tasks(bench):
    said = bench.decide(Reconcile(framework_id="f1", task_ids=("t2",), answer_unknown=False))
    assert said == []


def test_silent_framework_is_disconnected_and_its_tasks_live_until_its_failover_timeout(bench):
    bench.wait(12, beating=False, agents=True)
    framework = bench.state.frameworks["f1"]
    assert framework.state is FrameworkStatus.DISCONNECTED and not framework.offers
    assert bench.state.tasks["t1"].state is TaskState.RUNNING
    said = bench.wait(61, beating=False, agents=True)
    assert framework.state is FrameworkStatus.TORN_DOWN
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]
    assert [to for to, each in said if isinstance(each, Teardown)] == ["calls:all"]


def test_framework_that_comes_back_in_time_keeps_its_tasks(bench):
    bench.wait(50, beating=False, agents=True)
    subscribe(bench)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.SUBSCRIBED
    bench.wait(60, agents=True)
    assert bench.state.tasks["t1"].state is TaskState.RUNNING


def test_failover_timeout_goes_on_under_a_new_owner(bench):
    bench.wait(40, beating=False)
    bench.take_over(term=8)
    bench.wait(42, beating=False)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.TORN_DOWN


def test_a_new_owner_tells_frameworks_that_it_has_heard_nothing_of_what_they_want(bench):
    bench.framework("f2")
    bench.decide(Teardown(framework_id="f2"))
    before = len(bench.said)
    bench.take_over(term=8)
    (told,) = of(bench.said[before:], Subscribed)
    assert (told.framework_id, told.demand) == ("f1", 0)


def test_only_the_home_cell_tears_a_silent_framework_down():
    bench = Bench(cells=2)
    foreign = next(name for name in ("fa", "fb", "fc", "fd", "fe") if not bench.state.is_home_of(name))
    bench.framework(foreign)
    bench.wait(100, beating=False)
    assert bench.state.frameworks[foreign].state is FrameworkStatus.DISCONNECTED


def test_teardown_ends_everything_once(bench):
    said = bench.decide(Teardown(framework_id="f1"))
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]
    assert not bench.state.offers
    assert bench.decisions[-1].delete_queues == ["f1"]
    assert bench.decide(Teardown(framework_id="f1")) == []
    said = bench.report("a1", "t1", TaskState.KILLED)
    assert updates_in(said) == [] and of(said, Update) == []
    assert not bench.state.tasks and not bench.stored[RecordKind.TASKS]
    assert not bench.state.agents["a1"].used


def test_late_subscribe_revives_nothing(bench):
    bench.decide(Teardown(framework_id="f1"))
    said = subscribe(bench)
    assert len(of(said, Error)) == 1 and offers_in(said) == []
    bench.take_over(term=8)
    assert len(of(subscribe(bench), Error)) == 1
    assert bench.state.frameworks["f1"].state is FrameworkStatus.TORN_DOWN


def test_teardown_that_comes_before_subscribe_leaves_a_tombstone():
    bench = Bench()
    bench.decide(Teardown(framework_id="f9"))
    info = FrameworkInfo(framework_id="f9")
    assert len(of(bench.decide(Subscribe(framework_id="f9", framework=info)), Error)) == 1


def test_task_of_a_torn_down_framework_is_killed_when_its_agent_lists_it(bench):
    bench.wait(27)
    bench.decide(Teardown(framework_id="f1"))
    listed = AgentTask(task_id="t1", framework_id="f1", resources=Resources.parse("cpus:1;mem:1024"))
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=AgentList(tasks=(listed,)))
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]


def test_tombstone_is_forgotten_after_its_queues_could_have_expired(bench):
    bench.decide(Teardown(framework_id="f1"))
    bench.report("a1", "t1", TaskState.KILLED)
    bench.state.seconds += 9 * 86_400
    bench.wait(2)
    assert not bench.state.frameworks and not bench.stored[RecordKind.FRAMEWORKS]


def test_history_of_a_framework_is_bounded():
    bench = Bench(limits=Limits(completed=3))
    bench.framework("f1")
    bench.agent("a1", "cpus:4;mem:4096")
    for number in range(5):
        (offer,) = bench.state.offers.values()
        accept = Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=(task(f"t{number}", "cpus:4;mem:1"),))
        bench.decide(accept)
        bench.report("a1", f"t{number}", TaskState.FINISHED)
        bench.decide(Acknowledge(framework_id="f1", task_ids=(f"t{number}",)))
        bench.wait(6)
    assert [each.task_id for each in bench.state.frameworks["f1"].completed] == ["t2", "t3", "t4"]


def test_home_cell_that_has_lost_a_framework_is_reminded_of_it_and_ends_it():
    """Its store went back in time: nobody else may decide the end of the framework."""
    benches = [Bench(cells=2, cell=number) for number in (0, 1)]
    name = next(each for each in ("fa", "fb", "fc", "fd") if benches[1].state.is_home_of(each))
    other, home = benches
    other.framework(name, failover_timeout=60)
    said = other.wait(120.0, beating=False)
    absent = [each for each in of(said, FrameworkAbsent) if each.framework_id == name]
    assert absent and absent[0].seconds >= 60
    home.wait(30.0)
    assert name not in home.state.frameworks
    said = home.decide(absent[0]) + home.wait(15.0)
    [teardown] = of(said, Teardown)
    other.decide(teardown)
    assert other.state.frameworks[name].state is FrameworkStatus.TORN_DOWN
    # Should the other cell have missed the end, it is told again.
    assert of(home.decide(absent[0]), Teardown)


def step_calendar(bench: Bench, seconds: float) -> None:
    """The owner's calendar is set right; no time passes."""
    bench.now = bench.now._replace(wall=bench.now.wall + seconds)


@pytest.mark.parametrize("seconds", [3600.0, 40 * 86_400.0, -3600.0])
def test_step_of_the_owners_calendar_is_no_absence(bench, seconds):
    bench.wait(20, beating=False, agents=True)
    step_calendar(bench, seconds)
    bench.wait(30, beating=False, agents=True)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.DISCONNECTED
    assert bench.state.tasks["t1"].state is TaskState.RUNNING
    bench.wait(40, beating=False, agents=True)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.TORN_DOWN


def test_time_for_which_the_owner_was_stopped_is_no_absence(bench):
    bench.wait(20, beating=False)
    bench.now = bench.now._replace(mono=bench.now.mono + 3600)
    bench.decide()
    assert bench.state.frameworks["f1"].state is FrameworkStatus.DISCONNECTED


def test_new_owner_with_another_calendar_counts_only_time_that_passed(bench):
    bench.wait(20, beating=False)
    step_calendar(bench, 10 * 86_400.0)
    bench.take_over(term=8)
    bench.wait(30, beating=False)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.DISCONNECTED


def test_absence_counts_on_under_owners_that_each_last_only_a_while(bench):
    for term in range(8, 20):
        bench.wait(25, beating=False)
        bench.take_over(term=term)
    bench.wait(25, beating=False)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.TORN_DOWN


def test_framework_without_a_failover_timeout_is_never_torn_down_by_time():
    bench = Bench()
    bench.framework("f1", failover_timeout=None)
    bench.wait(20, beating=False)
    bench.cell.state.seconds += 10 * 365 * 86_400.0
    bench.wait(20, beating=False)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.DISCONNECTED


def test_step_of_the_calendar_forgets_no_tombstone(bench):
    bench.decide(Teardown(framework_id="f1"))
    bench.report("a1", "t1", TaskState.KILLED)
    step_calendar(bench, 9 * 86_400.0)
    bench.wait(2)
    assert bench.state.frameworks["f1"].state is FrameworkStatus.TORN_DOWN


def test_operator_tears_a_framework_down_and_every_other_cell_learns_of_it():
    bench = Bench(cells=2)
    for ident in ("f1", "f2", "f3", "f4"):
        bench.framework(ident, failover_timeout=60)
        said = bench.decide(OperatorTearDown(ident))
        assert [to for to, each in said if isinstance(each, Teardown)] == ["calls:all"]
        assert bench.state.frameworks[ident].state is FrameworkStatus.TORN_DOWN
        assert of(bench.decide(OperatorTearDown(ident)), Teardown) == []
    assert len({bench.state.is_home_of(ident) for ident in bench.state.frameworks}) == 2
    bench.decide(OperatorTearDown("nobody"))
    assert "nobody" not in bench.state.frameworks, "an id that was mistyped is not refused from then on"


def test_operator_who_tears_a_framework_down_ends_its_tasks_and_offers(bench):
    said = bench.decide(OperatorTearDown("f1"))
    assert [each.task_ids for each in of(said, KillTasks)] == [("t1",)]
    assert bench.state.offers == {}
    (error,) = of(subscribe(bench), Error)
    assert "was torn down" in error.message


def test_operator_readmits_a_framework_that_was_torn_down(bench):
    bench.decide(Teardown(framework_id="f1"))
    bench.report("a1", "t1", TaskState.KILLED)
    bench.decide(OperatorReadmit("f1"))
    assert "f1" not in bench.stored[RecordKind.FRAMEWORKS]
    assert len(of(subscribe(bench), Subscribed)) == 1


def test_framework_that_is_readmitted_before_its_tasks_have_ended_hears_of_their_end(bench):
    bench.decide(Teardown(framework_id="f1"))
    bench.decide(OperatorReadmit("f1"))
    bench.wait(9)
    assert len(of(subscribe(bench), Subscribed)) == 1
    said = bench.report("a1", "t1", TaskState.KILLED)
    assert [(each.task_id, each.state) for each in updates_in(said)] == [("t1", TaskState.KILLED)]


def test_readmitting_a_framework_that_was_not_torn_down_changes_nothing(bench):
    assert bench.decide(OperatorReadmit("f1")) == []
    assert bench.decide(OperatorReadmit("f7")) == []
    assert bench.state.tasks["t1"].state is TaskState.RUNNING
    assert "f7" not in bench.state.frameworks


def test_home_cell_waits_for_a_heartbeat_before_it_believes_another_cell_that_a_framework_is_gone():
    bench = Bench()
    absent = FrameworkAbsent(framework_id="f9", framework=FrameworkInfo(framework_id="f9"), seconds=1e9)
    bench.wait(30)
    bench.decide(absent)
    bench.wait(5)
    assert len(of(bench.framework("f9"), Subscribed)) == 1


def test_framework_is_told_the_version_that_silences_it(bench):
    """One message with a high version must not silence a framework until the owner of its cell changes."""
    info = bench.state.frameworks["f1"].info
    bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=Demand(version=2**47, wanted=False)))
    beat = FrameworkHeartbeat(framework_id="f1", framework=info, demand=Demand(version=2_000_000))
    for _ in range(4):
        assert of(bench.decide(beat), Subscribed) == []
    (subscribed,) = of(bench.decide(beat), Subscribed)
    assert subscribed.demand == 2**47
    request = GetPlacement(framework_id="f1", shape=shape("cpus:1"))
    found = placement(bench.state, bench.cell.policy, request, bench.now)
    assert "is older than version" in found.unwanted
    bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=Demand(version=2**47 + 1)))
    assert placement(bench.state, bench.cell.policy, request, bench.now).unwanted == ""


@pytest.mark.parametrize("version", [2**48 + 1, 2**63, -2])
def test_demand_version_out_of_bounds_is_refused(version):
    with pytest.raises(ValidationError):
        Demand(version=version)
