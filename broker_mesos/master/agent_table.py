"""The owner's answers about the agents of its cell as columns. They are computed in slices, between which the owner
decides, so that a reader of 10,000 agents delays no decision by more than some milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from heapq import nsmallest

from broker_mesos.core.api.agent_rows import Row, columns, decode_cursor, parse_filter, sort_key
from broker_mesos.core.api.agent_table import CellAgents, GetCellAgents
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.views.agent_index import AgentIndex, row
from broker_mesos.core.protocol.limits import Instant

SLICE = 250
"""Number of agents that are read without a pause."""
MAX_ROWS = 1_000
"""Maximum number of agents in one answer of a cell. It is encoded without a pause; the reader asks again for the rest.
"""
MAX_ANSWER = 900_000
"""Maximum size of an answer, in bytes; a message may have 1 MiB."""
MIN_MEASURED = 20
"""Number of rows from which on the size of an answer is measured."""


class AgentTableApi:
    """Answers about the agents of one cell under one term. ``state`` returns the state of the cell."""

    def __init__(self, state: Callable[[], CellState], now: Callable[[], Instant]) -> None:
        self._state = state
        self._now = now
        self._index: AgentIndex | None = None

    @property
    def index(self) -> AgentIndex:
        """The change numbers of the agents."""
        self._index = self._index or AgentIndex(self._state())
        return self._index

    async def answer(self, request: GetCellAgents) -> CellAgents:
        """The answer to a request. Raises InvalidInput for a filter, an order or a cursor that there is not."""
        return await (self._changes(request) if request.follow else self._page(request))

    async def _changes(self, request: GetCellAgents) -> CellAgents:
        state, index = self._state(), self.index
        for some in _slices(list(state.agents.values())):
            index.compare(some)
            await asyncio.sleep(0)
        index.compare_ids()
        term, number = request.since.get(state.cell, (state.term, 0))
        reset = not index.knows(term, number)
        limit = min(request.limit, MAX_ROWS)
        while True:
            since = 0 if reset else number
            rows: list[Row] = []
            removed: list[str] = []
            reached, more = max(since, index.number), False
            for count, (at, ident, agent) in enumerate(index.after(since)):
                if count >= limit:
                    more = True
                    break
                reached = at
                if agent is None:
                    removed.append(ident)
                else:
                    rows.append(row(state, agent, self._now()))
            answer = CellAgents(
                cell=state.cell,
                term=state.term,
                number=reached,
                reset=reset,
                removed=removed,
                more=more,
                total=len(state.agents),
                match=-1,
                **columns(rows),
            )
            if fits := _fitting(answer, len(rows) + len(removed)):
                limit = fits
                continue
            return answer

    async def _page(self, request: GetCellAgents) -> CellAgents:
        state = self._state()
        holds, key = parse_filter(request.filter), sort_key(request.sort)
        after = decode_cursor(request.sort, request.after)
        found: list[Row] = []
        match = 0
        for some in _slices(list(state.agents.values())):
            now = self._now()
            chosen = [each for agent in some if holds(each := row(state, agent, now))]
            match += len(chosen)
            found += [each for each in chosen if after is None or key(each) > after]
            await asyncio.sleep(0)
        limit = min(request.limit, MAX_ROWS)
        while True:
            page = nsmallest(limit + 1, found, key)
            answer = CellAgents(
                cell=state.cell,
                term=state.term,
                more=len(page) > limit,
                total=len(state.agents),
                match=match,
                **columns(page[:limit]),
            )
            if fits := _fitting(answer, len(answer.ids)):
                limit = fits
                continue
            return answer


def _slices(agents: list[Agent]) -> Iterator[list[Agent]]:
    return (agents[at : at + SLICE] for at in range(0, len(agents), SLICE))


def _fitting(answer: CellAgents, entries: int) -> int:
    """A number of entries that fits into one message, if the answer does not; else 0."""
    size = len(answer.model_dump_json()) if entries > MIN_MEASURED else 0
    return max(1, int(0.9 * entries * MAX_ANSWER / size)) if size > MAX_ANSWER else 0
