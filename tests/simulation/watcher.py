"""A reader that follows the agents of all cells, as a dashboard does, over lost messages and new owners.

Whatever it was told, it must know of each agent what the owner knew up to the change that the answer names. With a
second reader that is seldom there, a change number of an earlier owner is soon one that the next owner has given, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.agent_rows import Row, rows_of
from broker_mesos.core.api.agent_table import CellAgents, GetCellAgents
from broker_mesos.core.cell.views import agent_index
from broker_mesos.core.protocol.addresses import operator_cell
from broker_mesos.errors import BrokerMesosError
from tests.simulation.loop import Proc
from tests.simulation.network import SimBus
from tests.simulation.nodes import Node

if TYPE_CHECKING:
    from tests.simulation.world import World


class WatcherNode(Node):
    """One reader. ``pauses`` are the shortest and the longest time between two readings, in seconds."""

    def __init__(self, world: World, name: str, pauses: tuple[float, float]) -> None:
        super().__init__(world, name)
        self._pauses = pauses
        self.readings = 0

    async def body(self, proc: Proc, bus: SimBus) -> None:
        requester = Requester(bus, self.clock, self.world.new_id)
        await requester.start()
        rng = self.rng()
        known: dict[int, dict[str, Row]] = {cell: {} for cell in range(self.world.cells)}
        since: dict[int, tuple[int, int]] = {}
        while True:
            await asyncio.sleep(rng.uniform(*self._pauses))
            for cell, rows in known.items():
                more = True
                while more:
                    ask = GetCellAgents(follow=True, since=since, limit=rng.randint(1, 3))
                    try:
                        answer = await requester.request(operator_cell(cell), ask, 3.0)
                    except BrokerMesosError:
                        break
                    assert isinstance(answer, CellAgents)
                    if answer.reset:
                        rows.clear()
                    for ident in answer.removed:
                        rows.pop(ident, None)
                    rows |= {row.agent_id: row for row in rows_of(answer, cell)}
                    since[cell] = answer.term, answer.number
                    more = answer.more
                    self.readings += 1
                    self._check(answer, rows, complete=not more)

    def _check(self, answer: CellAgents, rows: dict[str, Row], *, complete: bool) -> None:
        """Compare with the owner that has answered, if it is still there, each agent that has not changed since."""
        for master in self.world.masters:
            owners = () if master.master is None else master.master.owners
            term = owners[answer.cell].term if owners else None
            if term is None or term.cell.term != answer.term:
                continue
            index, state = term.tables.index, term.cell.state
            for ident, agent in state.agents.items():
                number = index.number_of(agent)
                if number is None or number > answer.number:
                    continue
                there = agent_index.row(state, agent, master.context_now())
                if rows.get(ident) is None or rows[ident]._replace(heartbeat_age=None) != there._replace(
                    heartbeat_age=None
                ):
                    self.world.violation(f"{self.name} knows {rows.get(ident)} of {ident}, which is {there}")
            if complete and len(rows) > answer.total:
                self.world.violation(f"{self.name} knows {len(rows)} agents of cell {answer.cell}, of {answer.total}")

    def ask_to_stop(self) -> None:
        assert self.proc is not None
        self.proc.die()
