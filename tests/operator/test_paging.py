"""Lists that are cut: they say so, and their pages together have every entry once, in order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.api.cells import CellView, FrameworkView, GetCell
from broker_mesos.core.api.paging import decode, encode
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.state import GetState, StateView
from broker_mesos.core.model.part import Part
from broker_mesos.errors import InvalidInput
from broker_mesos.operator.merge import merge
from tests.core.cell.harness import shape
from tests.operator.daemons import CELLS, Daemons, agent_view, cell_view


def with_agents(cell: int, names: list[str]) -> CellView:
    return cell_view(cell).model_copy(update={"agents": tuple(agent_view(name, cell) for name in sorted(names))})


def page_of(whole: CellView, request: GetCell) -> CellView:
    """As a cell answers: the first ``limit`` agents behind the cursor."""
    after = decode(request.parts, request.after)
    agents = [each for each in whole.agents if after is None or (each.hostname, each.agent_id) > after]
    cut = len(agents) > request.limit
    update = {
        "agents": tuple(agents[: request.limit]),
        "frameworks": (),
        "roles": (),
        "truncated": ("agents",) if cut else (),
        "counts": {"agents": len(whole.agents)},
    }
    return whole.model_copy(update=update)


def page(wholes: list[CellView], limit: int, after: str) -> StateView:
    ask = GetCell(parts=("agents",), limit=limit, after=after)
    request = GetState(parts=("agents",), limit=limit, after=after)
    return merge([page_of(whole, ask) for whole in wholes], [], request)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sets(st.integers(0, 99)), min_size=1, max_size=4), st.integers(1, 30))
def test_the_pages_of_several_cells_have_every_entry_once_and_in_order(cells: list[set[int]], limit: int) -> None:
    wholes = [with_agents(cell, [f"a{number:02}-{cell}" for number in names]) for cell, names in enumerate(cells)]
    seen: list[str] = []
    after = ""
    while True:
        found = page(wholes, limit, after)
        assert len(found.agents) <= limit
        seen += [each.agent_id for each in found.agents]
        assert bool(found.after) == bool(found.truncated)
        after = found.after
        if not after:
            break
        assert found.agents, "a page that is cut brings its reader on"
    assert seen == sorted(each.agent_id for whole in wholes for each in whole.agents)


@settings(deadline=None, max_examples=100)
@given(st.sets(st.integers(0, 99), min_size=5), st.sets(st.integers(0, 99)), st.integers(1, 4))
def test_entries_that_come_between_two_pages_move_no_other(first: set[int], late: set[int], limit: int) -> None:
    before = [with_agents(0, [f"a{number:02}" for number in first])]
    after = [with_agents(0, [f"a{number:02}" for number in first | late])]
    found = page(before, limit, "")
    seen = [each.agent_id for each in found.agents]
    while found.after:
        found = page(after, limit, found.after)
        seen += [each.agent_id for each in found.agents]
    assert len(seen) == len(set(seen)) and {f"a{number:02}" for number in first} <= set(seen)


def test_a_framework_is_shown_with_the_parts_of_all_cells_though_lists_are_cut() -> None:
    def framework(name: str, cell: int) -> FrameworkView:
        return cell_view(cell).frameworks[0].model_copy(update={"framework_id": name})

    def cell(number: int, names: str, cut: bool) -> CellView:
        frameworks = tuple(framework(name, number) for name in names)
        return cell_view(number).model_copy(
            update={"agents": (), "frameworks": frameworks, "truncated": ("frameworks",) if cut else ()}
        )

    # Cell 0 knows no "a", so its two are "b" and "c"; of "c" the other one has not got to show.
    found = merge([cell(0, "bc", False), cell(1, "ab", True)], [], GetState(parts=("frameworks",), limit=2))
    assert [(each.framework_id, each.tasks) for each in found.frameworks] == [("a", 2), ("b", 4)]
    assert found.truncated == ("frameworks",) and decode(("frameworks",), found.after) == ("b",)


def test_what_a_framework_wants_is_what_no_cell_has_met() -> None:
    def cell(number: int, *met: tuple[str, int], version: int = 10) -> CellView:
        view = cell_view(number).frameworks[0]
        here = dict(met)
        shapes = tuple(shape(each, version - here.get(each, 0)) for each in ("cpus:1", "cpus:2"))
        unmet = tuple(each for each in shapes if each.count)
        found = tuple(shape(each, count) for each, count in met)
        counts = {"too small": number + 1}
        update = {"shapes": unmet, "met": found, "declined": counts, "withdrawn": {}}
        return cell_view(number).model_copy(update={"frameworks": (view.model_copy(update=update),)})

    ask = GetState(parts=("frameworks",))
    (total,) = merge([cell(0, ("cpus:1", 10)), cell(1, ("cpus:2", 3)), cell(2, ("cpus:2", 4))], [], ask).frameworks
    assert total.shapes is not None and not total.shapes_truncated
    assert [(str(each.resources), each.count) for each in total.shapes] == [("cpus:2", 3)]
    assert total.declined == {"too small": 6}
    # A cell that has received the next demand knows more of it than the others.
    (total,) = merge([cell(0, version=10), cell(1, ("cpus:1", 5), version=20)], [], ask).frameworks
    assert [each.count for each in total.shapes or ()] == [15, 20]


async def test_the_gateway_says_what_is_cut(daemons: Daemons) -> None:
    async def cell(request: Request, number: int) -> Part:
        assert isinstance(request, GetCell)
        return page_of(with_agents(number, [f"a{at}-{number}" for at in range(5)]), request)

    for number in range(CELLS):
        await daemons.cell(number, lambda request, number=number: cell(request, number))
    first = await daemons.gateway.handle(GetState(parts=("agents",), limit=4))
    assert isinstance(first, StateView)
    assert [each.agent_id for each in first.agents] == ["a0-0", "a0-1", "a0-2", "a1-0"]
    assert first.truncated == ("agents",) and first.counts["agents"] == 15
    second = await daemons.gateway.handle(GetState(parts=("agents",), limit=100, after=first.after))
    assert isinstance(second, StateView)
    assert len(second.agents) == 11 and second.truncated == () and second.after == ""


@pytest.mark.parametrize("cursor", ["x", "é", "YWdlbnRz", encode("offers", (1, "o")), "A" * 2_000])
async def test_a_cursor_that_is_none_is_refused_before_any_cell_is_asked(cursor: str, daemons: Daemons) -> None:
    with pytest.raises(InvalidInput, match="after is not a cursor of a list of agents"):
        await daemons.gateway.handle(GetState(parts=("agents",), after=cursor))
    with pytest.raises(InvalidInput, match="one of agents"):
        await daemons.gateway.handle(GetState(parts=("agents", "tasks"), after=cursor))
    assert daemons.asked == []
