"""The grants of one round of allocation, each of which becomes an offer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from broker_mesos.core.cell.allocation.books import Books
from broker_mesos.core.cell.allocation.places import Places
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Ranking
from broker_mesos.core.cell.state.cell_state import Grant
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import ShapeKey
from broker_mesos.core.model.resources import Resources

NO_SHAPE_KEYS: Mapping[ShapeKey, int] = MappingProxyType({})


class Slice(NamedTuple):
    """Resources of the agent at an index in the round; for a number of tasks of the shape ``kind``, or for anything."""

    at: int
    resources: Resources
    kind: ShapeKey | None = None
    tasks: int = 0


class Grants:
    """What a round gives to frameworks. Slices of one agent for one claimant are one grant."""

    def __init__(self, books: Books, places: Places, ranking: Ranking) -> None:
        self._books = books
        self._places = places
        self._ranking = ranking
        self._found: dict[tuple[str, str, str, str], Grant] = {}
        self._met: dict[str, Counter[ShapeKey]] = {}
        self.satisfied = False
        """Whether the demand of any claimant was met, so that it has not considered every agent."""
        self.last_share = 0.0
        """The dominant share of the last slice."""
        self.given_share = 0.0
        """The sum of these since it was last set to 0."""

    def add(
        self, claimant: Claimant, framework: Framework, slice_: Slice, gang: str = "", until: float | None = None
    ) -> None:
        """Grant resources that were taken, and charge them to the claimant. For ``gang`` and ``until`` see
        OfferDetails."""
        agent, role = self._books.agents[slice_.at], claimant.role
        self._places.check_left(slice_.at)
        if framework.unanswered_rounds:
            self._books.new_offers[framework.ident] += 1
        counted = slice_.resources.counted()
        self._ranking.charge(claimant, counted)
        self.last_share = counted.dominant_share(self._books.total)
        self.given_share += self.last_share
        key = (framework.ident, agent.ident, role, gang)
        before = self._found.get(key)
        resources = slice_.resources if before is None else slice_.resources + before.resources
        shape_counts = NO_SHAPE_KEYS if before is None else before.shape_counts
        if slice_.kind is not None:
            shape_counts = {**shape_counts, slice_.kind: shape_counts.get(slice_.kind, 0) + slice_.tasks}
            self._met.setdefault(framework.ident, Counter())[slice_.kind] += slice_.tasks
        self._found[key] = Grant(framework, agent, role, resources, shape_counts, gang=gang, until=until)

    def count(self, framework: Framework, kind: ShapeKey) -> int:
        """Number of tasks of a shape for which a framework was granted resources."""
        met = self._met.get(framework.ident)
        return 0 if met is None else met[kind]

    def all(self) -> list[Grant]:
        """All grants, in the order in which they were begun."""
        return list(self._found.values())
