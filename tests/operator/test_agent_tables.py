"""Tables of the agents of several cells: pages in one order, changes without a gap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_mesos.core.api.agent_rows import Row, columns, decode_cursor, encode_token, sort_key
from broker_mesos.core.api.agent_table import AgentColumns, CellAgents, GetAgents, GetCellAgents
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.errors import InvalidInput, NotFound
from broker_mesos.operator.agent_tables import page
from tests.operator.daemons import CELLS, Daemons, refuse


def row_of(number: int, cell: int) -> Row:
    used = {"cpus": 1000 * (number % 5)} if number % 5 else {}
    return Row(f"a{number:02}-{cell}", f"h{number % 7}", cell, 0, number % 3, {"cpus": 4000}, used, {}, {}, None)


def cell_page(rows: list[Row], cell: int, request: GetAgents) -> CellAgents:
    """As a cell answers: at most ``limit`` rows behind the cursor."""
    key, after = sort_key(request.sort), decode_cursor(request.sort, request.after)
    found = sorted((row for row in rows if after is None or key(row) > after), key=key)
    shown = found[: request.limit]
    more = len(shown) < len(found)
    return CellAgents(cell=cell, term=1, more=more, total=len(rows), match=len(rows), **columns(shown))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.sets(st.integers(0, 99), max_size=20), min_size=1, max_size=4),
    st.integers(1, 12),
    st.sampled_from(["host", "cpus", "-cpus", "tasks", "-tasks", "heartbeat"]),
)
def test_the_pages_of_a_sorted_table_have_every_agent_once_and_in_order(
    cells: list[set[int]], limit: int, sort: str
) -> None:
    wholes = [[row_of(number, cell) for number in numbers] for cell, numbers in enumerate(cells)]
    seen: list[str] = []
    after = ""
    while True:
        request = GetAgents(sort=sort, limit=limit, after=after)
        found = page([cell_page(rows, cell, request) for cell, rows in enumerate(wholes)], [], request)
        assert len(found.ids) <= limit and bool(found.after) == found.truncated
        seen += found.ids
        after = found.after
        if not after:
            break
    assert seen == [row.agent_id for row in sorted((row for rows in wholes for row in rows), key=sort_key(sort))]


async def test_a_cell_that_does_not_answer_keeps_its_place_in_the_token(daemons: Daemons) -> None:
    asked: list[GetCellAgents] = []

    async def cell(request: Request, number: int) -> Part:
        assert isinstance(request, GetCellAgents)
        asked.append(request)
        return CellAgents(cell=number, term=7, number=3, total=1, **columns([row_of(1, number)]))

    await daemons.cell(0, lambda request: cell(request, 0))
    await daemons.cell(1, refuse(NotFound("not now")))
    await daemons.cell(2, lambda request: cell(request, 2))
    token = encode_token({0: (7, 1), 1: (5, 9)})
    found = await daemons.gateway.handle(GetAgents(follow=True, changed_since=token))
    assert isinstance(found, AgentColumns)
    assert [each.cell for each in found.missing] == [1] and CELLS == 3
    assert found.token == encode_token({0: (7, 3), 1: (5, 9), 2: (7, 3)})
    assert found.ids == ["a01-0", "a01-2"] and found.cells == [0, 2] and found.match == -1
    assert asked[0].since == {0: (7, 1), 1: (5, 9)}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"sort": "x"}, "sort 'x'"),
        ({"filter": "state=x"}, "filter 'state=x'"),
        ({"after": "!!"}, "after is not a cursor"),
        ({"follow": True, "changed_since": "e30x"}, "changed_since is not a token"),
        ({"follow": True, "filter": "a"}, "follow goes with"),
        ({"sort": "cpus", "after": "WyJob3N0IiwiYSIsImIiXQ"}, "after is not a cursor"),
    ],
)
async def test_what_cannot_be_answered_is_refused_before_any_cell_is_asked(
    fields: dict[str, object], problem: str, daemons: Daemons
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        await daemons.gateway.handle(GetAgents.model_validate(fields))
    assert daemons.asked == []
