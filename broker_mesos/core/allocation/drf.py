"""Dominant resource fairness: serve the role with the lowest weighted dominant share, and within it the
framework with the lowest one.

Ghodsi, Zaharia, Hindman, Konwinski, Shenker, Stoica: Dominant Resource Fairness: Fair Allocation of
Multiple Resource Types (NSDI 2011). As in Mesos, shares count what is offered as well as what is used, and
resources are divided a machine at a time.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence

from broker_mesos.core.allocation.policy import Claimant, Standing
from broker_mesos.core.resources import Resources

EMPTY = Resources()
Keyed = tuple[float, int, Claimant]


class Drf:
    """The policy ``drf``."""

    def rank(self, claimants: Sequence[Claimant], standing: Standing) -> DrfRanking:
        """See Policy."""
        return DrfRanking(claimants, standing)

    def precedes(self, role: str, other: str, weights: Mapping[str, float]) -> bool:
        """See Policy: nobody is served whole before others."""
        return False


class DrfRanking:
    """Roles sorted by share, and each role's frameworks sorted by share; a charge moves one of each."""

    def __init__(self, claimants: Sequence[Claimant], standing: Standing) -> None:
        held = standing.held
        self._total = total = standing.total
        self._weights = standing.weights
        self._held = {
            claimant: held.get((claimant.role, claimant.framework_id), EMPTY) for claimant in claimants
        }
        self._members: dict[str, list[Keyed]] = {}
        for claimant in claimants:
            share = self._held[claimant].dominant_share(total)
            self._members.setdefault(claimant.role, []).append((share, claimant.tie, claimant))
        # What a role holds counts in full, also through frameworks that want nothing now.
        of_roles: dict[str, list[Resources]] = {}
        for (role, _), resources in held.items():
            of_roles.setdefault(role, []).append(resources)
        self._role_held = {role: Resources.sum(of_roles.get(role, ())) for role in self._members}
        for members in self._members.values():
            members.sort()
        self._roles = sorted(self._role_key(role) for role in self._members)

    def _role_key(self, role: str) -> tuple[float, int, str]:
        share = self._role_held[role].dominant_share(self._total) / self._weights.get(role, 1.0)
        return share, self._members[role][0][1], role

    def order(self) -> Iterable[Claimant]:
        """Lowest share first."""
        for _, _, role in self._roles:
            for _, _, claimant in self._members[role]:
                yield claimant

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        """Move the claimant and its role to where their grown shares put them."""
        role = claimant.role
        members = self._members[role]
        self._roles.remove(self._role_key(role))
        members.remove((self._held[claimant].dominant_share(self._total), claimant.tie, claimant))
        self._held[claimant] += resources
        self._role_held[role] += resources
        insort(members, (self._held[claimant].dominant_share(self._total), claimant.tie, claimant))
        insort(self._roles, self._role_key(role))
