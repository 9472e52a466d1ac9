"""One round of allocation, computed before anything of it takes effect.

A round serves claimants: the one that the policy puts first is given resources and charged for them, and the policy
is queried again, until no claimant can be given anything more. A framework with a stated demand is given resources
that fit, on the best fitting agents first, for a few tasks at a time; one without is given all free resources of the
next agent. Every reason why an agent is not given to a claimant is an ``Infeasible``; the explanation why something
waits uses the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from broker_mesos.core.api.explain import Obstacle
from broker_mesos.core.cell.allocation import gangs
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy, Shares
from broker_mesos.core.cell.allocation.round_quota import Quota, cut
from broker_mesos.core.cell.allocation.shares import HeldInCluster, cluster_total, held_by_role
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState, Grant
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import ShapeKey
from broker_mesos.core.cell.state.reserved_portions import EMPTY, kept_from, uses_by_role
from broker_mesos.core.model.framework import GPU_RESOURCES, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.limits import Instant

MIN_CPUS = 10
"""Thousandths of cpus. An agent with less than this and less than MIN_MEM free is not offered (as in Mesos)."""
MIN_MEM = 32_000
"""Thousandths of mem, which is in MB; see MIN_CPUS."""
NEVER = float("inf")
COMPETING_SHARES = 8
"""If several claimants compete for a few agents, a claimant is given at most 1 / COMPETING_SHARES of the tasks that fit
on an agent at a time, but at least one."""
MANY_AGENTS_PER_CLAIMANT = 4
"""Number of agents per claimant from which on agents are given whole: the shares become equal in spite of that."""


SHARE_STEPS = 16
"""A claimant takes up to 1 / SHARE_STEPS of an equal share at once. Shares are equal with this precision, and offers of
many agents can be sent in few messages."""


class Infeasible(NamedTuple):
    """Why an agent is not given to a claimant. ``until``: monotonic time before which the reason does not end by the
    passing of time or by changes of other agents."""

    what: Obstacle
    message: str
    until: float = NEVER


TOO_LITTLE_FREE = Infeasible("resources", "")
NO_SHAPE_KEYS: Mapping[ShapeKey, int] = MappingProxyType({})
ALL_AGENTS = ""
"""Key for the sum over all agents, which is no agent's id."""
WAITS_FOR_GANG = Infeasible("turn", "", 0.0)
"""An agent has room for a part of a gang: changes of other agents may make room for the whole gang."""


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
        self.demand_overrides = shapes
        """Demands that replace those of frameworks, by framework id."""
        self._ignore_filters_of = ignore_filters_of
        """Id of a framework whose filters are ignored; empty if there is none."""
        self._explain = explain
        """Whether obstacles are described in text, which takes longer than to find them."""
        self.state = state
        self.now = now
        self.agents = agents
        self.claimants = claimants
        self.claimant = {(each.role, each.framework_id): each for each in claimants}
        self._roles = Counter(each.role for each in claimants)
        """Number of claimants of each role that may still be given something."""
        self._whole = len(agents) >= MANY_AGENTS_PER_CLAIMANT * len(claimants)
        total, roles = cluster_total(state), held_by_role(state)
        held = HeldInCluster(state)
        self.shares = Shares(total, held, state.weights, state.exclude, state.rounds, roles)
        self.ranking = policy.rank(claimants, self.shares)
        self._done: Callable[[Claimant], None] | None = getattr(self.ranking, "done", None)
        self.quota = Quota(state, roles, total, hopeful=explain)
        self._little = 1 / (SHARE_STEPS * max(1, len(claimants)))
        self._given_share = self._last_share = 0.0
        self.free: dict[str, Resources] = {}
        """Resources that are left of agents from which something was given, by agent id."""
        self._given: dict[str, dict[str, Resources]] = {}
        self._uses: dict[str, dict[str, Resources]] = {}
        """Resources that each role used before the round, by the ids of agents with reservations."""
        self._open: Counter[str] = Counter()
        """Number of grants to frameworks that are sent one offer at a time, by framework id."""
        self._met: dict[str, Counter[ShapeKey]] = {}
        self.gangs = gangs.Gangs(self)
        self._grants: dict[tuple[str, str, str, str], Grant] = {}
        self._next = list(range(len(agents) + 1))
        """For each index in ``agents``, a step towards the first following agent with free resources."""
        self._at: dict[tuple[Claimant, ShapeKey | None], int] = {}
        self._withheld: dict[tuple[str, ShapeKey], Counter[str]] = {}
        """Number of tasks by agent for which resources could be offered if this cell had more of a limit."""
        self._sorted: dict[tuple[ShapeKey, str], tuple[list[int], list[int]]] = {}
        self.until: dict[str, float] = {}
        """For each agent that was considered, the monotonic time before which the passing of time changes nothing for
        any claimant."""
        self.satisfied = False
        """Whether the demand of any claimant was met, so that it has not considered every agent."""

    # -- the round --------------------------------------------------------------------------------------

    def run(self) -> list[Grant]:
        """Compute the grants of the round."""
        if not self.revocable:
            self.gangs.serve_holder()
        waiting = dict.fromkeys(self.claimants)
        gangs_too = any(self.state.frameworks[each.framework_id].gangs for each in self.claimants)
        while waiting and (gangs_too or self._find(0) < len(self.agents)):
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
        return list(self._grants.values())

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
        self._given_share = 0.0
        if not self._serve(claimant, whole=whole):
            return False
        while (
            self._given_share
            and self._given_share + self._last_share <= self._little
            and self._serve(claimant, whole=whole)
        ):
            pass
        return True

    def _serve(self, claimant: Claimant, *, whole: bool) -> bool:
        framework = self.state.frameworks[claimant.framework_id]
        shapes = self.demand_overrides.get(framework.ident, framework.demand.shapes)
        sits = self.sits(framework)  # checked here as well, since it is cheaper than a check for each agent
        if sits:
            self.satisfied = True
        if shapes is None:
            return not sits and self._serve_anything(claimant, framework)
        return any(
            self.gangs.serve(framework, shapes, shape.gang)
            if shape.gang
            else not sits and self._serve_shape(claimant, framework, shape, whole)
            for shape in shapes
            if shape.role == claimant.role and shape.on_slack is self.revocable
        )

    def _serve_anything(self, claimant: Claimant, framework: Framework) -> bool:
        at = self._find(self._at.get((claimant, None), 0))
        while at < len(self.agents):
            agent = self.agents[at]
            found = self.feasible(framework, claimant.role, agent)
            if isinstance(found, Infeasible):
                self._remember(agent, found)
                at = self._find(at + 1)
                continue
            self._at[claimant, None] = at
            self._give(claimant, framework, at, found)
            return True
        self._at[claimant, None] = at
        return False

    def _serve_shape(self, claimant: Claimant, framework: Framework, shape: Shape, whole: bool) -> bool:
        kind = shape.key
        stated = framework.ident not in self.demand_overrides
        wanted = (framework.missing(shape) if stated else shape.count) - self._met.get(framework.ident, Counter())[kind]
        if wanted <= 0:
            self.satisfied = True
            return False
        places, following = self._places(kind, framework)
        at = _first(following, self._at.get((claimant, kind), 0))
        while at < len(places):
            if self._next[places[at]] != places[at]:  # nothing is left of it
                following[at] = at + 1
                at = _first(following, at)
                continue
            agent = self.agents[places[at]]
            found = self.feasible(framework, claimant.role, agent, shape, wanted)
            if isinstance(found, Infeasible):
                self._remember(agent, found)
                if found is TOO_LITTLE_FREE and not self.free.get(agent.ident, agent.free).contains(shape.resources):
                    following[at] = at + 1  # for all claimants, since free resources only decrease in a round
                at = _first(following, at + 1)
                continue
            most = fits(shape.resources, found)
            count = min(wanted, most if whole else max(1, most // COMPETING_SHARES))
            self._at[claimant, kind] = at
            self._give(claimant, framework, places[at], times(shape.resources, count), kind, count)
            return True
        self._at[claimant, kind] = at
        return False

    def take_for(self, framework: Framework, shape: Shape, wanted: int) -> Iterator[tuple[int, int]]:
        """Take room for tasks of a shape, as far as there is any, without granting it. Yields indices in ``agents``
        with the number of tasks on each."""
        for at in self._places(shape.key, framework)[0]:
            if wanted <= 0:
                return
            agent = self.agents[at]
            found = self.feasible(framework, shape.role, agent, shape, wanted)
            if isinstance(found, Infeasible):
                self._remember(agent, found)
                continue
            self._remember(agent, WAITS_FOR_GANG)
            count = min(wanted, fits(shape.resources, found))
            self.take(shape.role, at, times(shape.resources, count))
            wanted -= count
            yield at, count

    def count_places(self, framework: Framework, shape: Shape) -> int:
        """Number of agents that have room for a task of a shape."""
        return sum(
            not isinstance(self.feasible(framework, shape.role, self.agents[at], shape), Infeasible)
            for at in self._places(shape.key, framework)[0]
        )

    def save(self) -> object:
        """A copy of the state that ``take_for`` changes, for ``restore``."""
        given = {agent_id: dict(roles) for agent_id, roles in self._given.items()}
        return dict(self.free), given, dict(self._uses), self.quota.save()

    def vacate(self, agent: Agent, role: str, resources: Resources) -> None:
        """Compute from now on as if a role gave back resources of an agent."""
        self.free[agent.ident] = self.free.get(agent.ident, agent.free) + resources
        if agent.reservations:
            uses = self._uses.get(agent.ident) or uses_by_role(agent)
            self._uses[agent.ident] = {**uses, role: uses.get(role, EMPTY).clipped_minus(resources)}
        self.quota.vacate(role, resources)

    def restore(self, saved: object) -> None:
        """Undo what was taken, and not granted, since ``save``."""
        assert isinstance(saved, tuple)
        self.free, self._given, self._uses, quota = saved
        self.quota.restore(quota)

    def _places(self, kind: ShapeKey, framework: Framework) -> tuple[list[int], list[int]]:
        """Indices of agents in the order in which a shape is placed, the fullest or the emptiest first; and for each
        position in that order, a step towards the first following agent that may still have room."""
        packing = framework.info.packing
        found = self._sorted.get((kind, packing))
        if found is None:
            need, constraints = kind[0], kind[2]
            sign = 1 if packing == "binpack" else -1
            scored = []
            amounts, total = tuple(need.scalars.items()), self.shares.total
            for at, agent in enumerate(self.agents):
                free = self.free.get(agent.ident, agent.free)
                info = agent.info
                if (
                    free
                    and all(free.get(name) >= amount for name, amount in amounts)
                    and all(each.matches(info.attributes, info.hostname) for each in constraints)
                ):
                    scored.append((sign * free.dominant_share(total), at))
                else:
                    self._remember(agent, TOO_LITTLE_FREE)
            places = [at for _, at in sorted(scored)]
            found = self._sorted[kind, packing] = places, list(range(len(places) + 1))
        return found

    def _give(
        self,
        claimant: Claimant,
        framework: Framework,
        at: int,
        resources: Resources,
        kind: ShapeKey | None = None,
        count: int = 0,
    ) -> None:
        self.take(claimant.role, at, resources)
        self.grant(claimant, framework, at, resources, kind, count)

    def take(self, role: str, at: int, resources: Resources) -> None:
        """Take resources of the agent at an index for a role."""
        agent = self.agents[at]
        self.free[agent.ident] = self.free.get(agent.ident, agent.free) - resources
        if agent.reservations:  # needed only for agents with reservations
            given = self._given.setdefault(agent.ident, {})
            given[role] = given.get(role, EMPTY) + resources
        self.quota.take(role, resources)

    def grant(
        self,
        claimant: Claimant,
        framework: Framework,
        at: int,
        resources: Resources,
        kind: ShapeKey | None,
        count: int,
        gang: str = "",
        until: float | None = None,
    ) -> None:
        """Grant resources that were taken, so that they become an offer."""
        agent, role = self.agents[at], claimant.role
        if not worth_offering(self.free[agent.ident]):
            self._next[at] = at + 1
        if framework.unanswered_rounds:
            self._open[framework.ident] += 1
        counted = resources.counted()
        self.ranking.charge(claimant, counted)
        self._last_share = counted.dominant_share(self.shares.total)
        self._given_share += self._last_share
        key = (framework.ident, agent.ident, role, gang)
        before = self._grants.get(key)
        shape_counts: Mapping[ShapeKey, int] = NO_SHAPE_KEYS
        if before is not None:
            resources += before.resources
            shape_counts = before.shape_counts
        if kind is not None:
            shape_counts = {**shape_counts, kind: shape_counts.get(kind, 0) + count}
            self._met.setdefault(framework.ident, Counter())[kind] += count
        self._grants[key] = Grant(framework, agent, role, resources, shape_counts, gang=gang, until=until)

    def _find(self, at: int) -> int:
        return _first(self._next, at)

    def _remember(self, agent: Agent, found: Infeasible) -> None:
        self.until[agent.ident] = min(found.until, self.until.get(agent.ident, NEVER))

    # -- obstacles --------------------------------------------------------------------------------------

    def feasible(
        self, framework: Framework, role: str, agent: Agent, shape: Shape | None = None, wanted: int = 1
    ) -> Resources | Infeasible:
        """The resources of an agent that a claimant may be given now, for ``wanted`` tasks of a shape or for anything,
        or the reason why it may be given none."""
        if (found := unfit(framework, role, agent, shape)) is not None:
            return found
        if agent.total.get("gpus") and GPU_RESOURCES not in framework.info.capabilities:
            return Infeasible("gpus", "it has gpus, and the framework does not have the capability GPU_RESOURCES")
        free = whole = self.free.get(agent.ident, agent.free)
        if agent.reservations:
            uses = self._uses.get(agent.ident)
            if uses is None:
                uses = self._uses[agent.ident] = uses_by_role(agent)
            free = whole.clipped_minus(kept_from(agent, role, self._given.get(agent.ident, {}), uses))
        need = shape.resources if shape is not None else None
        if not _enough(free, need):
            if not self._explain:
                return TOO_LITTLE_FREE
            return self._short(agent, free, whole, need)
        gathers = shape is not None and self.gangs.gathers(framework, shape.gang)
        if not gathers and self.sits(framework):
            message = "the framework did not answer its last offers in time: it is sent one at a time"
            return Infeasible("sits", message, 0.0)
        if self.quota.any:
            allowed = self.quota.allows(role, free)
            if allowed != free:
                small = not worth_offering(allowed) or cut(free, allowed)
                refused = small if need is None else not allowed.contains(need)
                given = EMPTY if refused else allowed
                if shape is None:
                    self._want_escrow(role, agent, free, given)
                else:
                    self._want_escrow_for(framework, shape, agent, free, given, wanted)
                if refused:
                    message = self.quota.why(role, need or free) if self._explain else ""
                    return Infeasible("quota", message, 0.0)
                free = allowed
        least = framework.info.offer_filters.get(role)
        if least and need is None and not any(free.contains(each) for each in least):
            message = f"{free} is less than the smallest offer that the framework accepts" if self._explain else ""
            return Infeasible("minimum", message)
        offered = free if need is None else times(need, max(1, min(wanted, fits(need, free))))
        if framework.ident == self._ignore_filters_of:
            return free
        until = framework.refuses_until(agent.ident, role, offered, self.now.mono)
        if until > self.now.mono:
            return Infeasible("filter", f"the framework refused it, for {until - self.now.mono:.1f} s more", until)
        return free

    def sits(self, framework: Framework) -> bool:
        """Whether a framework that did not answer its last offers in time has an open offer already."""
        return bool(framework.unanswered_rounds) and len(framework.offers) + self._open[framework.ident] >= 1

    def _want_escrow(self, role: str, agent: Agent, free: Resources, given: Resources) -> None:
        """Record which resources could be given if the cell had more of a limit, since quota may withhold them only
        because the cell's part of the limit is too small."""
        room = self.quota.room(role, free)
        if not cut(free, room):
            self.quota.want(role, (agent.ident,), room.clipped_minus(given))

    def _want_escrow_for(
        self,
        framework: Framework,
        shape: Shape,
        agent: Agent,
        free: Resources,
        given: Resources,
        wanted: int,
    ) -> None:
        """Do the same for tasks of a shape, over all agents for no more tasks than are demanded."""
        need, role = shape.resources, shape.role
        withheld = self._withheld.setdefault((framework.ident, shape.key), Counter())
        most = wanted - withheld[ALL_AGENTS] + withheld[agent.ident]
        count = min(most, fits(need, self.quota.room(role, free))) - min(wanted, fits(need, given))
        if count > 0:
            withheld[ALL_AGENTS] += count - withheld[agent.ident]
            withheld[agent.ident] = count
            self.quota.want(role, (framework.ident, str(need), agent.ident), times(need, count))

    def _short(self, agent: Agent, free: Resources, whole: Resources, need: Resources | None) -> Infeasible:
        if need is None:
            if free != whole and worth_offering(whole):
                return Infeasible("reserved", f"what is free is reserved: {whole.clipped_minus(free)}")
            return Infeasible("resources", "it has no free resources")
        missing = free.missing(need)
        if whole.contains(need):
            return Infeasible("reserved", f"{missing} is reserved for other roles")
        left = self.free.get(agent.ident, agent.free)
        with_offers = left + agent.offered
        if with_offers.contains(need) and agent.offered:
            whose = ", ".join(sorted({offer.framework_id for offer in agent.offers.values()}))
            return Infeasible("offered", f"short of {missing}, which is offered to {whose} now")
        if agent.total.contains(need):
            return Infeasible("resources", f"short of {missing}: in use")
        return Infeasible("resources", f"too small: it has {agent.total}, {agent.total.missing(need)} is missing")


def unfit(framework: Framework, role: str, agent: Agent, shape: Shape | None) -> Infeasible | None:
    """Why an agent cannot be given to a claimant, independent of its free resources; None if it can."""
    info = agent.info
    if agent.maintenance.closed:
        return Infeasible("drain", f"it is {agent.maintenance.word}; see `bmesos agents activate`")
    if shape is not None and not shape.resources:  # any number of tasks would fit, so that the round would not end
        return Infeasible("minimum", "it requests no resources; a task needs some")
    for constraint in shape.constraints if shape is not None else ():
        if not constraint.matches(info.attributes, info.hostname):
            return Infeasible("constraint", constraint.explain(info.attributes, info.hostname) or "")
    groups = framework.info.offer_constraints.get(role)
    if groups and not any(all(each.matches(info.attributes, info.hostname) for each in group) for group in groups):
        why = groups[0][0].explain(info.attributes, info.hostname) if groups[0] else ""
        return Infeasible("constraint", f"the framework's offer constraints: {why}")
    return None


def _enough(free: Resources, need: Resources | None) -> bool:
    return worth_offering(free) if need is None else bool(free) and free.contains(need)


def worth_offering(free: Resources) -> bool:
    """Whether these resources are enough for any task."""
    return free.get("cpus") >= MIN_CPUS or free.get("mem") >= MIN_MEM


def fits(need: Resources, free: Resources) -> int:
    """Number of tasks with this need that fit; at most one if the need contains ranges or sets, since these name
    their members."""
    if need.ranges or need.sets:
        return 1 if free.contains(need) else 0
    return min((free.get(name) // amount for name, amount in need.scalars.items()), default=0)


def times(need: Resources, count: int) -> Resources:
    """The need of ``count`` tasks. A need with ranges or sets can only be taken once."""
    if count == 1:
        return need
    return Resources.scalars_of({name: amount * count for name, amount in need.scalars.items()})


def _first(following: list[int], at: int) -> int:
    """The position where the steps from ``at`` end. The path is shortened for later calls."""
    while following[at] != at:
        following[at] = following[following[at]]
        at = following[at]
    return at
