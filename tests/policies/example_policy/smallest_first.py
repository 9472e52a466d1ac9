"""A policy as somebody else would write it: whoever holds the least memory is served first, roles or not.

Its ``entry_points.txt`` stands beside it, as an installer writes it from ``pyproject.toml``::

    [project.entry-points."broker_mesos.policies"]
    smallest-first = "smallest_first:SMALLEST_FIRST"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from broker_mesos.core.cell.allocation.policies.policy import Claimant, Shares
from broker_mesos.core.model.resources import Resources


class SmallestFirst:
    """Made once; all that belongs to a round is in its ranking."""

    def rank(self, claimants: Sequence[Claimant], shares: Shares) -> SmallestRanking:
        return SmallestRanking(claimants, shares)

    def precedes(self, role: str, other: str, weights: Mapping[str, float]) -> bool:
        return False


class SmallestRanking:
    def __init__(self, claimants: Sequence[Claimant], shares: Shares) -> None:
        self._memory = dict.fromkeys(claimants, 0)
        for claimant in claimants:
            held = shares.held.get((claimant.role, claimant.framework_id), Resources.EMPTY)
            self._memory[claimant] = held.get("mem")

    def order(self) -> Iterable[Claimant]:
        return sorted(self._memory, key=lambda claimant: (self._memory[claimant], claimant.tie))

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        self._memory[claimant] += resources.get("mem")


SMALLEST_FIRST = SmallestFirst()
