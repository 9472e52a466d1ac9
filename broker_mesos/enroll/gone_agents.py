"""The agents that are marked as gone: their users are deleted, and they are not enrolled again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from broker_mesos.core.api.agents import GetGoneAgents, GoneAgents
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.protocol.users import AGENT_PREFIX, USER_PATTERN
from broker_mesos.errors import BrokerMesosError, Denied
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

INTERVAL_SECONDS = 5.0
"""Interval at which the cells are asked for their gone agents, in seconds."""
TIMEOUT_SECONDS = 5.0
"""Timeout for the answers of all cells, in seconds."""


class Cells(Protocol):
    """Who asks all cells."""

    async def all_cells(
        self, request: Request, kind: type[GoneAgents], timeout: float
    ) -> tuple[list[GoneAgents], list[MissingCell]]:
        """The answers of all cells that answer in time, and the missing cells. Raises Unavailable when none answers."""
        ...


class Users(Protocol):
    """Where the users of agents are deleted."""

    async def delete(self, agent_id: str) -> bool:
        """Delete a user; returns whether it existed. Raises Unavailable."""
        ...


class GoneWatch:
    """Asks the cells which agents are gone, from time to time. ``sleep`` is that of the clock."""

    def __init__(self, cells: Cells, users: Users, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._cells = cells
        self._users = users
        self._sleep = sleep
        self._gone: frozenset[str] = frozenset()
        """The agents that are gone, as far as the cells have answered."""
        self._deleted: set[str] = set()
        """Those of them that have no user any more."""
        self._freed: set[str] = set()
        """Those of them that an operator lets enrol again."""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self.look()
            except BrokerMesosError as error:
                log.info("it is not known which agents are gone", error=str(error))
            except Exception:
                log.exception("it is not known which agents are gone")
            await self._sleep(INTERVAL_SECONDS)

    async def look(self) -> None:
        """Ask the cells once, and delete the users of agents that are gone. Raises Unavailable."""
        answers, missing = await self._cells.all_cells(GetGoneAgents(), GoneAgents, TIMEOUT_SECONDS)
        found = frozenset(agent_id for answer in answers for agent_id in answer.agent_ids)
        # The agents of a cell that does not answer stay as they were.
        self._gone = self._gone | found if missing else found
        self._freed &= self._gone
        self._deleted &= self._gone
        for agent_id in sorted(self._gone - self._deleted - self._freed):
            await self._delete(agent_id)

    async def _delete(self, agent_id: str) -> bool:
        existed = False
        # The agents of a cluster without enrolment may have other ids, and those of other daemons are no agent's.
        if agent_id.startswith(AGENT_PREFIX) and USER_PATTERN.fullmatch(agent_id):
            existed = await self._users.delete(agent_id)
            if existed:
                log.info("audit", principal="", action="DELETE_USER", on=agent_id, answer="ok", reason="gone")
        self._deleted.add(agent_id)
        return existed

    async def revoke(self, agent_id: str) -> bool:
        """Delete the user of an agent that is being marked as gone; returns whether it existed. Raises Unavailable."""
        self._freed.discard(agent_id)
        self._deleted.discard(agent_id)
        self._gone |= {agent_id}
        return await self._delete(agent_id)

    def check(self, agent_id: str) -> None:
        """Raise Denied for an agent that is gone."""
        if agent_id in self._gone and agent_id not in self._freed:
            raise Denied(
                f"{agent_id} was marked as gone: remove its work folder to begin as a new agent, or let an operator "
                f"free the id with `bmesos agents forget {agent_id}`"
            )

    def free(self, agent_id: str) -> bool:
        """Let an agent that is gone enrol again, until this process ends; returns whether it is gone."""
        if agent_id not in self._gone:
            return False
        self._freed.add(agent_id)
        return True
