"""The gang token in a cell: which gangs request it, and what the cell does while one of them has it.

While a gang has the token, each round keeps free resources that fit it, before any other framework is served. A single
cell keeps them until they are enough for the whole gang. Of several cells, none may ever have enough: each sends its
resources as offers for the gang, which stay open until the token ends, and the framework combines them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from broker_mesos.core.cell.allocation import gang_demand
from broker_mesos.core.cell.allocation.feasibility import Requirement, unfit
from broker_mesos.core.cell.allocation.spread import value_of
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.reserved_portions import kept_from
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.multiples import times
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import lineage
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.quota.gang_token import GangKey, GangToken, TokenRequest, WaitingGang, turn


class _Waiting(NamedTuple):
    """A gang that waits, since a monotonic time."""

    framework: Framework
    gang: str
    since: float


def tick(state: CellState, out: Outlet, now: Instant) -> None:
    """Once per batch interval: request the token for waiting gangs, and report a holder that is done."""
    waiting = _waiting(state, now)
    _choose_agents(state)
    token = state.token
    if token is not None and now.mono >= state.token_until:
        _apply(state, None, now)
        state.token_ended = token
    elif token is not None and _done(state, token):
        state.token_ended = token
    done = state.token_ended
    waiting_gangs = tuple(
        WaitingGang((each.framework.ident, each.gang), each.framework.demand.version)
        for each in sorted(waiting, key=lambda each: each.since)
        if now.mono - each.since >= state.limits.gang_patience and _could_fit(state, each.framework, each.gang)
    )
    if not waiting_gangs and done is None and state.token is None:
        return
    request = TokenRequest(waiting_gangs, done)
    if state.cells == 1:
        state.token_record = turn(state.token_record, request)
        on_set(state, state.token_record.holder, now)
    else:
        out.decision.token = request


def on_set(state: CellState, token: GangToken | None, now: Instant) -> None:
    """Apply the holder of the token according to the store."""
    if token is not None and token == state.token_ended and now.mono >= state.token_until:
        return  # its time is over in this cell, which the store has not recorded yet
    if token != state.token_ended:
        state.token_ended = None
    _apply(state, token, now)


def _apply(state: CellState, token: GangToken | None, now: Instant) -> None:
    if token == state.token:
        return
    state.token = token
    if token is not None:
        state.token_until = now.mono + state.limits.gang_hold
    _choose_agents(state)
    state.reconsider = True
    # The framework may just have accepted these; in another cell, that may have been the end of the token.
    for offer in state.gang_offers.values():
        offer.until = min(offer.until or now.mono, now.mono + state.limits.offer_timeout)


def _waiting(state: CellState, now: Instant) -> list[_Waiting]:
    """Gangs that are not offered completely, with the time since which each of them has been waiting."""
    since: dict[GangKey, float] = {}
    found = []
    for framework in state.frameworks.values():
        if not framework.wants or not framework.demand.shapes:
            continue
        for gang in gang_demand.gangs_of(framework):
            if not gang_demand.missing(framework, gang):
                continue
            key = framework.ident, gang
            since[key] = state.gangs_wait.get(key, now.mono)
            found.append(_Waiting(framework, gang, since[key]))
    state.gangs_wait = since
    return found


def _done(state: CellState, token: GangToken) -> bool:
    """Whether the holder has started, or is not demanded any more."""
    framework = state.frameworks.get(token.framework_id)
    if framework is None or framework.demand.version < token.version:
        return False  # this cell may not have received the demand yet
    gone = not framework.wants or token.gang not in gang_demand.gangs_of(framework)
    return gone or gang_demand.has_started(framework, token.gang)


# -- which agents are kept free -----------------------------------------------------------------------------


def _choose_agents(state: CellState) -> None:
    """Agents that are to have room for what the gang with the token still wants: those that lack the least of
    it now. What becomes free of them in parts, each too small for a task of the gang, is kept as well: small
    tasks would take every part before there are enough."""
    token, before = state.token, state.token_agents
    state.token_agents = {}
    framework = None if token is None else state.frameworks.get(token.framework_id)
    if token is None or framework is None or not framework.wants:
        return
    left: dict[str, Resources] = {}
    for shape, wanted in _largest_first(state, gang_demand.missing(framework, token.gang)):
        # An agent that is kept gains what ends there: it stays among the first, unless another has more by now.
        lacking = {
            agent.ident: shape.missing_in(agent.free).dominant_share(state.total)
            for agent in _suiting(state, framework, shape)
        }
        spread: Counter[str] = Counter()
        for ident in sorted(lacking, key=lambda each: (lacking[each], each not in before, each)):
            if not wanted:
                break
            agent = state.agents[ident]
            room = _unreserved(agent, shape.role, left.get(ident, agent.total))
            if count := _placeable(shape, agent, room, spread, wanted):
                left[ident] = left.get(ident, agent.total) - shape.portion(count, room)
                state.token_agents[ident] = (*state.token_agents.get(ident, ()), (shape, count))
                wanted -= count


def _largest_first(state: CellState, members: list[gang_demand.Member]) -> list[gang_demand.Member]:
    return sorted(members, key=lambda each: -each.shape.resources.dominant_share(state.total))


# -- whether a gang could ever fit --------------------------------------------------------------------------


def _could_fit(state: CellState, framework: Framework, gang: str) -> bool:
    """Whether a gang would fit if nothing else ran: one that never fits would block others to no purpose. With several
    cells only the sums over their agents are known."""
    members = gang_demand.missing(framework, gang)
    needs: dict[str, list[Resources]] = {}
    for shape, count in members:
        needs.setdefault(shape.role, []).append(times(shape.whole, count))
    for role, each in needs.items():
        whole = Resources.sum(each)
        for above in lineage(role):
            settings = state.config.roles.get(above)
            limit = settings.limit if settings is not None else {}
            if any(whole.get(name) > most for name, most in limit.items()):
                return False
    if state.cells > 1:
        total = state.total + state.foreign_total
        return total.contains(Resources.sum(amount for each in needs.values() for amount in each))
    return _packs(state, framework, members)


def _packs(state: CellState, framework: Framework, members: list[gang_demand.Member]) -> bool:
    left = {agent.ident: agent.total for agent in state.agents.values()}
    for shape, wanted in _largest_first(state, members):
        spread: Counter[str] = Counter()
        for agent in _suiting(state, framework, shape):
            if not wanted:
                break
            room = _unreserved(agent, shape.role, left[agent.ident])
            count = _placeable(shape, agent, room, spread, wanted)
            if count:
                left[agent.ident] -= shape.portion(count, room)
                wanted -= count
        if wanted:
            return False
    return True


def _placeable(shape: Shape, agent: Agent, room: Resources, spread: Counter[str], wanted: int) -> int:
    """Number of tasks of a shape that would fit an agent beside those in ``spread``, which counts them."""
    count = min(wanted, shape.fits(room))
    if shape.most and (value := value_of(agent, shape.per)) is not None:
        count = min(count, shape.most - spread[value])
        spread[value] += count
    return count


def _suiting(state: CellState, framework: Framework, shape: Shape) -> Iterator[Agent]:
    """Agents that may be offered for the shape once enough of them is free."""
    requirement = Requirement(framework, shape.role, shape)
    return (agent for agent in state.agents.values() if unfit(requirement, agent) is None)


def _unreserved(agent: Agent, role: str, room: Resources) -> Resources:
    """The room without all that is reserved for other roles, whether it is used or not."""
    return room.clipped_minus(kept_from(agent, role, {}, {})) if agent.reservations else room
