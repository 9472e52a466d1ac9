"""Preemption: tasks of other roles are killed for a role that may preempt, if it cannot be served otherwise.

A role preempts roles over which the policy gives it precedence and, while it has less than its guarantee, all roles
but those that the policy puts before it; no role is reduced below its own guarantee. Tasks of the lowest role are
killed first, and of those the youngest; open offers are rescinded before any task is killed. Resources of tasks that
are ending count as free, so that the same shortage does not kill twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from broker_mesos.core.cell.allocation import gang_demand
from broker_mesos.core.cell.allocation.feasibility import Infeasible, Requirement, unfit
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy
from broker_mesos.core.cell.allocation.round import Round
from broker_mesos.core.cell.allocation.shares import claimants_of
from broker_mesos.core.cell.handlers import offers, tasks
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import OfferDetails
from broker_mesos.core.cell.state.reserved_portions import EMPTY, total_of
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within, lineage
from broker_mesos.core.model.task_states import Reason
from broker_mesos.core.protocol.limits import Instant

TURN_SECONDS = 10.0
"""Time for which it is one cell's turn to preempt, in seconds: all cells see the same shortage, and only one of them
may end it."""
MAX_VICTIMS = 500
"""The largest number of tasks that are killed in one batch interval."""

Victim = Task | OfferDetails
Saved = tuple[object, dict[int, Victim], list[Victim], dict[str, Resources]]


def preempt(state: CellState, policy: Policy, out: Outlet, now: Instant) -> None:
    """Once per batch interval, after the round, preempt tasks for demands that the round could not serve."""
    takers = {role for role, each in state.config.roles.items() if each.preempts}
    if not takers or not any(takers.intersection(lineage(each.role)) for each in claimants_of(state)):
        return
    if state.cells > 1 and int(now.wall // TURN_SECONDS) % state.cells != state.cell:
        return
    victims = Preemption(state, policy, now).run()
    offers.end_all(
        state, [each for each in victims if isinstance(each, OfferDetails)], out, "preempted for a role with precedence"
    )
    for each in victims:
        if isinstance(each, Task):
            # A task that waits in its task queue would take its place.
            key = each.queue_key
            waiting = state.agents[each.agent_id].queues.waiting(key) if key is not None else ()
            for task_id in (*waiting, each.task_id):
                tasks.kill(state, state.tasks[task_id], out, Reason.CONTAINER_PREEMPTED)


class Victims(NamedTuple):
    """Offers and tasks that would have to end on one agent. Victims are ordered by their cost."""

    cost: tuple[int, int, float]
    at: int
    victims: tuple[Victim, ...]


class Preemption:
    """Computes which offers and tasks to end. It changes only its own state."""

    def __init__(self, state: CellState, policy: Policy, now: Instant) -> None:
        self._state = state
        self._policy = policy
        self._roles = state.config.roles
        self._agents = [each for each in state.agents.values() if each.allocatable and not each.has_conflict]
        self._round = Round(state, policy, self._agents, now, claimants_of(state))
        self._chosen: dict[int, Victim] = {}
        """Offers and tasks that are ending or have been chosen, by id()."""
        self._found: list[Victim] = []
        held = self._round.shares.held
        self._spare = {
            role: Resources.sum(amount for (other, _), amount in held.items() if is_within(other, role))
            for role, each in self._roles.items()
            if each.guarantee
        }
        self._costs: dict[str, int] = {}
        self._dying = False
        for agent in self._agents:
            for task in agent.tasks.values():
                if task.kill_requested and task.occupies:
                    self._dying = self._dying or task.kill_reason is Reason.CONTAINER_PREEMPTED
                    self._vacate(agent, task)

    def run(self) -> list[Victim]:
        """The offers and tasks that have to end."""
        for claimant in list(self._round.ranking.order()):
            own = next((r for r in lineage(claimant.role) if r in self._roles and self._roles[r].preempts), None)
            if own is None or len(self._found) >= MAX_VICTIMS:
                continue
            framework = self._state.frameworks[claimant.framework_id]
            if framework.demand.spare:
                continue
            if framework.demand.shapes is None:
                self._for_anything(claimant, framework, own)
            else:
                self._for_shapes(claimant, framework, own, framework.demand.shapes)
        return self._found

    # -- for whom ---------------------------------------------------------------------------------------

    def _for_shapes(self, claimant: Claimant, framework: Framework, own: str, shapes: Sequence[Shape]) -> None:
        for shape in shapes:
            if shape.role == claimant.role and not shape.revocable and not shape.gang:
                self._for_shape(framework, own, shape, framework.missing(shape))
        for gang in gang_demand.gangs_of(framework):
            members = gang_demand.missing(framework, gang)
            if not members or members[0].shape.role != claimant.role:
                continue
            before = self._save()
            if not all(self._for_shape(framework, own, *member) for member in members):
                self._restore(before)

    def _for_shape(self, framework: Framework, own: str, shape: Shape, wanted: int) -> bool:
        """Make room for tasks of a shape. Returns whether there is room for all of them."""
        for _, count, _ in self._round.places.take_for(framework, shape, wanted):
            wanted -= count
        requirement = self._round.feasibility.requirement(framework, shape.role, shape)
        queue = self._options(requirement, own, shape) if wanted > 0 else []
        while wanted > 0 and queue and len(self._found) < MAX_VICTIMS:
            best = heappop(queue)
            agent = self._agents[best.at]
            again = self._option(best.at, requirement, own, shape)
            if again is None:
                continue
            if again != best:
                heappush(queue, again)
                continue
            room = self._room(requirement, agent, again.victims)
            if room is None:
                continue
            count = min(wanted, requirement.fits(agent, room))
            self._round.books.take(shape.role, best.at, shape.portion(count, room, agent.next_port))
            requirement.take(agent, count)
            wanted -= count
            following = self._option(best.at, requirement, own, shape)
            if following is not None:
                heappush(queue, following)
        return wanted <= 0

    def _for_anything(self, claimant: Claimant, framework: Framework, own: str) -> None:
        """Make room for a framework without a stated demand: on one agent at a time, and only after it has answered
        its offers."""
        role = claimant.role
        if framework.offers or self._dying or self._found:
            return
        feasibility = self._round.feasibility
        requirement = feasibility.requirement(framework, role)
        if any(not isinstance(feasibility.check(requirement, each), Infeasible) for each in self._agents):
            return
        short = self._round.quota.unmet(own)
        options: list[tuple[float, int, list[Victim]]] = []
        for at, agent in enumerate(self._agents):
            held: list[Victim] = []
            freed = EMPTY
            for each in self._takeable(agent, framework, own, role, short):
                if short and freed.contains(short):
                    break
                held.append(each)
                freed = total_of([freed, each.resources])
            size = freed.counted().dominant_share(self._round.shares.total)
            if held:
                options.append((-size, at, held))
        for _, at, held in sorted(options, key=lambda option: option[:2]):
            if self._room(requirement, self._agents[at], held) is not None:
                return

    # -- whom -------------------------------------------------------------------------------------------

    def _options(self, requirement: Requirement, own: str, shape: Shape) -> list[Victims]:
        found = (self._option(at, requirement, own, shape) for at in range(len(self._agents)))
        queue = [each for each in found if each is not None]
        heapify(queue)
        return queue

    def _option(self, at: int, requirement: Requirement, own: str, shape: Shape) -> Victims | None:
        """The cheapest offers and tasks that have to end on an agent for one more task of a shape."""
        agent = self._agents[at]
        if shape.missing_in(agent.total) or unfit(requirement, agent) is not None:
            return None
        short = self._round.quota.unmet(own)
        if not any(short.get(name) for name in shape.whole.names()):
            short = EMPTY
        room = self._round.books.left_of(agent)
        chosen: list[Victim] = []
        for each in self._takeable(agent, requirement.framework, own, requirement.role, short):
            if not shape.missing_in(room):
                break
            chosen.append(each)
            room = total_of([room, each.resources])
        if shape.missing_in(room):
            return None
        for each in reversed(tuple(chosen)):  # spare the most expensive first, if the cheaper ones suffice
            rest = room.clipped_minus(each.resources)
            if not shape.missing_in(rest):
                chosen.remove(each)
                room = rest
        highest = max((self._cost(each) for each in chosen), default=-1)
        oldest = min((_began(each) for each in chosen), default=0.0)
        return Victims((highest, len(chosen), -oldest), at, tuple(chosen))

    def _takeable(self, agent: Agent, framework: Framework, own: str, role: str, short: Resources) -> Iterator[Victim]:
        """Offers and tasks on an agent that may end for a role, the cheapest first. ``short``: the unmet part of the
        role's guarantee."""
        running = (task for task in agent.tasks.values() if not task.waits)
        both: list[Victim] = [*agent.offers.values(), *running]
        held = [each for each in both if not each.revocable and id(each) not in self._chosen and not _over(each)]
        spare = dict(self._spare)
        for each in sorted(held, key=lambda each: (self._cost(each), -_began(each))):
            # Roles of one framework are as different as those of two: its tasks may be those of many people.
            mine = (each.framework_id, each.role) == (framework.ident, role)
            if not mine and self._may_take(role, own, each.role, bool(short)) and self._leaves_enough(each, spare):
                yield each

    def _may_take(self, role: str, own: str, other: str, short: bool) -> bool:
        weights = self._state.weights
        if self._policy.precedes(other, role, weights):
            return False
        return self._policy.precedes(role, other, weights) or (short and not is_within(other, own))

    def _leaves_enough(self, each: Victim, spare: dict[str, Resources]) -> bool:
        """Whether every guarantee of its role and the roles above it is still met without it."""
        amount = each.resources.counted()
        above = [role for role in lineage(each.role) if role in spare]
        for role in above:
            guarantee = self._roles[role].guarantee
            left = spare[role].clipped_minus(amount)
            if any(left.get(name) < guarantee.get(name) for name in guarantee.names() if amount.get(name)):
                return False
        for role in above:
            spare[role] = spare[role].clipped_minus(amount)
        return True

    def _cost(self, each: Victim) -> int:
        """The cost of ending it: the number of roles with tasks that its role precedes; -1 for offers."""
        if isinstance(each, OfferDetails):
            return -1
        found = self._costs.get(each.role)
        if found is None:
            roles = {task.role for task in self._state.tasks.values()}
            weights = self._state.weights
            found = sum(self._policy.precedes(each.role, other, weights) for other in roles)
            self._costs[each.role] = found
        return found

    # -- the books --------------------------------------------------------------------------------------

    def _room(self, requirement: Requirement, agent: Agent, victims: Sequence[Victim]) -> Resources | None:
        """The resources of the agent that the framework may be offered once the victims have ended. None if another
        obstacle than room remains; then the victims are not ended."""
        before = self._save()
        for each in victims:
            self._choose(agent, each)
        room = self._round.feasibility.check(requirement, agent)
        if not isinstance(room, Infeasible):
            return room
        self._restore(before)
        return None

    def _save(self) -> Saved:
        return self._round.books.save(), dict(self._chosen), list(self._found), dict(self._spare)

    def _restore(self, saved: Saved) -> None:
        books, self._chosen, self._found, self._spare = saved
        self._round.books.restore(books)

    def _choose(self, agent: Agent, each: Victim) -> None:
        self._found.append(each)
        self._vacate(agent, each)

    def _vacate(self, agent: Agent, each: Victim) -> None:
        self._chosen[id(each)] = each
        self._round.books.vacate(agent, each.role, each.resources)
        for role in lineage(each.role):
            if role in self._spare:
                self._spare[role] = self._spare[role].clipped_minus(each.resources.counted())


def _over(each: Victim) -> bool:
    return isinstance(each, Task) and each.state.terminal


def _began(each: Victim) -> float:
    return each.details.created_at if isinstance(each, Task) else each.created_at
