"""Probes of the routes between a cell and its agents, for the doctor: a message to a sample of the agents, each of
which sends it back, and one to the queue of the cell's heartbeats."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from broker_mesos.core.api.health import RouteReport
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Address
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.errors import BrokerMesosError
from broker_mesos.ports.bus import Bus, outgoing
from broker_mesos.ports.clock import NewId
from broker_mesos.runtime.timeouts import within

TRIP_SECONDS = 1.0
"""Time within which the broker reports whether a message reached a queue, and an agent answers, in seconds."""
MAX_PROBED_AGENTS = 20
"""The largest number of agents of a cell that one probe is sent to."""


async def is_lost(bus: Bus, new_id: NewId, to: Address, ping: Ping, term: int = 0) -> bool:
    """Send a probe; returns whether it reached no queue, and so its binding is lost. False if that is not known."""
    message = outgoing(to, ping, new_id(), mandatory=True, persistent=False, expiration=TRIP_SECONDS, term=term)
    try:
        async with within(TRIP_SECONDS):
            return not await bus.publish(message)
    except (TimeoutError, BrokerMesosError):
        return False


class RouteProbe:
    """The probes of one owner."""

    def __init__(self, state: CellState, bus: Bus, new_id: NewId) -> None:
        self._state = state
        self._bus = bus
        self._new_id = new_id
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def record(self, inputs: Iterable[object]) -> None:
        """Note the probes that have come back from agents."""
        if not self._waiting:
            return
        for each in inputs:
            if isinstance(each, Ping) and (answer := self._waiting.get(each.token)) is not None and not answer.done():
                answer.set_result(None)

    async def run(self) -> RouteReport:
        """Probe all routes at once, for at most two times TRIP_SECONDS."""
        chosen = self._sample()
        heartbeats = is_lost(self._bus, self._new_id, addresses.heartbeats(self._state.cell), Ping())
        lost, found = await asyncio.gather(heartbeats, asyncio.gather(*map(self._reach, chosen)))
        return RouteReport(
            probed=len(chosen),
            agents=len(self._state.agents),
            heartbeats_lost=lost,
            unbound=tuple(ident for ident, state in zip(chosen, found, strict=True) if state == "unbound"),
            silent=tuple(ident for ident, state in zip(chosen, found, strict=True) if state == "silent"),
        )

    def _sample(self) -> list[str]:
        """The ids of agents to probe: first those that have not applied all of their commands."""
        agents = [
            agent for agent in self._state.agents.values() if agent.state is AgentStatus.REGISTERED and agent.session
        ]
        behind = [agent.ident for agent in agents if agent.applied < agent.number]
        others = [agent.ident for agent in agents if agent.applied >= agent.number]
        chosen = behind[:MAX_PROBED_AGENTS]
        # Which ones is of no consequence, so that nothing depends on the seed.
        return chosen + random.sample(others, min(len(others), MAX_PROBED_AGENTS - len(chosen)))

    async def _reach(self, agent_id: str) -> str:
        token = self._new_id()
        answer = self._waiting[token] = asyncio.get_running_loop().create_future()
        try:
            to = addresses.commands(agent_id)
            if await is_lost(self._bus, self._new_id, to, Ping(token=token), self._state.term):
                return "unbound"
            async with within(TRIP_SECONDS):
                await answer
        except TimeoutError:
            return "silent"
        finally:
            del self._waiting[token]
        return "answers"
