"""The decision log of a cell: which input caused what."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from broker_mesos.core.api.story import GetStory
from broker_mesos.core.cell.causes import describe
from broker_mesos.core.cell.inputs import OperatorKill, OperatorOperate
from broker_mesos.core.cell.state import decision_log
from broker_mesos.core.cell.state.decision_log import DecisionLog
from broker_mesos.core.cell.views.story import MAX_EFFECTS_SHOWN, MAX_STORY_BYTES, story
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, UnregisterAgent
from broker_mesos.core.protocol.framework_messages import Accept, Acknowledge, Decline, Kill, Teardown
from broker_mesos.core.protocol.wire import Message
from tests.core.cell.harness import Bench, offers_in, task
from tests.core.cell.yard import reserve


def decisions_about(bench: Bench, ident: str, limit: int = 50) -> list[tuple[str, list[str]]]:
    """Causes with their effects, as texts."""
    found = story(bench.state, GetStory(id=ident, limit=limit)).decisions
    return [(f"{each.cause} {each.sender}".strip(), [" ".join(effect) for effect in each.effects]) for each in found]


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.framework("f1")
    made.agent("a1", "cpus:4;mem:4096")
    return made


def launch(bench: Bench, *idents: str) -> str:
    offer = next(iter(bench.state.offers))
    tasks = tuple(task(ident, "cpus:1;mem:64") for ident in idents)
    bench.decide(Accept(framework_id="f1", offer_ids=(offer,), tasks=tasks, refuse_seconds=1000.0))
    return offer


def test_the_story_of_a_task_goes_from_its_launch_to_its_end(bench: Bench):
    launch(bench, "t1", "t2")
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.report("a1", "t2", TaskState.RUNNING)
    bench.decide(Kill(framework_id="f1", task_ids=("t1",)))
    bench.report("a1", "t1", TaskState.KILLED)
    assert decisions_about(bench, "t1") == [
        ("ACCEPT f1", ["launch t1 a1"]),
        ("UPDATE_STATUSES a1", ["TASK_RUNNING t1 f1"]),
        ("KILL f1", ["kill t1 a1"]),
        ("UPDATE_STATUSES a1", ["TASK_KILLED t1 f1"]),
    ]


def test_the_story_of_an_offer_goes_from_its_round_to_its_end(bench: Bench):
    offer = launch(bench, "t1")
    assert decisions_about(bench, offer) == [
        ("allocation", [f"offer {offer} f1 a1"]),
        ("ACCEPT f1", [f"offer ended {offer} f1 a1"]),
    ]


def test_an_offer_that_nobody_answers_ends_by_its_timeout(bench: Bench):
    offer = next(iter(bench.state.offers))
    bench.wait(20)
    assert decisions_about(bench, offer)[-1][0] == "offer timeouts"


def test_a_message_without_effect_is_kept_and_a_heartbeat_without_effect_is_not(bench: Bench):
    offer = launch(bench, "t1")
    before = len(bench.state.log)
    bench.decide(AgentHeartbeat(agent_id="a1", session=bench.session("a1"), applied=1, running=1))
    assert len(bench.state.log) == before
    bench.decide(Decline(framework_id="f1", offer_ids=(offer,)))
    assert decisions_about(bench, offer)[-1] == ("DECLINE f1", [])


def test_a_heartbeat_with_an_effect_is_kept(bench: Bench):
    bench.decide(AgentHeartbeat(agent_id="a9", session="x"))
    assert decisions_about(bench, "a9") == [("AGENT_HEARTBEAT a9", ["REREGISTER a9"])]


def test_inputs_of_operators_are_kept_and_refused_ones_too(bench: Bench):
    launch(bench, "t1")
    bench.decide(OperatorKill("t1"))
    assert decisions_about(bench, "t1")[-1] == ("OperatorKill", ["kill t1 a1"])
    bench.decide(OperatorOperate("a1", reserve("eng", "cpus:99")))
    assert decisions_about(bench, "a1")[-1] == ("OperatorOperate a1", ["refused a1"])


def test_the_story_of_a_sender_has_all_effects_of_its_message(bench: Bench):
    launch(bench, "t1", "t2")
    cause, effects = decisions_about(bench, "f1")[-1]
    assert cause == "ACCEPT f1" and effects[1:] == ["launch t1 a1", "launch t2 a1"]


def test_the_latest_decisions_are_kept_if_there_are_too_many(bench: Bench):
    launch(bench, "t1")
    for state in (TaskState.STARTING, TaskState.RUNNING):
        bench.report("a1", "t1", state)
    assert [effects for _, effects in decisions_about(bench, "t1", limit=2)] == [
        ["TASK_STARTING t1 f1"],
        ["TASK_RUNNING t1 f1"],
    ]


def test_causes_have_ids_that_count_up_within_a_term_and_the_time_of_the_owner(bench: Bench):
    launch(bench, "t1")
    bench.wait(2)
    bench.report("a1", "t1", TaskState.RUNNING)
    first, second = story(bench.state, GetStory(id="t1")).decisions
    assert first.cause_id.startswith("0-7-") and second.cause_id.startswith("0-7-")
    assert int(first.cause_id.rpartition("-")[2]) < int(second.cause_id.rpartition("-")[2])
    assert second.at == pytest.approx(first.at + 2)


def test_a_new_owner_begins_with_an_empty_log(bench: Bench):
    launch(bench, "t1")
    bench.take_over(term=8)
    assert decisions_about(bench, "t1") == []
    assert [each.cause for each in story(bench.state, GetStory(id="f1")).decisions] == ["new owner"]


def test_many_effects_are_cut_in_a_view_and_counted():
    bench = Bench()
    bench.framework("f1")
    for at in range(MAX_EFFECTS_SHOWN + 5):
        bench.agent(f"a{at}", "cpus:1;mem:64")
    bench.state.reconsider = True
    for offer in list(bench.state.offers.values()):
        bench.state.end_offer(offer)
    bench.decide()
    last = story(bench.state, GetStory(id="f1")).decisions[-1]
    assert last.cause == "allocation" and len(last.effects) == MAX_EFFECTS_SHOWN and last.more == 5 + 1


def test_a_view_fits_into_one_message():
    bench = Bench()
    log = bench.state.log
    long = "x" * 255
    for _ in range(600):
        log.begin("allocation")
        for _ in range(30):
            log.record("offer", long, long, long)
    log.close()
    found = story(bench.state, GetStory(id=long, limit=500))
    assert 0 < len(found.decisions) < 500 and len(found.model_dump_json()) < MAX_STORY_BYTES * 1.2


def test_the_log_is_bounded_in_causes_and_in_effects(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decision_log, "MAX_CAUSES", 10)
    monkeypatch.setattr(decision_log, "MAX_EFFECTS", 100)
    log = DecisionLog()
    for at in range(50):
        log.begin(Decline(framework_id="f1", offer_ids=(f"o{at}",)))
    log.close()
    assert len(log) == 10 and log.size == 10
    for _ in range(3):
        log.begin("allocation")
        for at in range(80):
            log.record("offer", f"o{at}", "f1", "a1")
        log.close()
    assert log.size <= 100 and len(log) == 2
    entry = next(log.story("o79"))
    assert (len(entry.effects), entry.dropped) == (50, 30)
    assert log.since is not None


def test_an_id_that_is_none_is_refused():
    with pytest.raises(ValidationError):
        GetStory(id="no id")


def test_offers_are_found_by_their_framework_and_their_agent(bench: Bench):
    (offer,) = offers_in(bench.said)
    assert decisions_about(bench, "a1")[-1] == ("allocation", [f"offer {offer.offer_id} f1 a1"])
    assert decisions_about(bench, "f1")[-1][0] == "allocation"


def test_describing_an_input_looks_only_for_fields_that_it_has(monkeypatch: pytest.MonkeyPatch):
    """Looking for a field that a message does not have takes several microseconds, for each message."""
    inputs = (
        Decline(framework_id="f1", offer_ids=("o1",)),
        Acknowledge(framework_id="f1", task_ids=("t1",)),
        Teardown(framework_id="f1"),
        UnregisterAgent(agent_id="a1", session="s1"),
        OperatorKill("t1"),
    )
    missed: list[str] = []

    def look_for(self: Message, name: str) -> None:
        missed.append(name)
        raise AttributeError(name)

    monkeypatch.setattr(Message, "__getattr__", look_for, raising=False)
    assert [describe(each) for each in inputs] == [
        ("DECLINE", "f1", ("o1",)),
        ("ACKNOWLEDGE", "f1", ("t1",)),
        ("TEARDOWN", "f1", ()),
        ("UNREGISTER_AGENT", "a1", ()),
        ("OperatorKill", "", ("t1",)),
    ]
    assert missed == []
