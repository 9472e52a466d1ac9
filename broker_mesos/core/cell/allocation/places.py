"""The agents of a round of allocation, in the order in which each shape is placed on them."""

from __future__ import annotations

from collections.abc import Iterator

from broker_mesos.core.cell.allocation.books import Books
from broker_mesos.core.cell.allocation.feasibility import (
    NEVER,
    TOO_LITTLE_FREE,
    Feasibility,
    Infeasible,
    lacks,
    matches,
    worth_offering,
)
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import ShapeKey
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.resources import Resources

WAITS_FOR_GANG = Infeasible("turn", "", 0.0)
"""An agent has room for a part of a gang: changes of other agents may make room for the whole gang."""


class Places:
    """The agents of a round, by their indices in ``Books.agents``."""

    def __init__(self, books: Books, feasibility: Feasibility) -> None:
        self._books = books
        self._feasibility = feasibility
        self._next = list(range(len(books.agents) + 1))
        """For each index, a step towards the first following agent with free resources."""
        self._sorted: dict[tuple[ShapeKey, str], tuple[list[int], list[int]]] = {}
        self.until: dict[str, float] = {}
        """For each agent that was considered, the monotonic time before which the passing of time changes nothing for
        any claimant."""

    def first_free(self, at: int) -> int:
        """The index of the first agent from ``at`` on with free resources; the number of agents if there is none."""
        return first(self._next, at)

    def has_left(self, at: int) -> bool:
        """Whether the agent at an index has free resources."""
        return self._next[at] == at

    def check_left(self, at: int) -> None:
        """Pass over the agent at an index from now on if too little is left of it."""
        if not worth_offering(self._books.left_of(self._books.agents[at])):
            self._next[at] = at + 1

    def remember(self, agent: Agent, found: Infeasible) -> None:
        """Record that an agent was not given to a claimant."""
        self.until[agent.ident] = min(found.until, self.until.get(agent.ident, NEVER))

    def order(self, kind: ShapeKey, framework: Framework) -> tuple[list[int], list[int]]:
        """Indices of agents in the order in which a shape is placed, the fullest or the emptiest first; and for each
        position in that order, a step towards the first following agent that may still have room."""
        packing = framework.info.packing
        found = self._sorted.get((kind, packing))
        if found is None:
            need, constraints, isolation = kind[0], kind[2], kind[5]
            sign = 1 if packing == "binpack" else -1
            scored = []
            free_now, total = self._books.free, self._books.total
            for at, agent in enumerate(self._books.agents):
                free = free_now.get(agent.ident, agent.free)
                # Checked here as well, once for all frameworks: an agent that fails is in the order of none.
                if free and free.contains(need) and matches(constraints, agent) and not lacks(isolation, agent):
                    scored.append((sign * free.dominant_share(total), at))
                else:
                    self.remember(agent, TOO_LITTLE_FREE)
            places = [at for _, at in sorted(scored)]
            found = self._sorted[kind, packing] = places, list(range(len(places) + 1))
        return found

    def take_for(self, framework: Framework, shape: Shape, wanted: int) -> Iterator[tuple[int, int, Resources]]:
        """Take room for tasks of a shape, as far as there is any, without granting it. Yields indices of agents with
        the number of tasks on each, and what they take."""
        requirement = self._feasibility.requirement(framework, shape.role, shape, wanted)
        for at in self.order(shape.key, framework)[0]:
            if requirement.wanted <= 0:
                return
            agent = self._books.agents[at]
            found = self._feasibility.check(requirement, agent)
            if isinstance(found, Infeasible):
                self.remember(agent, found)
                continue
            self.remember(agent, WAITS_FOR_GANG)
            count = min(requirement.wanted, requirement.fits(agent, found))
            taken = shape.portion(count, found, agent.next_port)
            self._books.take(shape.role, at, taken)
            requirement.take(agent, count)
            requirement.wanted -= count
            yield at, count, taken

    def count(self, framework: Framework, shape: Shape) -> int:
        """Number of agents that have room for a task of a shape."""
        requirement = self._feasibility.requirement(framework, shape.role, shape)
        return sum(
            not isinstance(self._feasibility.check(requirement, self._books.agents[at]), Infeasible)
            for at in self.order(shape.key, framework)[0]
        )


def first(following: list[int], at: int) -> int:
    """The position where the steps from ``at`` end. The path is shortened for later calls."""
    while following[at] != at:
        following[at] = following[following[at]]
        at = following[at]
    return at
