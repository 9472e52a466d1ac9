"""The interface of allocation policies: given who competes and what they hold, in which order to offer.

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
    """What a policy may weigh: of the whole cluster, as far as this cell has heard."""

    total: Resources
    """Of all registered agents (ranges and sets counted)."""
    held: Mapping[tuple[str, str], Resources]
    """Offered and used per (role, framework), of all frameworks, whether they want more or not."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Per role; 1 where there is none."""
    exclude: frozenset[str] = frozenset()
    """Names of resources that do not count in shares."""
    round: int = 0
    """Counts up with each round, so that chance can be drawn without a generator."""
    roles: Mapping[str, Resources] | None = None
    """What each role holds, without the roles below it, where that is known: see ``held_by_role``."""

    def held_by_role(self) -> Mapping[str, Resources]:
        """What each role holds, without the roles below it. Where a sum is at hand ``held`` is not walked: it
        names every framework, and a round may be about one of them."""
        if self.roles is not None:
            return self.roles
        found: dict[str, list[Resources]] = {}
        for (role, _), resources in self.held.items():
            found.setdefault(role, []).append(resources)
        return {role: Resources.sum(many) for role, many in found.items()}


class Ranking(Protocol):
    """The order of one allocation round; it changes with every allocation."""

    def order(self) -> Iterable[Claimant]:
        """The claimants, whom to serve first. Valid until the next ``charge``."""
        ...

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        """A claimant was offered these resources (ranges and sets counted)."""
        ...

    # It may have ``done(claimant)`` as well: nothing more can be given to it in this round, so that ``order``
    # need not name it any more. It may be charged all the same, as a member of a gang.


@runtime_checkable
class Policy(Protocol):
    """How the resources of a cluster are divided."""

    def rank(self, claimants: Sequence[Claimant], shares: Shares) -> Ranking:
        """Begin a round."""
        ...

    def precedes(self, role: str, other: str, weights: Mapping[str, float]) -> bool:
        """Whether ``role`` is to be served whole before ``other`` gets anything: a role that may preempt
        takes from those that it precedes. False for policies that share."""
        ...
