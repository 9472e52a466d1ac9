"""The interface of allocation policies: given who competes and what they hold, in which order to offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from broker_mesos.core.resources import Resources


class Claimant(NamedTuple):
    """A framework within one of its roles. ``tie`` orders equals; lower goes first."""

    role: str
    framework_id: str
    tie: int


class Ranking(Protocol):
    """The order of one allocation round; it changes with every allocation."""

    def order(self) -> Iterable[Claimant]:
        """The claimants, whom to serve first. Valid until the next ``charge``."""
        ...

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        """A claimant was offered these resources (ranges and sets counted)."""
        ...


class Policy(Protocol):
    """How the resources of a cluster are divided."""

    def rank(
        self,
        claimants: Sequence[Claimant],
        total: Resources,
        held: Mapping[tuple[str, str], Resources],
        weights: Mapping[str, float],
    ) -> Ranking:
        """Begin a round. ``total`` and ``held`` (per (role, framework): offered and used) are of the whole
        cluster, as far as it is known; roles without a weight have 1."""
        ...
