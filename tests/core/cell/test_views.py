"""Pages of what a cell shows of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker_mesos.core.api.cells import CellPart, GetCell
from broker_mesos.core.api.paging import SortKey, encode
from broker_mesos.core.cell.inputs import OperatorMarkGone
from broker_mesos.core.cell.state.offer_ends import BUCKET_SECONDS, MAX_REASONS, OTHERS, WINDOW_SECONDS, OfferEnds
from broker_mesos.core.cell.views.views import view
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import UpdateStatuses
from broker_mesos.core.protocol.framework_messages import Decline
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import RecordKind
from tests.core.cell.harness import Bench, offers_in, task

KEYS: dict[CellPart, Callable[[Any], SortKey]] = {
    "agents": lambda each: (each.hostname, each.agent_id),
    "frameworks": lambda each: (each.framework_id,),
    "offers": lambda each: (each.cell, each.offer_id),
    "tasks": lambda each: (each.state.terminal, -each.created_at, each.task_id),
}


def bench() -> Bench:
    made = Bench()
    for number in (3, 1, 2, 5, 4):
        made.agent(f"a{number}", "cpus:4;mem:4096")
    for number in (2, 1, 3):
        made.framework(f"f{number}")
    return made


def ids(made: Bench, part: CellPart, limit: int, name: str) -> list[str]:
    """All of a part, page by page."""
    found: list[str] = []
    after = ""
    while True:
        page = view(made.state, "m", GetCell(parts=(part,), limit=limit, after=after), made.now)
        entries = getattr(page, part)
        assert len(entries) <= limit
        found += [getattr(each, name) for each in entries]
        if part not in page.truncated:
            return found
        after = encode(part, KEYS[part](entries[-1]))


def test_each_part_is_cut_in_its_order_and_goes_on_behind_a_cursor() -> None:
    made = bench()
    for limit in (1, 2, 3, 100):
        agents = ids(made, "agents", limit, "agent_id")
        assert sorted(agents) == [f"a{number}" for number in range(1, 6)]
        assert ids(made, "frameworks", limit, "framework_id") == ["f1", "f2", "f3"]
        assert ids(made, "offers", limit, "offer_id") == sorted(made.state.offers)


def test_tasks_that_run_come_first_and_the_latest_of_them_before_older_ones() -> None:
    made = Bench()
    made.agent("a1", "cpus:8;mem:8192")
    (offer,) = offers_in(made.framework("f1"))
    names = [f"t{number}" for number in range(6)]
    made.accept(offer, *(task(name, "cpus:1;mem:64") for name in names))
    expected = sorted(made.state.tasks.values(), key=lambda each: (-each.details.created_at, each.task_id))
    assert len(expected) == 6
    for limit in (1, 4, 100):
        assert ids(made, "tasks", limit, "task_id") == [each.task_id for each in expected]


def test_a_part_that_is_not_asked_for_or_with_a_limit_of_nothing_is_not_cut() -> None:
    made = bench()
    found = view(made.state, "m", GetCell(parts=("agents",), limit=0), made.now)
    assert (found.agents, found.truncated, found.counts["agents"]) == ((), (), 5)


def of_task(made: Bench, task_id: str) -> Any:
    (found,) = view(made.state, "m", GetCell(parts=("tasks",), task_id=task_id), made.now).tasks
    return found


def running(*extra: TaskState) -> Bench:
    """A task t1 of f1, which has been in these states since it began to run."""
    made = Bench()
    made.agent("a1", "cpus:8;mem:8192")
    (offer,) = offers_in(made.framework("f1"))
    made.accept(offer, task("t1", "cpus:1;mem:64"))
    for state in (TaskState.STARTING, TaskState.RUNNING, *extra):
        made.report("a1", "t1", state)
    return made


def test_a_task_shows_the_states_that_it_was_in_and_a_list_of_tasks_does_not() -> None:
    made = running(TaskState.KILLING)
    assert [step.state for step in of_task(made, "t1").history] == ["staging", "starting", "running", "killing"]
    (listed,) = view(made.state, "m", GetCell(parts=("tasks",)), made.now).tasks
    assert listed.history == ()


def test_the_history_of_a_task_outlasts_its_owner() -> None:
    made = running()
    before = of_task(made, "t1").history
    made.take_over(term=8)
    made.report("a1", "t1", TaskState.FINISHED)
    after = of_task(made, "t1").history
    assert after[:-1] == before and after[-1].state == "finished"
    made.take_over(term=9)
    assert of_task(made, "t1").history == after


def test_a_task_that_only_begins_to_run_and_ends_stores_no_step() -> None:
    made = Bench()
    made.agent("a1", "cpus:8;mem:8192")
    (offer,) = offers_in(made.framework("f1"))
    made.accept(offer, task("t1", "cpus:1;mem:64"))
    for state in (TaskState.RUNNING, TaskState.FINISHED):
        status = made.status("a1", "t1", state).model_copy(update={"started_at": 5.0, "timestamp": 9.0})
        made.decide(UpdateStatuses(agent_id="a1", session=made.session("a1"), statuses=(status,)))
    assert b"history" not in made.stored[RecordKind.TASKS]["t1"]
    steps = [(each.state, each.at) for each in of_task(made, "t1").history]
    assert steps[1:] == [("running", 5.0), ("finished", 9.0)]


def test_an_offer_shows_its_role_and_when_it_ends() -> None:
    made = Bench()
    made.agent("a1", "cpus:8;mem:8192")
    made.framework("f1", roles=("eng",))
    made.now = Instant(made.now.wall + 4, made.now.mono + 4)
    (offer,) = view(made.state, "m", GetCell(parts=("offers",)), made.now).offers
    assert (offer.role, offer.age, offer.expires_in) == ("eng", 4.0, made.limits.offer_timeout - 4)


def of_framework(made: Bench) -> Any:
    (found,) = view(made.state, "m", GetCell(parts=("frameworks",), framework_id="f1"), made.now).frameworks
    return found


def test_a_framework_shows_why_its_offers_have_ended_in_the_last_five_minutes() -> None:
    made = Bench()
    made.agent("a1", "cpus:8;mem:8192")
    made.framework("f1")
    (offer,) = made.state.offers.values()
    made.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), reason="too small"))
    made.wait(6)  # the filter ends
    assert of_framework(made).declined == {"too small": 1}
    made.wait(made.limits.offer_timeout + 1)
    assert of_framework(made).withdrawn == {"not answered in time": 1}
    made.decide(OperatorMarkGone("a1"))
    made.wait(WINDOW_SECONDS + BUCKET_SECONDS)
    assert (of_framework(made).declined, of_framework(made).withdrawn) == ({}, {})


def test_a_framework_with_ever_new_reasons_has_no_more_of_them_than_a_view_shows() -> None:
    ends = OfferEnds()
    for number in range(1_000):
        ends.add(f"reason {number} " + "x" * 100, 1, number / 100)
    assert len(ends.counts(10.0)) == MAX_REASONS and ends.counts(10.0)[OTHERS] == 1_000 - MAX_REASONS
    assert sum(ends.counts(WINDOW_SECONDS + 60).values()) == 0
