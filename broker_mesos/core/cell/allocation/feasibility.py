"""Why an agent cannot be offered to a claimant: one ordered list of named checkers.

The checkers of an agent come first: they do not depend on what is free. The checkers of its room follow: each of them
either refuses the agent or returns the room that the claimant may still have of it. The first refusal is the reason.
A round of allocation, one over slack, the gang token, preemption and the explanation all use this list (as the
scheduler of Nomad uses its feasibility checkers); for one requirement they use those that can refuse it anything, so
that a round does not pay for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from broker_mesos.core.api.explain import Obstacle
from broker_mesos.core.cell.allocation.books import Books
from broker_mesos.core.cell.allocation.round_quota import cut
from broker_mesos.core.cell.allocation.spread import Spread, value_of
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.reserved_portions import EMPTY
from broker_mesos.core.model.attributes import AGENT, Constraint
from broker_mesos.core.model.framework import GPU_RESOURCES, Shape
from broker_mesos.core.model.multiples import fits, times
from broker_mesos.core.model.port_numbers import count_ports, with_count
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_isolation import IMAGES
from broker_mesos.core.protocol.records import AgentStatus

MIN_CPUS = 10
"""Thousandths of cpus. An agent with less than this and less than MIN_MEM free is not offered (as in Mesos)."""
MIN_MEM = 32_000
"""Thousandths of mem, which is in MB; see MIN_CPUS."""
NEVER = float("inf")


class Infeasible(NamedTuple):
    """Why an agent is not given to a claimant. ``until``: monotonic time before which the reason does not end by the
    passing of time or by changes of other agents."""

    what: Obstacle
    message: str
    until: float = NEVER


TOO_LITTLE_FREE = Infeasible("resources", "")
TOO_FEW_PORTS = Infeasible("resources", "")
AT_ITS_LIMIT = Infeasible("spread", "", 0.0)


class Requirement:
    """What a claimant wants of an agent: room for ``wanted`` tasks of a shape, or anything if it has stated none."""

    __slots__ = ("agent_checks", "framework", "is_plain", "need", "role", "room_checks", "shape", "spread", "wanted")

    def __init__(
        self,
        framework: Framework,
        role: str,
        shape: Shape | None,
        wanted: int = 1,
        *,
        on_slack: bool = False,
        lent: bool = False,
    ) -> None:
        """``on_slack``: whether slack is requested. ``lent``: whether only agents that lend resources are checked."""
        self.framework = framework
        self.role = role
        self.shape = shape
        self.need = None if shape is None else shape.resources
        self.wanted = wanted
        self.is_plain = shape is None or not (shape.ports or shape.most)
        """Whether the number of tasks that fit depends on the resources alone."""
        self.spread: Spread | None = None
        """The tasks of the shape that run already, if their number by value of an attribute is limited."""
        self.agent_checks = [check for check, applies in _agent_checks(on_slack, lent, self.is_plain) if applies(self)]
        self.room_checks: list[RoomCheck] = []

    def fits(self, agent: Agent, room: Resources) -> int:
        """Number of tasks of the shape that may be placed on an agent in the room that is left of it."""
        shape = self.shape
        assert shape is not None
        count = shape.fits(room)
        return count if self.spread is None else min(count, self.spread.left(agent, shape.most))

    def take(self, agent: Agent, count: int) -> None:
        """Count tasks that are placed on an agent."""
        if self.spread is not None:
            self.spread.take(agent, count)


class AgentChecker(NamedTuple):
    """A checker of an agent, independent of what is free. ``check`` returns the reason against it, or None."""

    name: str
    check: Callable[[Requirement, Agent], Infeasible | None]
    applies: Callable[[Requirement], bool]
    """Whether it can refuse anything to the requirement."""
    on_slack: bool = True
    """Whether it applies to slack."""


class RoomChecker(NamedTuple):
    """A checker of the room of an agent. ``check`` returns the room that is left, or the reason against the agent."""

    name: str
    check: RoomCheck
    applies: Callable[[Feasibility, Requirement], bool]
    """Whether it can refuse anything to the requirement in the round."""
    on_slack: bool = True
    """Whether it applies to slack."""


class Feasibility:
    """The checkers in one round."""

    def __init__(
        self,
        books: Books,
        now: float,
        *,
        revocable: bool = False,
        explain: bool = False,
        ignore_filters_of: str = "",
    ) -> None:
        """``now``: monotonic time in seconds. ``revocable``: whether the round is over slack. ``explain``: whether
        reasons are described in text, which takes longer than to find them, and agents that no round considers are
        checked as well. ``ignore_filters_of``: id of a framework whose filters are ignored; empty if there is none."""
        self.books = books
        self.now = now
        self.revocable = revocable
        self.explain = explain
        self.ignore_filters_of = ignore_filters_of
        self.any_reservations = explain or any(agent.reservations for agent in books.agents)

    def requirement(self, framework: Framework, role: str, shape: Shape | None = None, wanted: int = 1) -> Requirement:
        """A requirement with the checkers that can refuse it anything in this round."""
        # A round considers only agents that lend resources.
        made = Requirement(framework, role, shape, wanted, on_slack=self.revocable, lent=not self.explain)
        if shape is not None and shape.most:
            made.spread = self.books.spread_of(framework, shape)
        made.room_checks = [
            check for check, applies in _room_checks(self.revocable, made.is_plain) if applies(self, made)
        ]
        return made

    def check(self, requirement: Requirement, agent: Agent) -> Resources | Infeasible:
        """The resources of an agent that a claimant may be given now, or the reason why it may be given none."""
        for agent_check in requirement.agent_checks:
            refusal = agent_check(requirement, agent)
            if refusal is not None:
                return refusal
        room = self.books.free.get(agent.ident, agent.free)
        for room_check in requirement.room_checks:
            found = room_check(self, requirement, agent, room)
            if isinstance(found, Infeasible):
                return found
            room = found
        return room

    def must_answer_first(self, framework: Framework) -> bool:
        """Whether a framework that did not answer its last offers in time has an open offer already."""
        return bool(framework.unanswered_rounds) and len(framework.offers) + self.books.new_offers[framework.ident] >= 1


RoomCheck = Callable[[Feasibility, Requirement, Agent, Resources], Resources | Infeasible]


def unfit(requirement: Requirement, agent: Agent) -> Infeasible | None:
    """Why an agent cannot be given to a claimant, whatever is free of it; None if it can."""
    return next((found for check in requirement.agent_checks if (found := check(requirement, agent)) is not None), None)


# -- of an agent --------------------------------------------------------------------------------------------


def away(agent: Agent) -> Infeasible | None:
    """Why an agent lends nothing, other than that operators have closed it; None if it lends its resources."""
    if agent.allocatable:
        return None
    if agent.state is AgentStatus.UNREACHABLE:
        return Infeasible("away", "it is unreachable")
    if agent.state is AgentStatus.GONE:
        return Infeasible("away", "it was marked as gone")
    if not agent.session:
        return Infeasible("away", "it has left")
    if not agent.listed:
        return Infeasible("away", "the cell recovers, and waits for its list of tasks")
    return None if agent.maintenance.closed else Infeasible("away", "it is not lent now")


def _drain(requirement: Requirement, agent: Agent) -> Infeasible | None:
    if agent.maintenance.closed:
        return Infeasible("drain", f"it is {agent.maintenance.status}; see `bmesos agents activate`")
    return None


def _need(requirement: Requirement, agent: Agent) -> Infeasible | None:
    # Any number of tasks without a need would fit, so that the round would not end.
    if _needs_nothing(requirement):
        return Infeasible("minimum", "it requests no resources; a task needs some")
    return None


def _needs_nothing(requirement: Requirement) -> bool:
    shape = requirement.shape
    return shape is not None and not (shape.resources or shape.ports)


def _constraints(requirement: Requirement, agent: Agent) -> Infeasible | None:
    info = agent.info
    for constraint in requirement.shape.constraints if requirement.shape is not None else ():
        if not constraint.matches(info.attributes, info.hostname, info.agent_id):
            return Infeasible("constraint", constraint.explain(info.attributes, info.hostname, info.agent_id) or "")
    return None


def _has_attribute(requirement: Requirement, agent: Agent) -> Infeasible | None:
    shape = requirement.shape
    if shape is None or value_of(agent, shape.per) is not None:
        return None
    return Infeasible("spread", f"{shape.per} is not set, and at most {shape.most} may run for each {shape.per}")


def _isolation(requirement: Requirement, agent: Agent) -> Infeasible | None:
    missing = lacks(requirement.shape.isolation, agent) if requirement.shape is not None else ()
    if not missing:
        return None
    reason = agent.info.isolation_missing.get(missing[0]) or agent.info.not_isolated
    what = "run tasks in containers" if missing == (IMAGES,) else f"hold tasks to {' '.join(missing)}"
    return Infeasible("isolation", f"it does not {what}{f': {reason}' if reason else ''}")


def _offer_constraints(requirement: Requirement, agent: Agent) -> Infeasible | None:
    groups = requirement.framework.info.offer_constraints.get(requirement.role)
    if not groups or any(matches(group, agent) for group in groups):
        return None
    why = groups[0][0].explain(agent.info.attributes, agent.info.hostname, agent.ident) if groups[0] else ""
    return Infeasible("constraint", f"the framework's offer constraints: {why}")


def _gpus(requirement: Requirement, agent: Agent) -> Infeasible | None:
    if agent.total.get("gpus") and GPU_RESOURCES not in requirement.framework.info.capabilities:
        return Infeasible("gpus", "it has gpus, and the framework does not have the capability GPU_RESOURCES")
    return None


def _always(requirement: Requirement) -> bool:
    return True


AWAY = AgentChecker("away", lambda requirement, agent: away(agent), _always)
DRAIN = AgentChecker("drain", _drain, _always)
CONSTRAINTS = AgentChecker(
    "constraints",
    _constraints,
    lambda requirement: requirement.shape is not None and bool(requirement.shape.constraints),
)
ISOLATION = AgentChecker(
    "isolation",
    _isolation,
    lambda requirement: requirement.shape is not None and bool(requirement.shape.isolation),
)
ATTRIBUTE_OF_SPREAD = AgentChecker(
    "attribute of the spread",
    _has_attribute,
    lambda requirement: requirement.shape is not None and bool(requirement.shape.most),
)
AGENT_CHECKERS: tuple[AgentChecker, ...] = (
    AWAY,
    DRAIN,
    AgentChecker("need", _need, _needs_nothing),
    CONSTRAINTS,
    ISOLATION,
    ATTRIBUTE_OF_SPREAD,
    AgentChecker(
        "offer constraints",
        _offer_constraints,
        lambda requirement: bool(requirement.framework.info.offer_constraints.get(requirement.role)),
    ),
    AgentChecker(
        "gpus", _gpus, lambda requirement: GPU_RESOURCES not in requirement.framework.info.capabilities, on_slack=False
    ),
)
"""The checkers of an agent, in their order."""
LENT_CHECKERS = (AWAY, DRAIN)
"""The checkers that refuse no agent with ``Agent.allocatable``."""


# -- of its room --------------------------------------------------------------------------------------------


def _reservations(
    feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources
) -> Resources | Infeasible:
    if not agent.reservations:
        return room
    return room.clipped_minus(feasibility.books.reserved_for_others(agent, requirement.role))


def _spread(
    feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources
) -> Resources | Infeasible:
    shape, spread = requirement.shape, requirement.spread
    if shape is None or spread is None or spread.left(agent, shape.most):
        return room
    if not feasibility.explain:
        return AT_ITS_LIMIT
    where = "on it" if shape.per == AGENT else f"where {shape.per} is {value_of(agent, shape.per)}"
    return Infeasible("spread", f"as many as may run {where} do, or are offered it: {shape.most}", 0.0)


def _room(feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources) -> Resources | Infeasible:
    need = requirement.need
    if worth_offering(room) if need is None else bool(room) and room.contains(need):
        return room
    return _explain_room(feasibility.books, requirement, agent, room) if feasibility.explain else TOO_LITTLE_FREE


def _ports(feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources) -> Resources | Infeasible:
    if requirement.shape is None or count_ports(room) >= requirement.shape.ports:
        return room
    return _explain_room(feasibility.books, requirement, agent, room) if feasibility.explain else TOO_FEW_PORTS


def _explain_room(books: Books, requirement: Requirement, agent: Agent, room: Resources) -> Infeasible:
    shape, left = requirement.shape, books.left_of(agent)
    if shape is None:
        if room != left and worth_offering(left):
            return Infeasible("reserved", f"what is free is reserved: {left.clipped_minus(room)}")
        return Infeasible("resources", "it has no free resources")
    missing = shape.missing_in(room)
    if not shape.missing_in(left):
        return Infeasible("reserved", f"{missing} is reserved for other roles")
    with_offers = left + agent.offered
    if not shape.missing_in(with_offers) and agent.offered:
        whose = ", ".join(sorted({offer.framework_id for offer in agent.offers.values()}))
        return Infeasible("offered", f"short of {missing}, which is offered to {whose} now")
    lacks_of_all = shape.missing_in(agent.total)
    if not lacks_of_all:
        return Infeasible("resources", f"short of {missing}: in use")
    return Infeasible("resources", f"too small: it has {agent.total}, {lacks_of_all} is missing")


def _answers(
    feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources
) -> Resources | Infeasible:
    if not feasibility.must_answer_first(requirement.framework):
        return room
    if requirement.shape is not None and feasibility.books.state.has_token(
        requirement.framework, requirement.shape.gang
    ):
        return room
    message = "the framework did not answer its last offers in time: it is sent one at a time"
    return Infeasible("sits", message, 0.0)


def _quota(feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources) -> Resources | Infeasible:
    quota, role, need = feasibility.books.quota, requirement.role, requirement.need
    allowed = quota.allows(role, room)
    if allowed == room:
        return room
    small = not worth_offering(allowed) or cut(room, allowed)
    refused = small if need is None else not allowed.contains(need)
    given = EMPTY if refused else allowed
    if requirement.shape is None:
        quota.want_room(role, agent.ident, room, given)
    else:
        quota.want_tasks(requirement.framework.ident, requirement.shape, agent.ident, room, given, requirement.wanted)
    if not refused:
        return allowed
    return Infeasible("quota", quota.why(role, need or room) if feasibility.explain else "", 0.0)


def _smallest_offer(
    feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources
) -> Resources | Infeasible:
    least = requirement.framework.info.offer_filters.get(requirement.role)
    if not least or requirement.need is not None or any(room.contains(each) for each in least):
        return room
    text = f"{room} is less than the smallest offer that the framework accepts" if feasibility.explain else ""
    return Infeasible("minimum", text)


def _filters(
    feasibility: Feasibility, requirement: Requirement, agent: Agent, room: Resources
) -> Resources | Infeasible:
    framework, need = requirement.framework, requirement.need
    if framework.ident == feasibility.ignore_filters_of:
        return room
    if need is None or requirement.shape is None:
        offered = room
    else:
        most = fits(need, room) if requirement.is_plain else requirement.fits(agent, room)
        count = max(1, min(requirement.wanted, most))
        offered = times(need, count)
        if not requirement.is_plain and (ports := requirement.shape.ports):
            offered = with_count(offered, ports * count)  # in such filters ports are counted; see ``offers.refuse``
    until = framework.refuses_until(
        agent.ident, requirement.role, offered, feasibility.now, revocable=feasibility.revocable
    )
    if until <= feasibility.now:
        return room
    text = f"the framework refused it, for {until - feasibility.now:.1f} s more" if feasibility.explain else ""
    return Infeasible("filter", text, until)


SPREAD = RoomChecker("spread", _spread, lambda feasibility, requirement: requirement.spread is not None)
PORTS_LEFT = RoomChecker(
    "ports", _ports, lambda feasibility, requirement: requirement.shape is not None and bool(requirement.shape.ports)
)
ROOM_CHECKERS: tuple[RoomChecker, ...] = (
    RoomChecker(
        "reservations", _reservations, lambda feasibility, requirement: feasibility.any_reservations, on_slack=False
    ),
    SPREAD,
    RoomChecker("room", _room, lambda feasibility, requirement: True),
    PORTS_LEFT,
    RoomChecker(
        "unanswered offers", _answers, lambda feasibility, requirement: bool(requirement.framework.unanswered_rounds)
    ),
    RoomChecker("quota", _quota, lambda feasibility, requirement: feasibility.books.quota.any, on_slack=False),
    RoomChecker(
        "smallest offer",
        _smallest_offer,
        lambda feasibility, requirement: (
            requirement.need is None and bool(requirement.framework.info.offer_filters.get(requirement.role))
        ),
    ),
    RoomChecker("filters", _filters, lambda feasibility, requirement: bool(requirement.framework.filters)),
)
"""The checkers of an agent's room, in their order."""


