"""Strict priority: a role with a higher weight is served completely before one with a lower weight is given
anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from broker_mesos.core.cell.allocation.policies.drf import Drf, DrfRanking
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Shares
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import lineage


def priority_of(role: str, weights: Mapping[str, float]) -> float:
    """The role's own weight, or that of the nearest ancestor with a weight, or 1."""
    for name in lineage(role):
        if name in weights:
            return weights[name]
    return 1.0


class Priority:
    """The policy ``priority``. Roles of equal weight share by dominant resource fairness."""

    def rank(self, claimants: Sequence[Claimant], shares: Shares) -> PriorityRanking:
        """See Policy."""
        return PriorityRanking(claimants, shares)

    def precedes(self, role: str, other: str, weights: Mapping[str, float]) -> bool:
        """See Policy: ``role`` has a strictly higher weight than ``other``."""
        return priority_of(role, weights) > priority_of(other, weights)


class PriorityRanking:
    """One DRF ranking for each weight. Resources of roles with other weights do not count in it: otherwise a role with
    a lower weight that has filled the idle cluster would put its sibling with a higher weight last."""

    def __init__(self, claimants: Sequence[Claimant], shares: Shares) -> None:
        weights = shares.weights
        self._priorities: dict[str, float] = {}
        classes: dict[float, list[Claimant]] = {}
        for claimant in claimants:
            classes.setdefault(self._priority(claimant.role, weights), []).append(claimant)
        held: dict[float, dict[str, Resources]] = {each: {} for each in classes}
        for role, resources in shares.held_by_role().items():
            if (of_class := held.get(self._priority(role, weights))) is not None:
                of_class[role] = resources
        share = Drf()
        self._classes: dict[float, DrfRanking] = {
            each: share.rank(classes[each], replace(shares, roles=held[each], weights={}))
            for each in sorted(classes, reverse=True)
        }

    def _priority(self, role: str, weights: Mapping[str, float]) -> float:
        found = self._priorities.get(role)
        if found is None:
            found = self._priorities[role] = priority_of(role, weights)
        return found

    def order(self) -> Iterable[Claimant]:
        """The claimants with the highest weight first, and among equal weights those with the lowest share."""
        for ranking in self._classes.values():
            yield from ranking.order()

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        """Charge the claimant in the ranking of its weight."""
        self._classes[self._priorities[claimant.role]].charge(claimant, resources)

    def done(self, claimant: Claimant) -> None:
        """See Ranking."""
        self._classes[self._priorities[claimant.role]].done(claimant)
