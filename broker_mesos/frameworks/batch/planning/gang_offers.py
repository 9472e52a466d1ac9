"""Offers of gangs that are not complete yet, kept in the store for all workers.

Each worker receives a part of a gang's offers; the one that receives the last part claims the whole gang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from broker_mesos.core.model.offer import Offer
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import GANG_OFFERS, META, text_of
from broker_mesos.ports.store import Records

ACCEPT_MARGIN_SECONDS = 0.5
"""Time before an offer's end at which it counts as ended already, in seconds, since accepting takes time."""
MAX_GANG_OFFER_SECONDS = 600.0
"""Maximum time for which an offer of a gang stays open, in seconds."""
ROUND = "gathered"
"""Field of ``meta`` that is incremented with each change of the kept offers and compared by each plan, so that two
workers cannot both miss the offers that the other one keeps."""


@dataclass(slots=True)
class GangOffers:
    """The kept offers, as they were read from the store."""

    round: str | None
    texts: dict[str, str]
    offers: list[Offer] = field(default_factory=list)
    """Kept offers that may be used, of the gangs for which new offers have arrived."""
    over: list[str] = field(default_factory=list)
    """Ids of kept offers that have ended."""


def sift(round_: str | None, texts: dict[str, str], come: Sequence[Offer], now: float) -> GangOffers:
    """Sort the kept offers (``texts``): those that may be used with the new offers ``come``, and those that have
    ended. ``round_`` is the value of ROUND that was read with them."""
    found = GangOffers(round_, texts)
    kept = [Offer.model_validate_json(text) for text in texts.values()]
    latest: dict[int, int] = {}
    for offer in (*kept, *come):
        latest[offer.cell] = max(offer.term, latest.get(offer.cell, 0))
    gangs = {offer.gang for offer in come if offer.gang}
    ids = {offer.offer_id for offer in come}
    for offer in kept:
        if offer.offer_id in ids:
            continue  # it was delivered again
        ends = offer.until or 0.0
        if (
            ends > now + MAX_GANG_OFFER_SECONDS
            or ends <= now + ACCEPT_MARGIN_SECONDS
            or offer.term < latest[offer.cell]
        ):
            found.over.append(offer.offer_id)
        elif offer.gang in gangs:
            found.offers.append(offer)
    return found


def plan_store(
    plan: Plan,
    gang_offers: GangOffers,
    come: Sequence[Offer],
    used: Collection[str],
    waiting: Collection[str],
    now: float,
    until: float,
) -> tuple[set[str], list[Offer]]:
    """Add to a plan of claims, which uses the offers ``used``, that new offers for gangs that still wait are kept.

    ``until`` is the end of an offer that has none of its own. Returns the ids of the offers that are kept from now
    on, and the offers that were kept and must be answered now.
    """
    keep = {offer.offer_id: offer for offer in come if offer.gang in waiting and offer.offer_id not in used}
    for ident, offer in keep.items():
        # A cell states the end by its owner's clock: if that is out of bounds, the offer timeout applies.
        ends = until if offer.until is None or not now < offer.until <= now + MAX_GANG_OFFER_SECONDS else offer.until
        plan.set(GANG_OFFERS, ident, text_of(offer.model_copy(update={"until": ends})))
    ready = []
    for offer in gang_offers.offers:
        if offer.offer_id in used or offer.gang not in waiting:
            plan.expect(GANG_OFFERS, offer.offer_id, gang_offers.texts[offer.offer_id])
            plan.unset(GANG_OFFERS, offer.offer_id)
            ready.append(offer)
    for ident in gang_offers.over:
        plan.unset(GANG_OFFERS, ident)
    if keep or ready or gang_offers.over:
        plan.expect(META, ROUND, gang_offers.round)
        plan.increment(META, ROUND, 1)
    return set(keep), ready


async def read_gang_offers(records: Records, come: Sequence[Offer], now: float) -> GangOffers:
    """Read the kept offers, and sort them for the new offers ``come``. Raises StoreUnavailable."""
    if not any(offer.gang for offer in come):
        return GangOffers(None, {})
    (round_,), texts = await asyncio.gather(records.get(META, [ROUND]), records.get_all(GANG_OFFERS))
    return sift(round_, texts, come, now)


async def drop_gang_offers(records: Records, offer_id: str) -> None:
    """Remove a kept offer that its cell has rescinded. Raises StoreUnavailable."""
    (text,) = await records.get(GANG_OFFERS, [offer_id])
    if text is not None:
        plan = Plan()
        plan.unset(GANG_OFFERS, offer_id)
        plan.increment(META, ROUND, 1)
        await records.transact(plan.checks, plan.changes)