@cache
def _agent_checks(
    on_slack: bool, lent: bool, plain: bool
) -> tuple[tuple[Callable[[Requirement, Agent], Infeasible | None], Callable[[Requirement], bool]], ...]:
    left_out = (*(LENT_CHECKERS if lent else ()), *((ATTRIBUTE_OF_SPREAD,) if plain else ()))
    chosen = (each for each in AGENT_CHECKERS if each not in left_out)
    return tuple((each.check, each.applies) for each in chosen if each.on_slack or not on_slack)


@cache
def _room_checks(
    on_slack: bool, plain: bool
) -> tuple[tuple[RoomCheck, Callable[[Feasibility, Requirement], bool]], ...]:
    chosen = (each for each in ROOM_CHECKERS if not (plain and each in (SPREAD, PORTS_LEFT)))
    return tuple((each.check, each.applies) for each in chosen if each.on_slack or not on_slack)


def matches(constraints: Sequence[Constraint], agent: Agent) -> bool:
    """Whether an agent satisfies all of these constraints."""
    info = agent.info
    return all(each.matches(info.attributes, info.hostname, info.agent_id) for each in constraints)


def lacks(words: Sequence[str], agent: Agent) -> tuple[str, ...]:
    """The words of a demand for isolation that an agent does not have; none if it can meet the demand."""
    return tuple(word for word in words if word not in agent.info.isolation) if words else ()


def suits(shape: Shape, agent: Agent) -> bool:
    """Whether an agent satisfies the constraints of a shape and its demand for isolation."""
    return matches(shape.constraints, agent) and not lacks(shape.isolation, agent)


def worth_offering(free: Resources) -> bool:
    """Whether these resources are enough for any task."""
    return free.get("cpus") >= MIN_CPUS or free.get("mem") >= MIN_MEM
