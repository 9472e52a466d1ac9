"""The ends of offers: decline, rescind and timeout; ``accept.py`` has accepts. Every offer ends exactly once; an
unknown offer has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile

from broker_mesos.core.cell.allocation.gang_demand import has_started
from broker_mesos.core.cell.handlers import tasks
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Filter, Framework
from broker_mesos.core.cell.state.offer import OpenOffer
from broker_mesos.core.cell.state.offer_details import OfferDetails
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import Rescind
from broker_mesos.core.protocol.framework_messages import Decline, Settle
from broker_mesos.core.protocol.limits import Instant

OVERLOAD_TIMEOUTS = 6
"""Longest time until an offer ends while the owner is behind with its inbox, or after its framework has answered too
late, as a multiple of the offer timeout."""
MAX_EXPIRED_OFFERS = 50_000
"""The largest number of timed out offers whose ids are kept."""
EXPIRED_OFFER_ROUNDS = 5
"""Time for which an offer may be unanswered before the consumers of its framework are counted, as a multiple of the
pause between two rounds of allocation."""
NO_REASON = "no reason given"
"""The reason of a declined offer whose framework has given none."""
MAX_FILTERS = 64
"""The largest number of filters of one framework for one agent; the oldest are removed first."""


def end_all(state: CellState, ending: Iterable[OfferDetails], out: Outlet, why: str) -> None:
    """Rescind offers: they end, and their frameworks are sent a hint, since they may be answered already. ``why`` is
    what operators see."""
    ended: dict[Framework, list[str]] = {}
    for offer in _with_gangs(state, [state.offers[each.offer_id] for each in ending]):
        take_back(state, offer)
        ended.setdefault(offer.framework, []).append(offer.offer_id)
    for framework, ids in ended.items():
        # It must not expire before the offers themselves: a framework that reads these must read this, too.
        lasts = state.offers_last(framework)
        framework.withdrawn.add(why, len(ids), state.seconds)
        out.hint(addresses.offers(framework.ident), Rescind(offer_ids=tuple(ids)), expiration=lasts)


def make_way(state: CellState, out: Outlet) -> None:
    """End the offers for spare demands if any framework has another demand."""
    wanted = any(not framework.demand.spare for framework in state.wanting.values())
    for ident in list(state.spare):
        framework = state.frameworks.get(ident)
        if framework is not None and wanted:
            end_spare(state, framework, out)
        if framework is None or not (framework.demand.spare or any(_spares(framework))):
            state.spare.discard(ident)


def end_spare(state: CellState, framework: Framework, out: Outlet) -> None:
    """End the spare demand of a framework and the offers for it."""
    end_all(state, list(_spares(framework)), out, "made for tasks to come, and others wait")
    _want_no_spare(framework)


def _spares(framework: Framework) -> Iterator[OfferDetails]:
    return (offer for offer in framework.offers.values() if offer.spare)


def _want_no_spare(framework: Framework) -> None:
    if framework.demand.spare:
        framework.demand = framework.demand.model_copy(update={"wanted": False, "spare": False})


def take_back(state: CellState, offer: OpenOffer) -> None:
    """End an offer on which nothing was launched."""
    state.end_offer(offer)
    if offer.spare:
        if offer.demand == offer.framework.demand.version:
            _want_no_spare(offer.framework)
        return
    state.reconsider = state.reconsider or bool(offer.shape_counts)  # it may be met elsewhere


def _with_gangs(state: CellState, ending: list[OpenOffer]) -> list[OpenOffer]:
    """The offers together with the other offers of their gangs, unless these have started: a part of a gang is of no
    use."""
    found = {offer.offer_id: offer for offer in ending}
    for offer in ending:
        if offer.gang and offer.until is None and not has_started(offer.framework, offer.gang):
            rest = (each.offer_id for each in offer.framework.offers.values() if each.gang == offer.gang)
            found.update((offer_id, state.offers[offer_id]) for offer_id in rest)
    return list(found.values())


def learn_answer_time(state: CellState, framework: Framework, offer_ids: Iterable[str], now: Instant) -> None:
    """Adapt the offer timeout of a framework to the time of its answers: double it after an answer that came too late,
    and halve it after a quick one. If everything is slow, all answers would refer to offers that have timed out, and
    the same offers would be made again for ever. (TCP doubles its timeout for the same reason.)"""
    timeout = state.limits.offer_timeout
    for offer_id in offer_ids:
        offer = state.offers.get(offer_id)
        if offer_id in state.expired_offers:
            del state.expired_offers[offer_id]
            # Offers that were made together raise it only once.
            if now.mono - framework.offer_timeouts_raised_at >= timeout * framework.offer_timeouts:
                framework.offer_timeouts_raised_at = now.mono
                framework.offer_timeouts = min(OVERLOAD_TIMEOUTS, 2 * framework.offer_timeouts)
        elif (
            framework.offer_timeouts > 1
            and offer is not None
            and offer.framework is framework
            and now.mono - offer.created_at < timeout / 2
            and now.mono - framework.offer_timeouts_raised_at >= timeout
        ):
            framework.offer_timeouts_raised_at = now.mono
            framework.offer_timeouts //= 2


def on_decline(state: CellState, framework: Framework, call: Decline, now: Instant) -> None:
    """End declined offers, and set filters for their resources."""
    for offer_id in dict.fromkeys(call.offer_ids):
        offer = state.offers.get(offer_id)
        if offer is not None and offer.framework is framework:
            take_back(state, offer)
            refuse(state, offer, call.refuse_seconds, now)
            framework.declined.add(call.reason or NO_REASON, 1, state.seconds)


def on_settle(state: CellState, framework: Framework, call: Settle, out: Outlet, now: Instant) -> None:
    """Answer whether claims have become tasks. A claim that has not cannot become a task any more, since its offer is
    ended."""
    for task_id, offer_id in call.claims:
        offer = state.offers.get(offer_id)
        if offer is not None and offer.framework is framework:
            take_back(state, offer)
        status = _known_status(state, framework, task_id, now)
        if status is None and not state.is_certain((offer_id,), now.mono):
            continue  # the framework asks again later, when all lists have arrived
        if status is None:
            status = tasks.made_status(
                state,
                task_id,
                TaskState.DROPPED,
                now,
                framework_id=framework.ident,
                reason=Reason.INVALID_OFFERS,
                message="it was never launched",
            )
        out.update(framework.ident, status)


def _known_status(state: CellState, framework: Framework, task_id: str, now: Instant) -> TaskStatus | None:
    task = state.tasks.get(task_id)
    if task is None:
        task = next((done for done in framework.completed if done.task_id == task_id), None)
    if task is None or task.framework_id != framework.ident:
        return None
    return current_status(state, task, now)


def current_status(state: CellState, task: Task, now: Instant) -> TaskStatus:
    """The latest status of a task, for an answer to its framework."""
    status = task.details.status
    if status is not None and status.state is task.state:
        return status
    return tasks.made_status(
        state,
        task.task_id,
        task.state,
        now,
        agent_id=task.agent_id,
        framework_id=task.framework_id,
        reason=Reason.RECONCILIATION,
    )


def refuse(
    state: CellState, offer: OpenOffer, seconds: float | None, now: Instant, *, left: Resources | None = None
) -> None:
    """Hide from the framework of an ended offer what is like it for a time: ``left`` of its agent, or all of the offer.
    ``seconds``: as in the framework's call; None is the default time, 0 sets no filter."""
    limits = state.limits
    resources, role, revocable = offer.resources if left is None else left, offer.role, offer.revocable
    if seconds is None or seconds < 0 or seconds != seconds:
        seconds = limits.refuse
    if not resources or seconds == 0:
        return
    for kind in offer.shape_counts:
        if kind[6] is not None and kind[6].ports:
            resources = resources.counted()  # the next offer for the shape may have other ports
    until = now.mono + max(min(seconds, limits.refuse_at_most), limits.allocation)
    made = Filter(resources, role, until, revocable)
    kept = offer.framework.filters.get(offer.agent.ident)
    if not kept:
        offer.framework.filters[offer.agent.ident] = [made]
        return
    kept[:] = [
        each
        for each in kept[1 - MAX_FILTERS :]
        if each.until > now.mono and (each.role, each.resources, each.revocable) != (role, resources, revocable)
    ]
    kept.append(made)


