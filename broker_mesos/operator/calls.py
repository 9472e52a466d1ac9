"""Requests of a gateway to the daemons of a cluster: to any master, to one cell, to all cells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.cluster import Hello, HelloAnswer
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import Address, cell_of, operator_cell, operator_framework, operator_master
from broker_mesos.errors import BrokerMesosError, Denied, TimedOut, Unavailable
from broker_mesos.frameworks.registry import JOBS

JOBS_FRAMEWORK = operator_framework(JOBS.name)
"""The address for requests about jobs."""

HANDOVER_SECONDS = 1.5
"""Maximum time that a cell may be without an owner before it counts as missing, in seconds; masters take over faster.
"""

P = TypeVar("P", bound=Part)


class Calls:
    """Sends requests and checks the class of the answers. ``sleep`` is that of the clock."""

    def __init__(self, requester: Requester, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._requester = requester
        self.sleep = sleep
        self._cells: int | None = None

    async def request(self, to: Address, request: Request, kind: type[P], timeout: float) -> P:
        """The answer from one address, within ``timeout`` seconds. Raises the error that the address answers with,
        TimedOut, or Unavailable when no daemon consumes that address."""
        answer = await self._requester.request(to, request, timeout)
        assert isinstance(answer, kind)
        return answer

    async def all_cells(self, request: Request, kind: type[P], timeout: float) -> tuple[list[P], list[MissingCell]]:
        """The answers of all cells that answer in time, and the missing cells. Raises Unavailable when none answers."""
        loop = asyncio.get_running_loop()
        # Some of the time is left, so that a cell that does not answer delays only its own part of the answer.
        deadline = loop.time() + 0.8 * timeout
        cells = await self._cell_count(timeout)
        answers = await asyncio.gather(*(self._request_cell(cell, request, kind, deadline) for cell in range(cells)))
        missing = [each for each in answers if isinstance(each, MissingCell)]
        if missing:
            self._cells = None  # the cluster may have been created again, with another number of cells
        if len(missing) == len(answers):
            reason = missing[0].reason if missing else "there are none"
            raise Unavailable(f"no cell answers: {reason}; see `bmesos status`")
        return [each for each in answers if not isinstance(each, MissingCell)], missing

    async def cell_of_agent(self, agent_id: str, request: Request, timeout: float) -> Part:
        """The answer of the cell that this agent belongs to, which may be moving from one master to another."""
        loop = asyncio.get_running_loop()
        handover_ends = loop.time() + HANDOVER_SECONDS
        cell = cell_of(agent_id, await self._cell_count(timeout))
        while True:
            try:
                return await self._requester.request(operator_cell(cell), request, timeout)
            except TimedOut:
                raise
            except Unavailable as error:
                if loop.time() > handover_ends:
                    self._cells = None
                    raise Unavailable(f"cell {cell} of agent {agent_id}: {error}") from None
            await self.sleep(0.1)

    async def _cell_count(self, timeout: float) -> int:
        if self._cells is None:
            self._cells = (await self.request(operator_master(), Hello(), HelloAnswer, timeout)).cells
        return self._cells

    async def _request_cell(self, cell: int, request: Request, kind: type[P], deadline: float) -> P | MissingCell:
        loop = asyncio.get_running_loop()
        handover_ends = min(loop.time() + HANDOVER_SECONDS, deadline)
        pause = 0.05
        while True:
            left = max(0.05, deadline - loop.time())
            try:
                return await self.request(operator_cell(cell), request, kind, left)
            except TimedOut:
                return MissingCell(cell=cell, reason="its owner did not answer in time")
            except Unavailable as error:
                if loop.time() + pause >= handover_ends:
                    return MissingCell(cell=cell, reason=str(error))
            except Denied:
                raise
            except BrokerMesosError as error:
                return MissingCell(cell=cell, reason=str(error))
            await self.sleep(pause)
            pause = min(2 * pause, 0.4)


def not_all_cells(what: str, missing: list[MissingCell]) -> Unavailable:
    """The error for an id that no cell knows while some cells do not answer."""
    cells = ", ".join(str(each.cell) for each in missing)
    return Unavailable(f"{what} is not known to the cells that answer, and cells {cells} do not; try again in a moment")
