"""One allocation of a cell: it selects agents with free resources and frameworks with demand, runs a round
(``round.py``), and makes the offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from broker_mesos.core.cell.allocation import escrow, gang_demand, slack
from broker_mesos.core.cell.allocation.feasibility import worth_offering
from broker_mesos.core.cell.allocation.policies.policy import Policy
from broker_mesos.core.cell.allocation.round import Round
from broker_mesos.core.cell.allocation.shares import claimants_of
from broker_mesos.core.cell.outlet import MAX_CHUNK_BYTES, Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.offer import OpenOffer
from broker_mesos.core.cell.state.reserved_portions import VOLUMES
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.reservation import Volume
from broker_mesos.core.model.roles import is_within
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import Offers
from broker_mesos.core.protocol.limits import Instant

OFFERS_A_MESSAGE = 100
"""The largest number of offers in one message, unless a gang needs more."""


def allocate(state: CellState, policy: Policy, out: Outlet, now: Instant, *, everything: bool) -> None:
    """Offer the free resources. After an event only agents that have changed are considered; once per batch interval,
    or after a new demand, all agents are, since filters expire with time."""
    # A gang needs resources that were free before together with those that have just become free.
    gang = state.token is not None or any(
        framework.gangs and gang_demand.any_waits(framework) for framework in state.wanting.values()
    )
    if everything or gang or state.reconsider:
        # Each full round begins at another agent, so that no agent is always the first.
        candidates = candidates_of(state)
        state.rotation += 1
    else:
        changed = (state.agents.get(ident) for ident in state.changed)
        candidates = [agent for agent in changed if agent is not None and _lends(agent)]
    if not state.reconsider:
        # All agents times all frameworks are too many to check every second if nothing can have changed.
        candidates = [each for each in candidates if each.hidden_until <= now.mono or each.ident in state.changed]
    slack_of = slack.candidates(state, everything or state.reconsider)
    state.changed.clear()
    state.reconsider = False
    requested: dict[str, dict[str, int]] = {}
    made: dict[str, list[OpenOffer]] = {}
    claimants = claimants_of(state) if candidates else []
    if claimants:
        round_ = Round(state, policy, candidates, now, claimants)
        state.rounds += 1
        for grant in round_.run():
            made.setdefault(grant.framework.ident, []).append(state.add_offer(grant, now.mono))
        for agent in candidates:
            # A framework whose demand was met has not considered all agents.
            agent.hidden_until = 0.0 if round_.grants.satisfied else round_.places.until.get(agent.ident, 0.0)
        requested = round_.quota.requested
    if slack_of and (takers := slack.takers(state)):
        for grant in slack.SlackRound(state, policy, slack_of, now, takers).run():
            made.setdefault(grant.framework.ident, []).append(state.add_offer(grant, now.mono))
    for framework_id, offers in made.items():
        to = addresses.offers(framework_id)
        lasts = state.offers_last(state.frameworks[framework_id])
        for some in _in_messages(offers):
            message = Offers(offers=tuple(_wire(state, each, now) for each in some))
            out.hint(to, message, expiration=lasts, mandatory=True)
    out.decision.escrow.update(escrow.settle(state, requested, everything=everything, now=now))


def _in_messages(offers: Iterable[OpenOffer]) -> Iterator[list[OpenOffer]]:
    """Groups of offers for one message each. Offers for one gang are in one message if they fit into it."""
    bundles: dict[str, list[OpenOffer]] = {}
    for offer in offers:
        bundles.setdefault(f"gang {offer.gang}" if offer.gang else offer.offer_id, []).append(offer)
    part: list[OpenOffer] = []
    size = 0
    for bundle in bundles.values():
        lengths = [_length(offer) for offer in bundle]
        if part and (size + sum(lengths) > MAX_CHUNK_BYTES or len(part) + len(bundle) > OFFERS_A_MESSAGE):
            yield part
            part, size = [], 0
        for offer, length in zip(bundle, lengths, strict=True):
            if part and size + length > MAX_CHUNK_BYTES:
                yield part
                part, size = [], 0
            part.append(offer)
            size += length
    if part:
        yield part


def _length(offer: OpenOffer) -> int:
    attributes = offer.agent.info.attributes.items()
    held = len(offer.agent.reserved_resources.encode()) if offer.agent.reservations else 0
    described = sum(6 * (len(name) + len(value)) for name, value in attributes)
    return 1_000 + len(str(offer.resources)) + held + described


def candidates_of(state: CellState) -> list[Agent]:
    """All agents with resources to offer, in the order of the next full round."""
    agents = list(state.agents.values())
    first = state.rotation % max(1, len(agents))
    return [agent for agent in agents[first:] + agents[:first] if _lends(agent)]


def _lends(agent: Agent) -> bool:
    return worth_offering(agent.free) and agent.allocatable  # most have nothing left


def _wire(state: CellState, offer: OpenOffer, now: Instant) -> Offer:
    info = offer.agent.info
    return Offer(
        offer_id=offer.offer_id,
        framework_id=offer.framework.ident,
        agent_id=info.agent_id,
        cell=state.cell,
        hostname=info.hostname,
        role=offer.role,
        resources=offer.resources,
        attributes=info.attributes,
        isolation=info.isolation,
        reservations=offer.reservations,
        volumes=tuple(each for each in offer.agent.reserved_resources.volumes if _usable(each, offer)),
        revocable=offer.revocable,
        unavailability=offer.agent.maintenance.unavailability,
        gang=offer.gang,
        until=None if offer.until is None else offer.until - now.mono + now.wall,
        spare=offer.spare,
    )


def _usable(volume: Volume, offer: OpenOffer) -> bool:
    if volume.shared:
        return not offer.revocable and is_within(offer.role, volume.role)
    return volume.volume_id in offer.resources.sets.get(VOLUMES, ())
