"""Combines the tables of agents of all cells into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from broker_mesos.core.api.agent_rows import (
    Row,
    columns,
    decode_cursor,
    decode_token,
    encode_cursor,
    encode_token,
    parse_filter,
    rows_of,
    sort_key,
)
from broker_mesos.core.api.agent_table import AgentColumns, CellAgents, GetAgents, GetCellAgents
from broker_mesos.core.api.state import MissingCell
from broker_mesos.errors import InvalidInput
from broker_mesos.operator.calls import Calls


class AgentTables:
    """Answers requests for the agents of all cells as columns."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def answer(self, request: GetAgents, timeout: float) -> AgentColumns:
        """The answer within ``timeout`` seconds. Raises InvalidInput for a filter, an order, a cursor or a token that
        there is not."""
        parse_filter(request.filter), sort_key(request.sort), decode_cursor(request.sort, request.after)
        if request.follow and (request.filter or request.after or request.sort != "host"):
            raise InvalidInput("follow goes with changed_since and limit only: who follows has all agents")
        since = decode_token(request.changed_since)
        fields = request.model_dump(exclude={"changed_since"})
        found, missing = await self._calls.all_cells(GetCellAgents(since=since, **fields), CellAgents, timeout)
        if request.follow:
            return changes(found, missing, since)
        return page(found, missing, request)


def changes(
    found: Sequence[CellAgents], missing: Iterable[MissingCell], since: dict[int, tuple[int, int]]
) -> AgentColumns:
    """The changes of all cells that have answered. A cell that has not keeps its place in the token."""
    known = since | {each.cell: (each.term, each.number) for each in found}
    return AgentColumns(
        **columns(rows := [row for each in found for row in rows_of(each, each.cell)]),
        cells=[row.cell for row in rows],
        removed=[ident for each in found for ident in each.removed],
        reset=sorted(each.cell for each in found if each.reset),
        token=encode_token(known),
        more=any(each.more for each in found),
        total=sum(each.total for each in found),
        missing=tuple(sorted(missing, key=lambda each: each.cell)),
    )


def page(found: Sequence[CellAgents], missing: Iterable[MissingCell], request: GetAgents) -> AgentColumns:
    """A page of the sorted list: only entries that are certain, since nothing is known of a cell behind the last entry
    of a table that was cut."""
    key = sort_key(request.sort)
    tables = [(each, rows_of(each, each.cell)) for each in found]
    horizon = min((key(rows[-1]) for each, rows in tables if each.more and rows), default=None)
    every: list[Row] = [row for _, rows in tables for row in rows]
    certain = [row for row in every if horizon is None or key(row) <= horizon]
    shown = nsmallest(request.limit, certain, key)
    truncated = len(shown) < len(every) or any(each.more for each in found)
    return AgentColumns(
        **columns(shown),
        cells=[row.cell for row in shown],
        after=encode_cursor(request.sort, shown[-1]) if truncated and shown else "",
        truncated=truncated,
        total=sum(each.total for each in found),
        match=sum(each.match for each in found),
        missing=tuple(sorted(missing, key=lambda each: each.cell)),
    )
