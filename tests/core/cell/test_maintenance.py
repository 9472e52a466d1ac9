"""Maintenance: draining agents, taking them back, planning when they are away."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.maintenance import (
    ActivateAgents,
    AgentMaintenance,
    CancelMaintenance,
    DeactivateAgents,
    DrainAgents,
    GetMaintenance,
    ScheduleMaintenance,
)
from broker_mesos.core.cell.allocation.feasibility import Infeasible
from broker_mesos.core.cell.allocation.round import Round
from broker_mesos.core.cell.allocation.shares import claimants_of
from broker_mesos.core.cell.handlers import maintenance
from broker_mesos.core.cell.inputs import OperatorKill, OperatorMaintain, OperatorMarkGone
from broker_mesos.core.model.agent import AgentList, AgentTask, Unavailability
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import AgentRegistered, KillTasks, LaunchTasks, UnregisterAgent
from broker_mesos.core.protocol.events import InverseOffers, Rescind
from broker_mesos.core.protocol.framework_messages import Accept, AnswerInverseOffers, Kill, Settle
from broker_mesos.core.protocol.records import AgentStatus, RecordKind
from broker_mesos.core.protocol.wire import Message
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in

S = TaskState
HOUR = 3_600.0


@pytest.fixture
def bench() -> Bench:
    """A framework with one task, t1, running on the agent a1; the rest of it is offered to it."""
    bench = Bench()
    bench.framework("f1", failover_timeout=1e6)
    (offer,) = offers_in(bench.agent("a1", "cpus:4;mem:4096"))
    bench.accept(offer, task("t1", "cpus:1;mem:1024"), refuse=0)
    bench.report("a1", "t1", S.RUNNING)
    bench.wait(1.1, agents=True)
    assert bench.state.agents["a1"].offers
    return bench


def drain(bench: Bench, *agents: str, **more) -> list[tuple[str, Message]]:
    return bench.decide(OperatorMaintain(DrainAgents(agent_ids=agents or ("a1",), **more)))


def activate(bench: Bench) -> list[tuple[str, Message]]:
    return bench.decide(OperatorMaintain(ActivateAgents(agent_ids=("a1",))))


def schedule(bench: Bench, after: float, duration: float | None = HOUR) -> list[tuple[str, Message]]:
    start = bench.now.wall + after
    return bench.decide(OperatorMaintain(ScheduleMaintenance(agent_ids=("a1",), start=start, duration=duration)))


def seen(bench: Bench) -> AgentMaintenance:
    (found,) = maintenance.view(bench.state, GetMaintenance(agent_ids=("a1",))).agents
    return found


def word(bench: Bench) -> str:
    return seen(bench).maintenance


def listing(*ids: str) -> AgentList:
    return AgentList(
        tasks=tuple(
            AgentTask(task_id=ident, framework_id="f1", resources=Resources.parse("cpus:1;mem:1024")) for ident in ids
        )
    )


# -- drain ----------------------------------------------------------------------------------------------


def test_a_draining_agent_loses_its_offers_and_its_tasks_and_is_then_drained(bench):
    said = drain(bench)
    assert of(said, Rescind) and not offers_in(said)
    (kill,) = of(said, KillTasks)
    assert kill.task_ids == ("t1",) and kill.grace is None
    assert (word(bench), seen(bench).tasks) == ("draining", 1)
    (status,) = updates_in(bench.report("a1", "t1", S.KILLED))
    assert (status.state, status.reason) == (S.KILLED, Reason.AGENT_DRAINING)
    assert (word(bench), seen(bench).tasks) == ("drained", 0)
    assert not offers_in(bench.wait(20, agents=True))


def test_an_accept_that_races_the_drain_launches_nothing(bench):
    (offer,) = bench.state.agents["a1"].offers.values()
    drain(bench)
    call = Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=(task("t2", "cpus:1"),))
    said = bench.decide(call)
    assert not of(said, LaunchTasks)
    assert [each.state for each in updates_in(said)] == [S.DROPPED]


def test_an_agent_without_tasks_is_drained_at_once():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    drain(bench)
    assert word(bench) == "drained"


def test_a_task_that_is_on_its_way_is_killed_after_its_launch(bench):
    (offer,) = offers_in(bench.agent("a2", "cpus:4;mem:4096"))
    call = Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=(task("t2", "cpus:1"),))
    said = bench.decide(call, OperatorMaintain(DrainAgents(agent_ids=("a2",))))
    launched, killed = of(said, LaunchTasks)[0], of(said, KillTasks)[0]
    assert launched.number + 1 == killed.number and killed.task_ids == ("t2",)


def test_grace_caps_the_time_of_a_task_and_a_shorter_one_may_follow(bench):
    assert [each.grace for each in of(drain(bench, grace=30.0), KillTasks)] == [30.0]
    assert not of(drain(bench, grace=30.0), KillTasks)  # a repeat
    assert [each.grace for each in of(drain(bench, grace=0.0), KillTasks)] == [0.0]


def test_a_task_that_ends_by_itself_keeps_its_end(bench):
    drain(bench)
    (status,) = updates_in(bench.report("a1", "t1", S.FINISHED))
    assert (status.state, status.reason) == (S.FINISHED, None)
    assert word(bench) == "drained"


@pytest.mark.parametrize(
    "by", [Kill(framework_id="f1", task_ids=("t1",)), OperatorKill("t1")], ids=["framework", "operator"]
)
@pytest.mark.parametrize("first", ["kill", "drain"])
def test_who_kills_a_task_for_its_own_sake_is_told_so_even_on_a_draining_agent(bench, by, first):
    if first == "kill":
        bench.decide(by)
    drain(bench)
    if first == "drain":
        bench.decide(by)
    bench.take_over(8)
    (status,) = updates_in(bench.report("a1", "t1", S.KILLED))
    assert (status.state, status.reason) == (S.KILLED, None)


def test_a_drain_goes_on_under_the_next_owner(bench):
    drain(bench, grace=5.0)
    bench.take_over(8)
    assert word(bench) == "draining"
    assert not of(bench.wait(3, agents=True), KillTasks)  # the outbox has it
    (status,) = updates_in(bench.report("a1", "t1", S.KILLED))
    assert status.reason is Reason.AGENT_DRAINING and word(bench) == "drained"
    bench.take_over(9)
    assert word(bench) == "drained"
    assert not offers_in(bench.wait(3, agents=True))


def test_an_agent_that_registers_again_stays_drained_until_it_is_activated(bench):
    drain(bench)
    bench.report("a1", "t1", S.KILLED)
    said = bench.agent("a1", "cpus:8;mem:8192", attempt="2")
    assert of(said, AgentRegistered) and not offers_in(bench.wait(3, agents=True))
    assert word(bench) == "drained"
    (offer,) = offers_in(activate(bench))
    assert offer.resources == Resources.parse("cpus:8;mem:8192") and word(bench) == ""


def test_an_agent_that_leaves_while_it_is_drained_is_not_forgotten(bench):
    drain(bench)
    bench.report("a1", "t1", S.KILLED)
    bench.decide(UnregisterAgent(agent_id="a1", session=bench.session("a1")))
    bench.take_over(8)
    assert word(bench) == "drained"
    assert not offers_in(bench.agent("a1", "cpus:4;mem:4096", attempt="2"))


def test_what_an_unreachable_agent_runs_is_killed_when_it_is_back(bench):
    bench.wait(60)
    assert bench.state.agents["a1"].state is AgentStatus.UNREACHABLE
    assert not of(drain(bench, grace=7.0), KillTasks)
    bench.wait(3)
    assert word(bench) == "draining"
    bench.take_over(8)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=listing("t1"))
    assert [(each.task_ids, each.grace) for each in of(said, KillTasks)] == [(("t1",), 7.0)]
    (status,) = updates_in(bench.report("a1", "t1", S.KILLED))
    assert status.reason is Reason.AGENT_DRAINING and word(bench) == "drained"


def test_a_launch_that_never_arrived_at_a_drained_agent_ends_as_drained(bench):
    (offer,) = offers_in(bench.agent("a2", "cpus:4;mem:4096"))
    bench.accept(offer, task("t2", "cpus:1"))
    drain(bench, "a2")
    (status,) = updates_in(bench.agent("a2", "cpus:4;mem:4096", attempt="2"))
    assert (status.state, status.reason) == (S.KILLED, Reason.AGENT_DRAINING)


def test_a_task_that_comes_to_light_on_a_drained_agent_is_killed(bench):
    drain(bench)
    bench.report("a1", "t1", S.KILLED)
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=listing("t9"))
    assert [each.task_ids for each in of(said, KillTasks)] == [("t9",)]
    assert word(bench) == "draining"
    (status,) = updates_in(bench.report("a1", "t9", S.KILLED))
    assert status.reason is Reason.AGENT_DRAINING and word(bench) == "drained"


def test_in_a_recovery_an_agent_is_drained_only_once_its_list_is_there(bench):
    drain(bench)
    bench.stored[RecordKind.TASKS].clear()
    bench.take_over(8, recovering=True)
    bench.wait(2)
    assert word(bench) == "draining"
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=listing("t1"))
    assert of(said, KillTasks) and word(bench) == "draining"
    bench.report("a1", "t1", S.KILLED)
    assert word(bench) == "drained"


def test_with_gone_the_agent_is_gone_once_no_task_is_left(bench):
    drain(bench, gone=True)
    bench.take_over(8)
    assert seen(bench).state is AgentStatus.REGISTERED
    said = bench.report("a1", "t1", S.KILLED)
    assert [each.state for each in updates_in(said)] == [S.KILLED]  # not TASK_GONE_BY_OPERATOR
    assert (seen(bench).state, word(bench)) == (AgentStatus.GONE, "drained")
    # Should it come back all the same: it is there, and drained, and not made gone for ever and ever.
    bench.agent("a1", "cpus:4;mem:4096", attempt="2")
    bench.wait(3, agents=True)
    assert (seen(bench).state, word(bench)) == (AgentStatus.REGISTERED, "drained")


def test_gone_may_be_asked_for_when_the_agent_is_drained_already():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    drain(bench)
    assert seen(bench).state is AgentStatus.REGISTERED
    drain(bench, gone=True)
    assert seen(bench).state is AgentStatus.GONE


def test_an_agent_marked_as_gone_by_hand_while_it_drains_is_drained(bench):
    drain(bench)
    assert [each.state for each in updates_in(bench.decide(OperatorMarkGone("a1")))] == [S.GONE_BY_OPERATOR]
    assert word(bench) == "drained"


def test_repeats_write_nothing(bench):
    for request in (DrainAgents(agent_ids=("a1",), grace=3.0), DeactivateAgents(agent_ids=("a1",))):
        bench.decide(OperatorMaintain(request))
        bench.decide(OperatorMaintain(request))
        assert not bench.decisions[-1].writes and not bench.decisions[-1].outbox
    activate(bench)
    activate(bench)
    assert not bench.decisions[-1].writes


def test_an_unknown_agent_is_passed_over(bench):
    assert not drain(bench, "nobody")
    assert not maintenance.view(bench.state, GetMaintenance(agent_ids=("nobody",))).agents


def test_a_claim_on_a_draining_agent_settles_as_dropped(bench):
    (offer,) = bench.state.agents["a1"].offers.values()
    drain(bench)
    said = bench.decide(Settle(framework_id="f1", claims=(("t2", offer.offer_id),)))
    assert [each.state for each in updates_in(said)] == [S.DROPPED]


# -- deactivate -----------------------------------------------------------------------------------------


def test_a_deactivated_agent_keeps_its_tasks_and_gets_no_offers(bench):
    said = bench.decide(OperatorMaintain(DeactivateAgents(agent_ids=("a1",))))
    assert of(said, Rescind) and not of(said, KillTasks)
    bench.take_over(8)
    assert not offers_in(bench.wait(3, agents=True))
    assert (word(bench), seen(bench).tasks) == ("deactivated", 1)
    assert offers_in(activate(bench) + bench.wait(2, agents=True))


def test_the_checkers_name_the_drain_of_an_agent(bench):
    def checked() -> object:
        framework, agent = bench.state.frameworks["f1"], bench.state.agents["a1"]
        claimants = claimants_of(bench.state)
        round_ = Round(bench.state, bench.cell.policy, [agent], bench.now, claimants, explain=True)
        return round_.feasibility.check(round_.feasibility.requirement(framework, "*"), agent)

    for request, what in (
        (DeactivateAgents(agent_ids=("a1",)), "deactivated"),
        (DrainAgents(agent_ids=("a1",)), "draining"),
    ):
        bench.decide(OperatorMaintain(request))
        found = checked()
        assert isinstance(found, Infeasible) and found.what == "drain" and what in found.message
    activate(bench)
    assert not isinstance(checked(), Infeasible) or checked().what != "drain"


# -- schedules ------------------------------------------------------------------------------------------


def asked(said: list[tuple[str, Message]]) -> list[tuple[str, str]]:
    return [
        (each.agent_id, each.framework_id) for message in of(said, InverseOffers) for each in message.inverse_offers
    ]


def test_a_planned_absence_is_in_the_offers_and_asked_for_until_it_is_answered(bench):
    said = schedule(bench, after=HOUR)
    window = Unavailability(start=bench.now.wall + HOUR, duration=HOUR)
    assert of(said, Rescind) and asked(said) == [("a1", "f1")]
    assert of(said, InverseOffers)[0].inverse_offers[0].unavailability == window
    assert [each.unavailability for each in offers_in(said)] == [window]
    assert seen(bench).unanswered == ("f1",)
    assert len(asked(bench.wait(100, agents=True))) == 2  # after 30 s, after 60 s more, ...
    bench.decide(AnswerInverseOffers(framework_id="f1", agent_ids=("a1", "nobody"), accept=True))
    assert not asked(bench.wait(120, agents=True))
    bench.take_over(8)
    assert not asked(bench.wait(20, agents=True))
    assert (seen(bench).accepted, seen(bench).declined, seen(bench).unanswered) == (("f1",), (), ())
    bench.decide(AnswerInverseOffers(framework_id="f1", agent_ids=("a1",), accept=False))
    assert (seen(bench).accepted, seen(bench).declined) == ((), ("f1",))


def test_only_frameworks_with_tasks_there_are_asked(bench):
    bench.framework("f2")
    assert asked(schedule(bench, after=HOUR)) == [("a1", "f1")]
    bench.report("a1", "t1", S.FINISHED)
    assert not asked(bench.wait(60, agents=True)) and seen(bench).unanswered == ()


def test_at_its_start_the_agent_is_drained_and_at_its_end_it_is_used_again(bench):
    schedule(bench, after=60, duration=HOUR)
    assert not of(bench.wait(58, agents=True), KillTasks)
    said = bench.wait(3, agents=True)
    assert of(said, KillTasks) and not bench.state.agents["a1"].offers
    assert (word(bench), seen(bench).scheduled) == ("draining", True)
    (status,) = updates_in(bench.report("a1", "t1", S.KILLED))
    assert status.reason is Reason.AGENT_DRAINING and word(bench) == "drained"
    bench.take_over(8)
    bench.now = bench.now._replace(wall=bench.now.wall + HOUR - 10)
    assert not offers_in(bench.wait(3, agents=True)) and word(bench) == "drained"
    (offer,) = offers_in(bench.wait(10, agents=True))
    assert offer.unavailability is None
    assert (word(bench), seen(bench).unavailability) == ("", None)


def test_an_owner_that_comes_after_the_absence_takes_the_agent_back(bench):
    schedule(bench, after=5, duration=60)
    bench.wait(10, agents=True)
    bench.report("a1", "t1", S.KILLED)
    bench.now = bench.now._replace(wall=bench.now.wall + HOUR)
    bench.take_over(8)
    assert offers_in(bench.wait(3, agents=True)) and word(bench) == ""


def test_an_absence_for_good_does_not_end(bench):
    schedule(bench, after=0, duration=None)
    bench.report("a1", "t1", S.KILLED)
    bench.now = bench.now._replace(wall=bench.now.wall + 100 * HOUR)
    bench.wait(3, agents=True)
    assert word(bench) == "drained"


def test_what_an_operator_drained_by_hand_stays_drained_at_the_end(bench):
    schedule(bench, after=5, duration=60)
    drain(bench)
    bench.wait(10, agents=True)
    assert not seen(bench).scheduled
    bench.report("a1", "t1", S.KILLED)
    bench.wait(90, agents=True)
    assert (word(bench), seen(bench).unavailability) == ("drained", None)


def test_a_drain_by_hand_during_the_absence_outlives_it(bench):
    schedule(bench, after=0, duration=60)
    drain(bench)
    bench.report("a1", "t1", S.KILLED)
    bench.wait(90, agents=True)
    assert word(bench) == "drained"


def test_activating_an_agent_during_its_absence_ends_that(bench):
    schedule(bench, after=0)
    bench.report("a1", "t1", S.KILLED)
    assert offers_in(activate(bench))
    bench.wait(5, agents=True)
    assert (word(bench), seen(bench).unavailability) == ("", None)


def test_activating_an_agent_before_its_absence_leaves_the_plan(bench):
    schedule(bench, after=HOUR)
    drain(bench)
    activate(bench)
    assert word(bench) == "" and seen(bench).unavailability is not None


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_cancelled_absence_ends_its_own_drain_only(bench, by_hand):
    schedule(bench, after=0)
    if by_hand:
        drain(bench)
    bench.report("a1", "t1", S.KILLED)
    bench.decide(OperatorMaintain(CancelMaintenance(agent_ids=("a1",))))
    bench.wait(3, agents=True)
    assert (word(bench), seen(bench).unavailability) == ("drained" if by_hand else "", None)


def test_another_plan_takes_the_place_of_the_first_and_is_asked_for_anew(bench):
    schedule(bench, after=HOUR)
    bench.decide(AnswerInverseOffers(framework_id="f1", agent_ids=("a1",), accept=True))
    said = schedule(bench, after=2 * HOUR)
    assert asked(said) == [("a1", "f1")] and seen(bench).accepted == ()
    assert not asked(bench.decide())


def test_the_same_plan_again_changes_nothing(bench):
    request = ScheduleMaintenance(agent_ids=("a1",), start=bench.now.wall + HOUR, duration=HOUR)
    bench.decide(OperatorMaintain(request))
    bench.decide(AnswerInverseOffers(framework_id="f1", agent_ids=("a1",), accept=True))
    bench.decide(OperatorMaintain(request))
    assert not bench.decisions[-1].writes and seen(bench).accepted == ("f1",)


def test_a_task_killed_for_the_absence_counts_as_drained_when_the_agent_is_away_till_then(bench):
    schedule(bench, after=5)
    bench.wait(60)
    assert bench.state.agents["a1"].state is AgentStatus.UNREACHABLE
    said = bench.agent("a1", "cpus:4;mem:4096", attempt="2", listing=listing("t1"))
    assert of(said, KillTasks)


def test_the_list_names_what_is_planned_only(bench):
    bench.agent("a2", "cpus:4;mem:4096")
    assert maintenance.view(bench.state, GetMaintenance()).agents == ()
    drain(bench, "a2")
    assert [each.agent_id for each in maintenance.view(bench.state, GetMaintenance()).agents] == ["a2"]
