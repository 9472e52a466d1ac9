"""The books of one round of allocation: what is left of the agents, and what the round has taken for each role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from broker_mesos.core.cell.allocation.round_quota import Quota
from broker_mesos.core.cell.allocation.spread import Spread
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.reserved_portions import EMPTY, kept_from, total_of, uses_by_role
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.resources import Resources


class Books:
    """An overlay over the state of a cell: it changes only itself."""

    def __init__(self, state: CellState, agents: Sequence[Agent], quota: Quota, total: Resources) -> None:
        """``total``: resources of the cluster, of which shares are computed."""
        self.state = state
        self.agents = agents
        self.quota = quota
        self.total = total
        self.free: dict[str, Resources] = {}
        """Resources that are left of agents from which something was taken, by agent id."""
        self._taken: dict[str, dict[str, Resources]] = {}
        """Resources that the round has taken of agents with reservations, by agent id and role."""
        self._uses: dict[str, dict[str, Resources]] = {}
        """Resources that each role used before the round, by the ids of agents with reservations."""
        self.new_offers: Counter[str] = Counter()
        """Number of grants to frameworks that are sent one offer at a time, by framework id."""
        self._spreads: dict[tuple[str, str, str], Spread] = {}
        """The tasks of shapes with ``most``, by framework id, name of the shape and attribute."""

    def left_of(self, agent: Agent) -> Resources:
        """The free resources of an agent that the round has not taken."""
        return self.free.get(agent.ident, agent.free)

    def reserved_for_others(self, agent: Agent, role: str) -> Resources:
        """The part of what is left of an agent that is reserved for other roles."""
        uses = self._uses.get(agent.ident)
        if uses is None:
            uses = self._uses[agent.ident] = uses_by_role(agent)
        return kept_from(agent, role, self._taken.get(agent.ident, {}), uses)

    def spread_of(self, framework: Framework, shape: Shape) -> Spread | None:
        """The tasks of a shape by value of its attribute; None if their number is not limited."""
        rules = shape.rules
        if rules is None or not rules.most:
            return None
        key = framework.ident, rules.name, rules.per
        found = self._spreads.get(key)
        if found is None:
            found = self._spreads[key] = Spread(self.state, framework, rules, shape.placed)
        return found

    def take(self, role: str, at: int, resources: Resources) -> None:
        """Take resources of the agent at an index for a role."""
        agent = self.agents[at]
        self.free[agent.ident] = self.left_of(agent) - resources
        if agent.reservations:  # needed only for agents with reservations
            taken = self._taken.setdefault(agent.ident, {})
            taken[role] = taken.get(role, EMPTY) + resources
        self.quota.take(role, resources)

    def vacate(self, agent: Agent, role: str, resources: Resources) -> None:
        """Compute from now on as if a role gave back resources of an agent."""
        self.free[agent.ident] = total_of([self.left_of(agent), resources])
        if agent.reservations:
            uses = self._uses.get(agent.ident) or uses_by_role(agent)
            self._uses[agent.ident] = {**uses, role: uses.get(role, EMPTY).clipped_minus(resources)}
        self.quota.vacate(role, resources)

    def save(self) -> object:
        """A copy of what ``take`` and ``vacate`` change, and of all spreads, for ``restore``."""
        taken = {agent_id: dict(roles) for agent_id, roles in self._taken.items()}
        spreads = {key: each.save() for key, each in self._spreads.items()}
        return dict(self.free), taken, dict(self._uses), self.quota.save(), spreads

    def restore(self, saved: object) -> None:
        """Undo what was taken, and not granted, since ``save``."""
        assert isinstance(saved, tuple)
        self.free, self._taken, self._uses, quota, spreads = saved
        self.quota.restore(quota)
        for key, each in list(self._spreads.items()):
            if key in spreads:
                each.restore(spreads[key])
            else:
                del self._spreads[key]
