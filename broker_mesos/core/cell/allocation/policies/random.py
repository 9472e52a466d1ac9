"""Random order of claimants. At every level of the role tree, the probability of a node to be first is proportional to
its weight; within a role all frameworks have the same probability.

As with Mesos' random sorter, the order is drawn again for every allocation. It is derived from the number of the round
and the number of allocations in it, so that the same state always gives the same order.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from math import log
from typing import TypeVar

from broker_mesos.core.cell.allocation.policies.policy import Claimant, Shares
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import lineage

VIRTUAL = "/."
"""Suffix of a role's name for the node of its own frameworks, beside its child roles."""
Item = TypeVar("Item")
_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Shuffled:
    """The policy ``random``."""

    def rank(self, claimants: Sequence[Claimant], shares: Shares) -> ShuffledRanking:
        """See Policy."""
        return ShuffledRanking(claimants, shares)

    def precedes(self, role: str, other: str, weights: Mapping[str, float]) -> bool:
        """See Policy: no role is served completely before others."""
        return False


class ShuffledRanking:
    """A tree of roles that is traversed in an order which changes with every charge. Only as much of the order is drawn
    as is read, which is mostly one claimant."""

    def __init__(self, claimants: Sequence[Claimant], shares: Shares) -> None:
        # The tie differs between cells, and with it the order that they draw in the same round.
        self._seed = _mixed(shares.round) ^ (claimants[0].tie if claimants else 0)
        self._charges = 0
        self._members: dict[str, list[Claimant]] = {}
        for claimant in claimants:
            self._members.setdefault(claimant.role, []).append(claimant)
        children: dict[str, dict[str, float]] = {"": {}}
        for role in self._members:
            path = (*lineage(role), "")
            for name, parent in pairwise(path):
                children.setdefault(parent, {})[name] = shares.weights.get(name, 1.0)
        for role in self._members:
            if role in children:
                children[role][role + VIRTUAL] = 1.0
        self._children = {name: list(some.items()) for name, some in children.items()}
        self._sums = {
            name: list(accumulate(some.values())) for name, some in children.items() if len(set(some.values())) > 1
        }

    def order(self) -> Iterable[Claimant]:
        """The claimants in random order, which is the same until the next charge."""
        return self._walk("", _lots(_mixed(self._seed) + self._charges))

    def charge(self, claimant: Claimant, resources: Resources) -> None:
        """Draw another order from now on; the charged resources have no effect on it."""
        self._charges += 1

    def _walk(self, name: str, lots: Iterator[float]) -> Iterator[Claimant]:
        children = self._children.get(name)
        if children is None:
            yield from _drawn(self._members[name.removesuffix(VIRTUAL)], lots)
            return
        sums = self._sums.get(name)
        for child, _ in _weighed(children, sums, lots) if sums else _drawn(children, lots):
            yield from self._walk(child, lots)


def _drawn(items: Sequence[Item], lots: Iterator[float]) -> Iterator[Item]:
    left = list(items)
    while left:
        at = int(next(lots) * len(left))
        left[at], left[-1] = left[-1], left[at]
        yield left.pop()


def _weighed(
    items: Sequence[tuple[str, float]], sums: Sequence[float], lots: Iterator[float]
) -> Iterator[tuple[str, float]]:
    """Draw items without replacement, each with a probability proportional to its weight."""
    first = bisect(sums, next(lots) * sums[-1])
    yield items[first]
    # All others are drawn together, with the same effect (Efraimidis, Spirakis 2006); they are seldom read.
    rest = (item for at, item in enumerate(items) if at != first)
    yield from (item for _, item in sorted((-log(1.0 - next(lots)) / item[1], item) for item in rest))


def _lots(seed: int) -> Iterator[float]:
    """Pseudo-random numbers in [0, 1) (splitmix64)."""
    state = _mixed(seed)
    while True:
        state = (state + _GOLDEN) & _MASK
        yield (_mixed(state) >> 11) / 2**53


def _mixed(number: int) -> int:
    """The mixing function of splitmix64: a bijection of 64 bits."""
    number = (number + _GOLDEN) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