def check_unanswered(state: CellState, out: Outlet, now: Instant, *, behind: bool = False) -> None:
    """End offers that were open for too long, and have the consumers of frameworks with younger offers counted.

    If the owner is behind with its inbox, the answer may already be there: ending the offer would make the waiting
    answer useless, cause the same offer again, and put the owner further behind. Therefore offers stay open longer
    then, but not for ever, since every offer ends (I6).
    """
    limits = state.limits
    least = limits.offer_timeout * (OVERLOAD_TIMEOUTS if behind else 1)
    # Offers are in the order in which they were made; most of them are young and need not be checked.
    old = takewhile(lambda each: now.mono - each.created_at >= least, state.offers.values())
    overdue = [
        each
        for each in old
        if each.until is None and now.mono - each.created_at >= max(least, state.offers_last(each.framework))
    ]
    # The framework is not to blame for these: it could not complete the gang by itself.
    ended = [each for each in state.gang_offers.values() if each.until is None or each.until <= now.mono]
    # In a large cell an answer waits behind many other messages before it is read.
    quick = max(limits.consumer_check, EXPIRED_OFFER_ROUNDS * limits.pause_of(len(state.agents)))
    waiting = takewhile(lambda each: now.mono - each.created_at >= quick, state.offers.values())
    for framework in {offer.framework.ident: offer.framework for offer in waiting}.values():
        if now.mono - framework.consumers_checked_at >= max(1.0, limits.consumer_check):
            framework.consumers_checked_at = now.mono
            out.decision.count_consumers.append(framework.ident)
    for framework in {offer.framework.ident: offer.framework for offer in overdue}.values():
        framework.unanswered_rounds += 1
    for offer in overdue:
        state.expired_offers[offer.offer_id] = None
    while len(state.expired_offers) > MAX_EXPIRED_OFFERS:
        del state.expired_offers[next(iter(state.expired_offers))]
    for offer in overdue:
        # A framework that did not answer an offer is not sent the same one again at once.
        refuse(state, offer, None, now)
    end_all(state, overdue, out, "not answered in time")
    end_all(state, [each for each in ended if each.offer_id in state.offers], out, "its gang was not complete in time")
