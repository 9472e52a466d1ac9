"""Pages of what a cell shows of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker_mesos.core.api.cells import CellPart, GetCell
from broker_mesos.core.api.paging import SortKey, encode
from broker_mesos.core.cell.views.views import view
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
