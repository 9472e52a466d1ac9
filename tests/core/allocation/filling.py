"""Progressive filling of one big machine, a task at a time, in the order of a policy; and random cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from hypothesis import strategies as st

from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy, Shares
from broker_mesos.core.model.resources import Resources

ROLES = ("*", "a", "a/x", "a/x/deep", "a/y", "b", "b/x", "c")
NAMES = ("cpus", "mem", "disk")
WEIGHTS = st.dictionaries(st.sampled_from(ROLES), st.sampled_from([0.5, 1.0, 2.0, 3.0, 10.0]))


def claimants(*names: str) -> list[Claimant]:
    """From ``role:framework``, in the order of their ties."""
    return [Claimant(*name.rpartition(":")[::2], tie) for tie, name in enumerate(names)]


@dataclass
class Filling:
    """Who got how many tasks. ``needs`` is what one task takes, ``wants`` how many at most."""

    policy: Policy
    total: Resources
    needs: Mapping[Claimant, Resources]
    wants: Mapping[Claimant, int] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    until_refused: bool = False
    """End when a task of the first in order does not fit, instead of when nobody's does."""

    def __post_init__(self) -> None:
        self.free = self.total
        self.served: list[Claimant] = []
        ranking = self.policy.rank(list(self.needs), Shares(self.total, {}, self.weights))
        while (chosen := self._first(ranking.order())) is not None:
            self.free -= self.needs[chosen]
            self.served.append(chosen)
            ranking.charge(chosen, self.needs[chosen])

    def _first(self, order: Iterable[Claimant]) -> Claimant | None:
        for each in order:
            if self.content(each):
                continue
            if self.free.contains(self.needs[each]):
                return each
            if self.until_refused:
                return None
        return None

    def content(self, who: Claimant) -> bool:
        """It has all that it wants."""
        return who in self.wants and self.tasks(who) >= self.wants[who]

    def tasks(self, who: Claimant) -> int:
        """How many it got."""
        return self.served.count(who)

    def bundle(self, who: Claimant, less: int = 0) -> dict[str, int]:
        """All that it holds, in thousandths, less this many tasks."""
        count = max(0, self.tasks(who) - less)
        return {name: amount * count for name, amount in self.needs[who].scalars.items()}

    def size(self, who: Claimant) -> Fraction:
        """The dominant share of one of its tasks."""
        return max(Fraction(amount, self.total.get(name)) for name, amount in self.needs[who].scalars.items())

    def share(self, who: Claimant) -> Fraction:
        """Its dominant share."""
        return self.tasks(who) * self.size(who)


def runnable(bundle: Mapping[str, int], need: Resources) -> int:
    """How many tasks of this size a bundle would run."""
    return min(bundle.get(name, 0) // amount for name, amount in need.scalars.items())


@st.composite
def needs(draw: st.DrawFn, who: Sequence[Claimant], total: Resources) -> dict[Claimant, Resources]:
    """What a task takes, for each: at most a third of the machine, of some names nothing."""
    found = {}
    for each in who:
        scalars = {name: draw(st.integers(0, whole // 3)) for name, whole in total.scalars.items()}
        if not any(scalars.values()):
            scalars["cpus"] = total.get("cpus") // 10
        # Tasks that are too small make long runs that show nothing new.
        most = max(amount / total.get(name) for name, amount in scalars.items())
        times = max(1, int(0.02 / most))
        found[each] = Resources.scalars_of({name: amount * times for name, amount in scalars.items()})
    return found


@st.composite
def standings(draw: st.DrawFn) -> tuple[list[Claimant], Shares]:
    """Claimants in a tree of roles, and what they and others hold of a cluster."""
    keys = st.tuples(st.sampled_from(ROLES), st.sampled_from(["f1", "f2", "f3"]))
    who = draw(st.lists(keys, unique=True, max_size=10))
    amounts = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5).map(lambda n: n * 100))
    held = draw(st.dictionaries(keys, amounts.map(Resources.scalars_of), max_size=10))
    ties = draw(st.permutations(range(len(who))))
    shares = Shares(
        Resources.scalars_of({"cpus": 10_000, "mem": 7_000}),
        held,
        draw(WEIGHTS),
        draw(st.sampled_from([frozenset(), frozenset({"mem"})])),
        draw(st.integers(0, 1000)),
    )
    return [Claimant(*key, tie) for key, tie in zip(who, ties, strict=True)], shares


def charged(shares: Shares, charges: Iterable[tuple[Claimant, Resources]]) -> Shares:
    """The standing after these."""
    held = dict(shares.held)
    for who, resources in charges:
        key = who.role, who.framework_id
        held[key] = held.get(key, Resources.EMPTY) + resources
    return replace(shares, held=held)
