"""Offers of gangs that are not complete yet, kept for all workers: each gets a part of them, and whoever gets
the last part claims the whole gang."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from broker_mesos.core.model.offer import Offer
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import GANG_OFFERS, META, text_of
from broker_mesos.ports.store import Records

ACCEPT_MARGIN_SECONDS = 0.5
"""Seconds before an offer's end at which it counts as ended: accepting takes time."""
MAX_GANG_OFFER_SECONDS = 600.0
"""Longest time for which an offer of a gang stays open, in seconds."""
ROUND = "gathered"
"""Field of ``meta`` that counts up with each change: no two workers each miss what the other keeps."""


@dataclass(slots=True)
class GangOffers:
    """What is kept, as it was read. Pure."""

    round: str | None
    texts: dict[str, str]
    offers: list[Offer] = field(default_factory=list)
    """Those that may be used, of the gangs that offers have come for."""
    over: list[str] = field(default_factory=list)
    """Ids of those that have ended."""


def sift(round_: str | None, texts: dict[str, str], come: Sequence[Offer], now: float) -> GangOffers:
    """What of the kept offers goes with those that have come."""
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
    """Complete a plan of claims, which uses the offers ``used``: keep what has come for gangs that wait.
    ``until``: when an offer ends that does not say so. Returns the ids that are kept, and the offers that
    were kept and are to be answered now."""
    keep = {offer.offer_id: offer for offer in come if offer.gang in waiting and offer.offer_id not in used}
    for ident, offer in keep.items():
        # What a cell states is by its owner's clock: if that cannot be meant, the offer timeout holds.
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
    """What is kept for the gangs that offers have come for."""
    if not any(offer.gang for offer in come):
        return GangOffers(None, {})
    (round_,), texts = await asyncio.gather(records.get(META, [ROUND]), records.get_all(GANG_OFFERS))
    return sift(round_, texts, come, now)


async def drop_gang_offers(records: Records, offer_id: str) -> None:
    """An offer has ended, as its cell says."""
    (text,) = await records.get(GANG_OFFERS, [offer_id])
    if text is not None:
        plan = Plan()
        plan.unset(GANG_OFFERS, offer_id)
        plan.increment(META, ROUND, 1)
        await records.transact(plan.checks, plan.changes)
