"""The interface of allocation policies, which order claimants by the resources that they use and are offered.

A cluster chooses one policy by name. Those of this package are in ``BUILT_IN`` of ``builtin.py``; others are
installed as Python entry points of the group ``broker_mesos.policies``, each an object that is a Policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from broker_mesos.core.model.resources import Resources


class Claimant(NamedTuple):
    """A framework within one of its roles. ``tie`` orders equals; lower goes first."""

    role: str
    framework_id: str
    tie: int


@dataclass(frozen=True, slots=True)
class Shares:
    """The input of a policy: the resources of the whole cluster and their usage, as far as this cell knows."""

    total: Resources
    """Resources of all registered agents, with ranges and sets counted."""
    held: Mapping[tuple[str, str], Resources]
    """Used and offered resources by role and framework id, of all frameworks with or without demand."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weights by role; a role that is not named has the weight 1."""
    exclude: frozenset[str] = frozenset()
    """Names of resources that do not count in shares."""
    round: int = 0
    """Number of the round, from which a policy can derive random numbers without a generator."""
    roles: Mapping[str, Resources] | None = None
    """Used and offered resources by role, each without the roles below it; None if they have to be computed from
    ``held``. See ``held_by_role``."""

    def held_by_role(self) -> Mapping[str, Resources]:
        """Used and offered resources by role, each without the roles below it. If ``roles`` is set, ``held`` is not
        iterated, since it has every framework while a round may concern only one of them."""
        if self.roles is not None:
            return self.roles
        found: dict[str, list[Resources]] = {}
        for (role, _), resources in self.held.items():
            found.setdefault(role, []).append(resources)
        return {role: Resources.sum(many) for role, many in found.items()}


class Ranking(Protocol):
    """The order of claimants in one round of allocation; it changes with every charge."""

    def order(self) -> Iterable[Claimant]:
        """The claimants in the order in which they are served, valid until the next ``charge``."""
        ...

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        """Charge a claimant for resources that it was granted, with ranges and sets counted."""
        ...

    # A ranking may also have ``done(claimant)``: the claimant can be given nothing more in this round, so that
    # ``order`` need not contain it any more. It may still be charged, as a member of a gang.


@runtime_checkable
class Policy(Protocol):
    """A policy that decides how the resources of a cluster are divided."""

    def rank(self, claimants: Sequence[Claimant], shares: Shares) -> Ranking:
        """Return the ranking for a new round."""
        ...

    def precedes(self, role: str, other: str, weights: Mapping[str, float]) -> bool:
        """Whether ``role`` is served completely before ``other`` is given anything; a role that may preempt preempts
        roles that it precedes. Policies that divide resources by shares return False."""
        ...
