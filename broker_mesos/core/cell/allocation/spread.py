"""How many more tasks of a shape may run on agents with the same value of an attribute (``Shape.most``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.model.attributes import attribute_of
from broker_mesos.core.model.framework import PlacementRules


class Spread:
    """The tasks of one shape in one round, by value of its attribute: those that have not ended, wherever their agents
    are by now, those for which offers are open, and those that the round has granted."""

    __slots__ = ("_used", "per")

    def __init__(
        self,
        state: CellState,
        framework: Framework,
        rules: PlacementRules,
        placed: Mapping[str, int],
        *,
        offered: bool = True,
    ) -> None:
        """``placed``: the number of tasks by value that the framework has stated. ``offered``: whether the tasks are
        counted for which offers are open."""
        self.per = rules.per
        here: Counter[str] = Counter()
        for agent_id, count in framework.placed.get(rules.name, {}).items():
            agent = state.agents.get(agent_id)
            if agent is not None and (value := value_of(agent, rules.per)) is not None:
                here[value] += count
        # What the framework states may be older than what the cell knows of its own agents; neither may be left out.
        self._used = here | Counter(placed)
        for offer_id, offer in framework.offers.items() if offered else ():
            for kind, count in offer.shape_counts.items():
                if kind[6] is not None and kind[6].name == rules.name:
                    value = value_of(state.offers[offer_id].agent, rules.per)
                    if value is not None:
                        self._used[value] += count

    def left(self, agent: Agent, most: int) -> int:
        """How many more tasks may be placed on an agent; 0 if it does not have the attribute. ``most``: how many may
        run on all agents with its value."""
        value = value_of(agent, self.per)
        return 0 if value is None else max(0, most - self._used[value])

    def take(self, agent: Agent, count: int) -> None:
        """Count tasks that are placed on an agent."""
        value = value_of(agent, self.per)
        assert value is not None
        self._used[value] += count

    def save(self) -> Counter[str]:
        """A copy of what ``take`` changes."""
        return self._used.copy()

    def restore(self, saved: Counter[str]) -> None:
        """Undo what was taken since ``save``."""
        self._used = saved.copy()


def value_of(agent: Agent, name: str) -> str | None:
    """The value of an attribute of an agent, or its hostname or id; None if it does not have the attribute."""
    return attribute_of(name, agent.info.attributes, agent.info.hostname, agent.ident)
