"""One round of allocation, computed before anything of it takes effect.

A round serves claimants: the one that the policy puts first is given resources and charged for them, and the policy
is queried again, until no claimant can be given anything more. A framework with a stated demand is given resources
that fit, on the best fitting agents first, for a few tasks at a time; one without is given all free resources of the
next agent. Why an agent is not given to a claimant is decided in ``feasibility.py``; the explanation why something
waits uses the same checkers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from broker_mesos.core.cell.allocation.books import Books
from broker_mesos.core.cell.allocation.feasibility import TOO_LITTLE_FREE, Feasibility, Infeasible, Requirement
from broker_mesos.core.cell.allocation.gangs import Gangs
from broker_mesos.core.cell.allocation.grants import Grants, Slice
from broker_mesos.core.cell.allocation.places import Places, first
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy, Shares
from broker_mesos.core.cell.allocation.round_quota import Quota
from broker_mesos.core.cell.allocation.shares import HeldInCluster, cluster_total, held_by_role
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState, Grant
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import ShapeKey
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.multiples import fits, times
from broker_mesos.core.protocol.limits import Instant

COMPETING_SHARES = 8
"""If several claimants compete for a few agents, a claimant is given at most 1 / COMPETING_SHARES of the tasks that fit
on an agent at a time, but at least one."""
MANY_AGENTS_PER_CLAIMANT = 4
"""Number of agents per claimant from which on agents are given whole: the shares become equal in spite of that."""


SHARE_STEPS = 16
"""A claimant takes up to 1 / SHARE_STEPS of an equal share at once. Shares are equal with this precision, and offers of
many agents can be sent in few messages."""


class Round:
    """The state of one round. It changes only itself."""

    revocable = False
    """Whether the round allocates slack (``slack.py``)."""

    def __init__(
        self,
        state: CellState,
        policy: Policy,
        agents: Sequence[Agent],
        now: Instant,
        claimants: Sequence[Claimant],
        *,
        shapes: Mapping[str, tuple[Shape, ...]] = MappingProxyType({}),
        ignore_filters_of: str = "",
        explain: bool = False,
    ) -> None:
        """``shapes``: demands that replace those of frameworks, by framework id. For ``ignore_filters_of`` and
        ``explain`` see Feasibility."""
        self._demand_overrides = shapes
        self.state = state
        self.now = now
        self.claimants = claimants
        self._roles = Counter(each.role for each in claimants)
        """Number of claimants of each role that may still be given something."""
        self._whole = len(agents) >= MANY_AGENTS_PER_CLAIMANT * len(claimants)
        self.shares = self._shares_of(state)
        self.ranking = policy.rank(claimants, self.shares)
        self._done: Callable[[Claimant], None] | None = getattr(self.ranking, "done", None)
        total = self.shares.total
        self.quota = Quota(state, self.shares.roles or {}, total, hopeful=explain)
        self.books = Books(state, agents, self.quota, total)
        self.feasibility = Feasibility(
            self.books, now.mono, revocable=self.revocable, explain=explain, ignore_filters_of=ignore_filters_of
        )
        self.places = Places(self.books, self.feasibility)
        self.grants = Grants(self.books, self.places, self.ranking)
        by_role = {(each.role, each.framework_id): each for each in claimants}
        self._gangs = Gangs(self.books, self.places, self.grants, by_role, shapes)
        self._little = 1 / (SHARE_STEPS * max(1, len(claimants)))
        self._at: dict[tuple[Claimant, ShapeKey | None], int] = {}
        self._requirements: dict[tuple[Claimant, ShapeKey | None], Requirement] = {}

    @staticmethod
    def _shares_of(state: CellState) -> Shares:
        """The input of the policy."""
        held = HeldInCluster(state)
        return Shares(cluster_total(state), held, state.weights, state.exclude, state.rounds, held_by_role(state))

    def run(self) -> list[Grant]:
        """Compute the grants of the round."""
        if not self.revocable:
            self._gangs.serve_holder()
        waiting = dict.fromkeys(self.claimants)
        gangs_too = any(self.state.frameworks[each.framework_id].gangs for each in self.claimants)
        while waiting and (gangs_too or self.places.first_free(0) < len(self.books.agents)):
            over = []
            for claimant in self._order():
                if claimant not in waiting:
                    continue
                if self._serve_some(claimant, whole=self._whole or len(waiting) == 1):
                    break
                del waiting[claimant]
                self._roles[claimant.role] -= 1
                over.append(claimant)
            else:
                break
            if self._done is not None:
                for claimant in over:  # not earlier, since it changes the order that is iterated
                    self._done(claimant)
        return self.grants.all()

    def _order(self) -> Iterable[Claimant]:
        if not self.quota.guarantees:
            return self.ranking.order()
        if not any(count and self.quota.short(role) for role, count in self._roles.items()):
            return self.ranking.order()
        return self._short_first()

    def _short_first(self) -> Iterator[Claimant]:
        late = []
        for claimant in self.ranking.order():
            if self.quota.short(claimant.role):
                yield claimant
            else:
                late.append(claimant)
        yield from late

    def _serve_some(self, claimant: Claimant, *, whole: bool) -> bool:
        """Serve a claimant once, and then again without querying the policy while its share changes only a little."""
        grants = self.grants
        grants.given_share = 0.0
        if not self._serve(claimant, whole=whole):
            return False
        while (
            grants.given_share
            and grants.given_share + grants.last_share <= self._little
            and self._serve(claimant, whole=whole)
        ):
            pass
        return True

    def _serve(self, claimant: Claimant, *, whole: bool) -> bool:
        framework = self.state.frameworks[claimant.framework_id]
        shapes = self._demand_overrides.get(framework.ident, framework.demand.shapes)
        # Checked here as well, since it is cheaper than a check for each agent.
        must_answer = self.feasibility.must_answer_first(framework)
        if must_answer:
            self.grants.satisfied = True
        if shapes is None:
            return not must_answer and self._serve_anything(claimant, framework)
        return any(
            self._gangs.serve(framework, shapes, shape.gang)
            if shape.gang
            else not must_answer and self._serve_shape(claimant, framework, shape, whole)
            for shape in shapes
            if shape.role == claimant.role and shape.on_slack is self.revocable
        )

    def _serve_anything(self, claimant: Claimant, framework: Framework) -> bool:
        places, agents = self.places, self.books.agents
        key = claimant, None
        requirement = self._requirements.get(key)
        if requirement is None:
            requirement = self._requirements[key] = self.feasibility.requirement(framework, claimant.role)
        at = places.first_free(self._at.get(key, 0))
        while at < len(agents):
            agent = agents[at]
            found = self.feasibility.check(requirement, agent)
            if isinstance(found, Infeasible):
                places.remember(agent, found)
                at = places.first_free(at + 1)
                continue
            self._at[key] = at
            self._give(claimant, framework, Slice(at, found))
            return True
        self._at[key] = at
        return False

    def _serve_shape(self, claimant: Claimant, framework: Framework, shape: Shape, whole: bool) -> bool:
        kind = shape.key
        key = claimant, kind
        stated = framework.ident not in self._demand_overrides
        wanted = (framework.missing(shape) if stated else shape.count) - self.grants.count(framework, kind)
        if wanted <= 0:
            self.grants.satisfied = True
            return False
        requirement = self._requirements.get(key)
        if requirement is None:
            requirement = self._requirements[key] = self.feasibility.requirement(framework, claimant.role, shape)
        requirement.wanted = wanted
        order, following = self.places.order(kind, framework)
        at = first(following, self._at.get(key, 0))
        while at < len(order):
            if not self.places.has_left(order[at]):
                following[at] = at + 1
                at = first(following, at)
                continue
            agent = self.books.agents[order[at]]
            found = self.feasibility.check(requirement, agent)
            if isinstance(found, Infeasible):
                self.places.remember(agent, found)
                if found is TOO_LITTLE_FREE and not self.books.left_of(agent).contains(shape.resources):
                    following[at] = at + 1  # for all claimants, since free resources only decrease in a round
                at = first(following, at + 1)
                continue
            plain = requirement.is_plain  # asked here, since nearly all are
            most = fits(shape.resources, found) if plain else requirement.fits(agent, found)
            count = min(wanted, most if whole else max(1, most // COMPETING_SHARES))
            self._at[key] = at
            if plain:
                part = times(shape.resources, count)
            else:
                part = shape.portion(count, found, agent.next_port)
                requirement.take(agent, count)
            self._give(claimant, framework, Slice(order[at], part, kind, count))
            return True
        self._at[key] = at
        return False

    def _give(self, claimant: Claimant, framework: Framework, slice_: Slice) -> None:
        self.books.take(claimant.role, slice_.at, slice_.resources)
        self.grants.add(claimant, framework, slice_)
