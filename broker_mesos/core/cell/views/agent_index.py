"""Which agents of a cell have changed, for readers that follow them: a change number for each agent.

The numbers are given when somebody reads, by comparing each agent with what it was at the last reading. So nothing is
recorded, and nothing can be forgotten, where agents change, which happens thousands of times a second. Values are
immutable: what has not changed is the same object, so that 10,000 agents are compared in some milliseconds.

Numbers rise under one term and begin anew with the next, so that a reader gives the term with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from broker_mesos.core.api.agent_rows import Row
from broker_mesos.core.api.agent_table import STATE_NAMES
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import AgentStatus

MAX_REMOVED = 10_000
"""The largest number of removed agents that are remembered. A reader that has missed more begins anew."""
READY = STATE_NAMES.index("ready")


class AgentIndex:
    """The change numbers of the agents of one cell under one term."""

    def __init__(self, state: CellState) -> None:
        self._state = state
        self._number = 0
        self._seen: dict[str, tuple[Any, ...]] = {}
        """What each agent was at the last reading, in the order of the changes."""
        self._changed: dict[str, int] = {}
        """The number of the last change of each agent, in this order."""
        self._removed: dict[str, int] = {}
        """The number of the removal of each agent that is gone, in this order."""
        self._forgotten = 0
        """The number of the latest removal that is not remembered any more."""

    @property
    def number(self) -> int:
        """The number of the latest change."""
        return self._number

    def compare(self, agents: Iterable[Agent]) -> None:
        """Give numbers to those of some agents that have changed since the last reading."""
        for agent in agents:
            found = _fingerprint(agent)
            if self._seen.get(agent.ident) != found:
                self._seen[agent.ident] = found
                self._number += 1
                self._changed.pop(agent.ident, None)  # so that the order stays that of the changes
                self._changed[agent.ident] = self._number
                self._removed.pop(agent.ident, None)

    def compare_ids(self) -> None:
        """Give numbers to agents that were removed since the last reading."""
        for ident in self._seen.keys() - self._state.agents.keys():
            del self._seen[ident], self._changed[ident]
            self._number += 1
            self._removed[ident] = self._number
        while len(self._removed) > MAX_REMOVED:
            first = next(iter(self._removed))
            self._forgotten = self._removed.pop(first)

    def number_of(self, agent: Agent) -> int | None:
        """The number of the last change of an agent; None if it has changed again since the last reading."""
        seen = self._seen.get(agent.ident)
        return self._changed[agent.ident] if seen is not None and seen == _fingerprint(agent) else None

    def knows(self, term: int, number: int) -> bool:
        """Whether the changes after a number that a reader has are all known, so that it need not begin anew."""
        return term == self._state.term and self._forgotten <= number <= self._number

    def after(self, number: int) -> Iterator[tuple[int, str, Agent | None]]:
        """The changes after a number, in their order: number, id, and the agent, or None if it was removed."""
        changed = _later(self._changed, number)
        removed = _later(self._removed, number)
        agents = self._state.agents
        for at, ident in sorted((*changed, *removed)):
            yield at, ident, agents.get(ident)


def _later(numbers: dict[str, int], number: int) -> list[tuple[int, str]]:
    found = []
    for ident, at in reversed(numbers.items()):
        if at <= number:
            break
        found.append((at, ident))
    return found


def _fingerprint(agent: Agent) -> tuple[Any, ...]:
    # A task that begins or ends changes the used resources, and so makes another object of them; only one that another
    # of its task queue follows does not.
    return (
        agent.info,
        agent.state,
        agent.maintenance,
        agent.total,
        agent.used,
        id(agent.used),
        agent.offered,
        agent.slack_held,
        len(agent.tasks),
        _living(agent) if agent.queues else 0,
    )


def _living(agent: Agent) -> int:
    return sum(1 for task in agent.tasks.values() if not task.state.terminal)


def row(state: CellState, agent: Agent, now: Instant) -> Row:
    """The row of an agent."""
    last = agent.last_heartbeat_at
    return Row(
        agent.ident,
        agent.info.hostname or agent.ident,
        state.cell,
        _state(agent),
        _living(agent),
        agent.total.quantities(),
        agent.used.quantities(),
        agent.offered.quantities(),
        agent.info.attributes,
        None if last is None else round(max(0.0, now.mono - last), 1),
    )


def state_name(agent: Agent) -> str:
    """The state of an agent in one word: that it cannot be reached, else what operators did to it."""
    return STATE_NAMES[_state(agent)]


def _state(agent: Agent) -> int:
    if agent.state is AgentStatus.REGISTERED:
        return STATE_NAMES.index(agent.maintenance.status) if agent.maintenance.status else READY
    return STATE_NAMES.index(agent.state.value)
