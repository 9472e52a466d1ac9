"""Explains why a task waits and what would let it run, by computing the next round of allocation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from broker_mesos.core.api.explain import AgentObstacle, Ahead, Change, GetPlacement, Placement
from broker_mesos.core.cell.allocation import gangs
from broker_mesos.core.cell.allocation.allocate import candidates_of
from broker_mesos.core.cell.allocation.feasibility import Infeasible, Requirement, away, suits, unfit
from broker_mesos.core.cell.allocation.gang_demand import Member
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy
from broker_mesos.core.cell.allocation.round import Round
from broker_mesos.core.cell.allocation.shares import claimants_of
from broker_mesos.core.cell.allocation.slack import left_of
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.model.amounts import THOUSAND
from broker_mesos.core.model.framework import DEMAND_ROLES, REVOCABLE_RESOURCES, Shape
from broker_mesos.core.model.port_numbers import PORTS
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_isolation import IMAGES
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import FrameworkStatus

MAX_AHEAD = 5
"""The largest number of frameworks in ``Placement.ahead``."""
MAX_TRIALS = 300_000
"""Product of agents and claimants up to which the whole round is computed: an answer must not block the cell. Above it,
every agent with room for a task is taken as granted."""
MIN_STALE_HEARTBEATS = 3
"""Number of consecutive heartbeats with an outdated demand from which on they are not considered a coincidence."""
OVERLOADED = "the cluster is overloaded: the owner of the cell offers nothing new until it has read what has come"
HAVE_ENGINE = "start a container engine (Docker or Podman) and then an agent on its machine"
HOLD_TASKS = "start an agent that holds tasks to it: bmesos agent --isolation limits (or sandboxed)"
EASE_OF_CHANGE = {
    "turn": 0,
    "gang": 1,
    "filter": 2,
    "offered": 3,
    "sits": 4,
    "resources": 5,
    "quota": 6,
    "reserved": 7,
    "spread": 8,
    "constraint": 9,
    "isolation": 10,
    "gpus": 11,
    "minimum": 12,
    "drain": 13,
    "too-small": 14,
    "away": 15,
}
"""Order of obstacles by the effort to overcome them; those that end with time come first."""


def placement(state: CellState, policy: Policy, request: GetPlacement, now: Instant) -> Placement:
    """Explain for each agent whether the next allocation would let a task of the shape run."""
    shape = request.shape
    framework = state.frameworks.get(request.framework_id)
    if framework is None:
        return Placement(cell=state.cell, would_run=False, unwanted="the framework is not registered")
    if shape.role not in framework.roles and DEMAND_ROLES not in framework.info.capabilities:
        return Placement(cell=state.cell, would_run=False, unwanted=f"it is not in role {shape.role}")
    unwanted = _unwanted(framework) or (OVERLOADED if state.overloaded else "")
    if shape.on_slack:
        return _on_slack(state, framework, shape, unwanted, request.limit)
    claimants = claimants_of(state)
    ignore_filters_of = framework.ident if request.ignore_filters else ""
    stated = _stated(framework, shape) and not ignore_filters_of
    unstated = framework.demand.shapes is None and not ignore_filters_of and not shape.gang
    shapes = {} if stated or unstated else {framework.ident: (shape,)}
    key = shape.role, framework.ident
    mine = next((each for each in claimants if (each.role, each.framework_id) == key), None)
    if mine is None:
        # The framework has no demand now; with the demand it would be at this position.
        count = max(1, len(state.frameworks))
        mine = Claimant(shape.role, framework.ident, (framework.order + state.cell) % count)
        claimants = [*claimants, mine]
        shapes = {framework.ident: (shape,)}
    candidates = candidates_of(state)
    before = Round(
        state, policy, candidates, now, claimants, shapes=shapes, ignore_filters_of=ignore_filters_of, explain=True
    )
    order = list(before.ranking.order())
    place = order.index(mine)
    ahead = tuple(
        Ahead(role=each.role, framework_id=each.framework_id, share=_share(before, each))
        for each in order[max(0, place - MAX_AHEAD) : place]
    )
    granted: dict[str, int] = {}
    wanted = before.feasibility.requirement(framework, shape.role, shape)
    if len(candidates) * len(claimants) > MAX_TRIALS:
        for agent in candidates:
            found = before.feasibility.check(wanted, agent)
            if not isinstance(found, Infeasible):
                granted[agent.ident] = count = wanted.fits(agent, found)
                wanted.take(agent, count)
    else:
        for grant in Round(
            state, policy, candidates, now, claimants, shapes=shapes, ignore_filters_of=ignore_filters_of
        ).run():
            mine_too = grant.framework is framework and grant.role == shape.role and not grant.revocable
            if mine_too and (
                shape.key in grant.shape_counts if stated else _suits(shape, grant.agent, grant.resources)
            ):
                held = grant.shape_counts.get(shape.key) if shape.most else None
                granted[grant.agent.ident] = shape.fits(grant.resources) if held is None else held
    room = sum(granted.values())
    whys = [
        why
        for agent in state.agents.values()
        if agent.ident not in granted
        for why in (_why(before, wanted, shape, agent, place, now),)
    ]
    whys.sort(key=lambda why: (EASE_OF_CHANGE[why.what], why.distance(shape.whole), why.agent_id))
    would = room > 0 and not unwanted
    together = 0 if would or not shape.gang else _together(before, framework, shape)
    infos = [agent.info for agent in state.agents.values() if away(agent) is None]
    return Placement(
        cell=state.cell,
        would_run=would,
        agents=tuple(whys[: request.limit]),
        counts=dict(Counter(why.what for why in whys)),
        fits=room,
        together=together,
        place=None if unwanted else place,
        ahead=ahead,
        unwanted=unwanted,
        changes=() if would else tuple(_changes(before, framework, shape, whys, together)),
        unmatched=tuple(
            str(constraint)
            for constraint in shape.constraints
            if not any(constraint.matches(info.attributes, info.hostname, info.agent_id) for info in infos)
        ),
        unheld=tuple(word for word in shape.isolation if not any(word in info.isolation for info in infos)),
        largest=_largest(state, shape),
    )


def _on_slack(state: CellState, framework: Framework, shape: Shape, unwanted: str, limit: int) -> Placement:
    """Explain whether there is slack for a task of the shape; the order in which slack is divided is not explained."""
    whys: list[AgentObstacle] = []
    requirement = Requirement(framework, shape.role, shape, on_slack=True)
    room = 0
    for agent in state.agents.values():
        left = left_of(agent)
        found = unfit(requirement, agent)
        if found is None and not shape.missing_in(left):
            room += shape.fits(left)
            continue
        missing = shape.missing_in(left) if found is None else Resources.EMPTY
        found = found or Infeasible("resources", f"short of {missing} of slack")
        whys.append(
            AgentObstacle(
                agent_id=agent.ident,
                hostname=agent.info.hostname,
                cell=state.cell,
                what=found.what,
                message=found.message,
                missing=missing,
            )
        )
    whys.sort(key=lambda why: (EASE_OF_CHANGE[why.what], why.distance(shape.whole), why.agent_id))
    if REVOCABLE_RESOURCES not in framework.info.capabilities:
        unwanted = unwanted or "it needs slack, and the framework does not have the capability REVOCABLE_RESOURCES"
    elif not room:
        unwanted = unwanted or "it runs on slack only, and no agent has enough of it now"
    return Placement(
        cell=state.cell,
        would_run=room > 0 and not unwanted,
        agents=tuple(whys[:limit]),
        counts=dict(Counter(why.what for why in whys)),
        fits=room,
        unwanted=unwanted,
    )


def _largest(state: CellState, shape: Shape) -> dict[str, int]:
    found = dict.fromkeys(shape.whole.names(), 0)
    for agent in state.agents.values():
        if away(agent) is None and suits(shape, agent):
            total = agent.total.quantities()
            for name in found:
                found[name] = max(found[name], total.get(name, 0))
    return found


def _together(round_: Round, framework: Framework, shape: Shape) -> int:
    before = round_.books.save()
    placings = gangs.fill(round_.places, framework, [Member(shape, shape.count)])
    round_.books.restore(before)
    return sum(each.tasks for each in placings)


def _stated(framework: Framework, shape: Shape) -> bool:
    return any(each.key == shape.key for each in framework.demand.shapes or ())


def _promised(framework: Framework, shape: Shape) -> bool:
    return not any(framework.missing(each) for each in framework.demand.shapes or () if each.key == shape.key)


def _suits(shape: Shape, agent: Agent, resources: Resources) -> bool:
    return not shape.missing_in(resources) and suits(shape, agent)


def _unwanted(framework: Framework) -> str:
    if framework.state is FrameworkStatus.TORN_DOWN:
        return "the framework was torn down"
    if framework.state is FrameworkStatus.DISCONNECTED:
        return "no process of the framework is connected"
    if framework.muted:
        return "no process reads the framework's offers now"
    if framework.stale_heartbeats >= MIN_STALE_HEARTBEATS:
        known = framework.demand.version
        return f"the demand that the framework states is older than version {known}, which the cell knows"
    return ""


def _share(round_: Round, claimant: Claimant) -> float:
    shares = round_.shares
    held = shares.held.get((claimant.role, claimant.framework_id), Resources.EMPTY)
    return held.dominant_share(shares.total, shares.exclude)


def _why(round_: Round, wanted: Requirement, shape: Shape, agent: Agent, place: int, now: Instant) -> AgentObstacle:
    found = round_.feasibility.check(wanted, agent)
    framework = wanted.framework
    info = agent.info
    missing = Resources.EMPTY
    seconds = None
    if not isinstance(found, Infeasible) and _stated(framework, shape) and _promised(framework, shape):
        found = Infeasible("offered", "as much as the framework has asked for is offered to it already")
    if not isinstance(found, Infeasible) and shape.gang:
        found = Infeasible(
            "gang",
            f"it has room, but not for all {shape.count} that start together{_other_holder(round_, framework, shape)}",
        )
    if not isinstance(found, Infeasible):
        served = "1 other is" if place == 1 else f"{place} others are"
        found = Infeasible("turn", f"it has room, and {served} served before" if place else "it has room")
    elif found.what == "resources":
        missing = shape.missing_in(agent.free)
        if lacks_of_all := shape.missing_in(agent.total):
            missing = lacks_of_all
            found = Infeasible("too-small", found.message)
    elif found.what == "drain":  # unless activating the agent would not help
        missing = shape.missing_in(agent.total)
        other = unfit(Requirement(framework, shape.role, shape, lent=True), agent)
        if other is not None:
            found, missing = other, Resources.EMPTY
        elif missing:
            found = Infeasible("too-small", f"too small: it has {agent.total}, {missing} is missing")
    elif found.what in ("offered", "reserved"):
        missing = shape.missing_in(agent.free)
    if found.what == "filter":
        seconds = max(0.0, found.until - now.mono)
    if found.what == "offered" and agent.offers:
        ends = max(offer.created_at for offer in agent.offers.values()) + round_.state.limits.offer_timeout
        seconds = max(0.0, ends - now.mono)
    return AgentObstacle(
        agent_id=agent.ident,
        hostname=info.hostname,
        cell=round_.state.cell,
        what=found.what,
        message=found.message,
        missing=missing,
        seconds=seconds,
        kept=_kept_free(round_, agent) if found.what == "resources" else "",
    )


def _kept_free(round_: Round, agent: Agent) -> str:
    """For whom what becomes free of an agent is kept, and for how long at most."""
    token = round_.state.token
    if token is None or agent.ident not in round_.state.token_agents:
        return ""
    left = max(0.0, round_.state.token_until - round_.now.mono)
    return f"what becomes free of it is kept for {token.gang} of framework {token.framework_id}, {left:.0f} s at most"


def _other_holder(round_: Round, framework: Framework, shape: Shape) -> str:
    """Text that names the other gang with the gang token; empty if there is none."""
    token = round_.state.token
    if token is None or token.key == (framework.ident, shape.gang):
        return ""
    left = max(0.0, round_.state.token_until - round_.now.mono)
    return f"; gang {token.gang} of framework {token.framework_id} has the gang token, for {left:.0f} s more"


def _changes(
    round_: Round, framework: Framework, shape: Shape, whys: Sequence[AgentObstacle], together: int
) -> Iterator[Change]:
    """Single changes that would let the task run, verified as far as that is possible. ``together``: number of a gang's
    tasks that have room."""
    if together:
        yield Change(message=f"begin with {together} tasks at once instead of {shape.count}", sure=True)
        return
    agents = round_.state.agents
    lent = [
        agents[why.agent_id]
        for why in whys
        if why.what not in ("away", "drain") and not agents[why.agent_id].maintenance.closed
    ]

    def runs(changed: Shape) -> bool:
        requirement = round_.feasibility.requirement(framework, changed.role, changed)
        return any(not isinstance(round_.feasibility.check(requirement, agent), Infeasible) for agent in lent)

    first = {why.what: why for why in reversed(whys)}
    if why := first.get("filter"):
        message = f"wait {why.seconds or 0:.0f} s: the framework refused {why.agent_id} for so long"
        yield Change(message=message, sure=True, rank=0)
    if why := first.get("offered"):
        yield Change(message=f"wait: {why.message} ({why.agent_id}); at most {why.seconds or 0:.0f} s", rank=1)
    for constraint in shape.constraints:
        others = tuple(each for each in shape.constraints if each != constraint)
        if runs(shape.model_copy(update={"constraints": others})):
            yield Change(message=f"drop the constraint {constraint}", sure=True, rank=2)
    if why := first.get("spread"):
        message = f"let more than {shape.most} run for each {shape.per}, or add an agent with another {shape.per}"
        yield Change(message=message, rank=2)
    now_free = _smaller(shape, [(agent, agent.free) for agent in lent])
    sure = now_free is not None and runs(_with_need(shape, now_free))
    smaller = now_free if sure else _smaller(shape, [(agent, agent.total) for agent in lent])
    if smaller is not None:
        message = f"ask for at most {smaller} a task instead of {shape.whole}"
        yield Change(message=message, sure=sure, rank=3)
    if (why := first.get("resources")) is not None:
        message = f"free {why.missing} on agent {why.agent_id}, or add an agent with {shape.whole}"
        yield Change(message=message, rank=4)
    if why := first.get("quota"):
        yield Change(message=f"change the quota: {why.message}", rank=5)
    if why := first.get("reserved"):
        message = f"unreserve {why.missing} on agent {why.agent_id}, or use the role that it is reserved for"
        yield Change(message=message, rank=6)
    if why := first.get("isolation"):
        what = HAVE_ENGINE if IMAGES in shape.isolation else HOLD_TASKS
        yield Change(message=f"{what}; {why.agent_id}: {why.message}", rank=7)
    if why := first.get("gpus"):
        yield Change(message=f"give the framework the capability GPU_RESOURCES, for {why.agent_id}", rank=7)
    for why in whys:
        if why.what == "drain" and _suits(shape, agents[why.agent_id], agents[why.agent_id].free):
            message = f"take agent {why.agent_id} back: bmesos agents activate {why.agent_id}"
            yield Change(message=message, rank=8)
            break
    yield Change(message=f"add an agent with {shape.whole}", rank=9)


def _with_need(shape: Shape, need: Resources) -> Shape:
    """The shape with another need. Of a shape with a number of ports, the need has that number as an amount."""
    if not shape.ports:
        return shape.model_copy(update={"resources": need})
    ports = Resources.scalars_of({PORTS: need.get(PORTS)})
    return shape.model_copy(update={"resources": need.clipped_minus(ports), "ports": need.get(PORTS) // THOUSAND})


def _smaller(shape: Shape, lent: Sequence[tuple[Agent, Resources]]) -> Resources | None:
    """The largest part of the need that any agent which suits the task has, with some of every needed
    resource; None if there is none."""
    best: tuple[float, Resources] | None = None
    need = shape.whole if shape.ports else shape.resources
    for agent, has in lent:
        if not suits(shape, agent):
            continue
        if shape.ports:
            has = has.counted()
        part = need.clipped_minus(has.missing(need))
        if set(part.names()) != set(need.names()) or part == need:
            continue
        ratio = min((part.get(name) / amount for name, amount in need.scalars.items()), default=0.0)
        if best is None or ratio > best[0]:
            best = ratio, part
    return best[1] if best else None
