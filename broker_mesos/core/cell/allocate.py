"""One allocation round of a cell: what is free, who wants it, in the policy's order, minus filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from broker_mesos.core import addresses
from broker_mesos.core.allocation.policy import Claimant, Policy, Standing
from broker_mesos.core.cell.outlet import CHUNK_BYTES, Outlet
from broker_mesos.core.cell.state import Agent, CellState, OpenOffer
from broker_mesos.core.limits import Instant
from broker_mesos.core.messages import Offer, Offers
from broker_mesos.core.records import FrameworkState
from broker_mesos.core.resources import Resources

LEAST_CPUS = 10
"""Thousandths; an agent with less than this and less than LEAST_MEM free is not offered (as in Mesos)."""
LEAST_MEM = 32_000
OFFERS_A_MESSAGE = 100


def allocate(state: CellState, policy: Policy, out: Outlet, now: Instant, *, everything: bool) -> None:
    """Offer what is free. On an event only the agents that changed are looked at; every batch interval
    (or when somebody began to want) all of them, since filters run out by themselves."""
    candidates = _candidates(state, everything or state.reconsider)
    if not state.reconsider:
        # All agents times all frameworks are too many to look at every second, where nothing can be new.
        candidates = [
            each for each in candidates if each.hidden_until <= now.mono or each.ident in state.changed
        ]
    state.changed.clear()
    state.reconsider = False
    claimants = claimants_of(state) if candidates else []
    if not claimants:
        return
    ranking = policy.rank(claimants, standing(state))
    made: dict[str, list[OpenOffer]] = {}
    for agent in candidates:
        agent.hidden_until = 0.0
        hidden_until = float("inf")
        for claimant in ranking.order():
            framework = state.frameworks[claimant.framework_id]
            until = framework.refuses_until(agent.ident, claimant.role, agent.free, now.mono)
            if until > now.mono:
                hidden_until = min(hidden_until, until)
                continue
            offer = state.add_offer(framework, agent, claimant.role, now.mono)
            ranking.charge(claimant, offer.resources.counted())
            made.setdefault(framework.ident, []).append(offer)
            break
        else:
            agent.hidden_until = hidden_until
    for framework_id, offers in made.items():
        to = addresses.offers(framework_id)
        for some in _in_messages(offers):
            message = Offers(offers=tuple(_wire(state, each) for each in some))
            out.hint(to, message, expiration=state.limits.offer_timeout, mandatory=True)


def _in_messages(offers: Iterable[OpenOffer]) -> Iterator[list[OpenOffer]]:
    part: list[OpenOffer] = []
    size = 0
    for offer in offers:
        length = (
            1_000
            + len(str(offer.resources))
            + sum(6 * (len(name) + len(value)) for name, value in offer.agent.info.attributes.items())
        )
        if part and (size + length > CHUNK_BYTES or len(part) >= OFFERS_A_MESSAGE):
            yield part
            part, size = [], 0
        part.append(offer)
        size += length
    if part:
        yield part


def _candidates(state: CellState, everything: bool) -> list[Agent]:
    if everything:
        agents = list(state.agents.values())
        # Nobody is first for ever: each full round begins at another agent.
        state.rotation = (state.rotation + 1) % max(1, len(agents))
        agents = agents[state.rotation :] + agents[: state.rotation]
    else:
        agents = [agent for ident in state.changed if (agent := state.agents.get(ident)) is not None]
    return [agent for agent in agents if agent.allocatable and worth_offering(agent.free)]


def worth_offering(free: Resources) -> bool:
    """Whether these resources are enough for any task."""
    return free.get("cpus") >= LEAST_CPUS or free.get("mem") >= LEAST_MEM


def claimants_of(state: CellState) -> list[Claimant]:
    """Everybody who may be sent offers, a claimant for each role of each framework."""
    count = max(1, len(state.frameworks))
    return [
        Claimant(role, framework.ident, (framework.order + state.cell) % count)
        for framework in state.frameworks.values()
        if framework.wants
        for role in framework.info.roles
    ]


def cluster_total(state: CellState) -> Resources:
    """Of all registered agents of the cluster, as far as this cell has heard."""
    return state.total + state.foreign_total


def held_in_cluster(state: CellState) -> dict[tuple[str, str], Resources]:
    """Offered and used per (role, framework), as far as this cell has heard."""
    held = dict(state.foreign_held)
    for framework in state.frameworks.values():
        if framework.state is FrameworkState.TORN_DOWN and not framework.tasks:
            continue
        for role, resources in framework.held.items():
            key = (role, framework.ident)
            held[key] = held[key] + resources if key in held else resources
    return held


def standing(state: CellState) -> Standing:
    """What the policy weighs."""
    return Standing(cluster_total(state), held_in_cluster(state), state.weights)


def _wire(state: CellState, offer: OpenOffer) -> Offer:
    info = offer.agent.info
    return Offer.model_construct(
        offer_id=offer.offer_id,
        framework_id=offer.framework.ident,
        agent_id=info.agent_id,
        cell=state.cell,
        hostname=info.hostname,
        role=offer.role,
        resources=offer.resources,
        attributes=info.attributes,
    )
