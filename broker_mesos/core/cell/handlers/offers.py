"""The ends of offers: accept, decline, rescind and timeout. Every offer ends exactly once; an unknown offer has
ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from broker_mesos.core.cell.allocation.gang_demand import has_started
from broker_mesos.core.cell.handlers import reservations, tasks
from broker_mesos.core.cell.handlers.operations import Ground
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Filter, Framework
from broker_mesos.core.cell.state.offer import OpenOffer
from broker_mesos.core.cell.state.offer_details import OfferDetails
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.core.model.task_queues import queue_key_of
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.agent_messages import LaunchItem
from broker_mesos.core.protocol.events import Rescind
from broker_mesos.core.protocol.framework_messages import Acceptance, Decline, Settle
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import RecordKind
from broker_mesos.core.protocol.task_record import TaskRecord
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import BrokerMesosError

MAX_LAUNCH_BYTES = MAX_BODY - 64 * 1024
"""The largest launch of a task, in bytes: it has to fit into one message together with the other fields."""
OVERLOAD_TIMEOUTS = 6
"""Longest time until an offer ends while the owner is behind with its inbox, or after its framework has answered too
late, as a multiple of the offer timeout."""
MAX_EXPIRED_OFFERS = 50_000
"""The largest number of timed out offers whose ids are kept."""
EXPIRED_OFFER_ROUNDS = 5
"""Time for which an offer may be unanswered before the consumers of its framework are counted, as a multiple of the
pause between two rounds of allocation."""
MAX_FILTERS = 64
"""The largest number of filters of one framework for one agent; the oldest are removed first."""


def end_all(state: CellState, ending: Iterable[OfferDetails], out: Outlet) -> None:
    """Rescind offers: they end, and their frameworks are sent a hint, since they may be answered already."""
    ended: dict[Framework, list[str]] = {}
    for offer in _with_gangs(state, [state.offers[each.offer_id] for each in ending]):
        _take_back(state, offer)
        ended.setdefault(offer.framework, []).append(offer.offer_id)
    for framework, ids in ended.items():
        # It must not expire before the offers themselves: a framework that reads these must read this, too.
        lasts = state.offers_last(framework)
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
    end_all(state, list(_spares(framework)), out)
    _want_no_spare(framework)


def _spares(framework: Framework) -> Iterator[OfferDetails]:
    return (offer for offer in framework.offers.values() if offer.spare)


def _want_no_spare(framework: Framework) -> None:
    if framework.demand.spare:
        framework.demand = framework.demand.model_copy(update={"wanted": False, "spare": False})


def _take_back(state: CellState, offer: OpenOffer) -> None:
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


def on_accept(state: CellState, framework: Framework, call: Acceptance, out: Outlet, now: Instant) -> None:
    """Carry out operations on offers, then launch tasks on the remaining resources. All of the offers must be open,
    belong to this framework, and be of one agent and one role."""
    opened = [
        offer
        for offer_id in dict.fromkeys(call.offer_ids)
        if (offer := state.offers.get(offer_id)) is not None and offer.framework is framework
    ]
    whole = len(opened) == len(set(call.offer_ids)) and bool(opened)
    if not whole or len({(offer.agent.ident, offer.role, offer.revocable) for offer in opened}) != 1:
        for offer in opened:
            _take_back(state, offer)
        _drop(state, framework, call, opened, out, now)
        return
    agent, role = opened[0].agent, opened[0].role
    left = Resources.sum(offer.resources for offer in opened)
    for offer in opened:
        state.end_offer(offer)
        if offer.gang and call.tasks:
            framework.started_gangs.add(offer.gang)
    launched: list[Resources] = []
    queued: Counter[Resources] = Counter()
    revocable = opened[0].revocable
    changed = False
    if call.operations:
        named = Resources.sum(each.resources for offer in opened for each in offer.reservations)
        ground = Ground(agent, role, left, named)
        changed = reservations.carry_out(state, framework, ground, call.operations, out, revocable=revocable)
        left = ground.pool
    for info in call.tasks:
        problem = ""
        try:
            info = reservations.with_volumes(agent, role, info, revocable=revocable)
        except BrokerMesosError as error:
            problem = str(error)
        line = queue_key_of(framework.ident, role, info.line, info.resources, info.volumes, revocable)
        waits = line is not None and not left.contains(info.resources) and agent.queues.open(line)
        launch = LaunchItem(
            task=info,
            framework_id=framework.ident,
            role=role,
            offer_id=opened[0].offer_id,
            revocable=revocable,
            waits=waits,
        )
        encoded = launch.encode()
        problem = problem or _problem(state, info, info.resources if waits else left, len(encoded))
        if problem:
            status = tasks.made_status(
                state,
                info.task_id,
                TaskState.ERROR,
                now,
                agent_id=agent.ident,
                framework_id=framework.ident,
                reason=Reason.TASK_ID_IN_USE if info.task_id in state.tasks else Reason.TASK_INVALID,
                message=problem,
            )
            out.update(framework.ident, status)
            continue
        if waits:
            queued[info.resources] += 1
        else:
            left -= info.resources
            launched.append(info.resources)
        wire = encoded.decode()
        task = Task(
            TaskRecord(
                task_id=info.task_id,
                framework_id=framework.ident,
                agent_id=agent.ident,
                role=role,
                name=info.name,
                resources=info.resources,
                offer_id=opened[0].offer_id,
                state=TaskState.STAGING,
                status=None,
                launch=wire,
                kill_requested=False,
                created_at=now.wall,
                labels=info.labels,
                volumes=tuple(each.volume_id for each in info.volumes),
                revocable=revocable,
                line="" if line is None else line.name,
                waits=waits,
            )
        )
        state.add_task(task)
        out.touch(RecordKind.TASKS, task.task_id)
        out.launch(agent, task.task_id, wire)
    _account(state, framework, opened, launched, queued)
    # A framework that changes an offer without launching tasks on it is offered the changed resources again.
    seconds = 0.0 if changed and not call.tasks and call.refuse_seconds is None else call.refuse_seconds
    _refuse(state, framework, agent.ident, role, left, seconds, now, revocable=revocable)


def _account(
    state: CellState,
    framework: Framework,
    opened: Sequence[OpenOffer],
    launched: Sequence[Resources],
    queued: Counter[Resources],
) -> None:
    """Count the launched tasks against the stated demand; tasks that the offers were made for but that were not
    launched are still demanded.

    The counts of a demand may already exclude tasks that the framework chose for earlier offers and accepts only now:
    therefore only offers that were made for the current version count. An offer that was used for tasks of another
    stated shape does not meet its own shape. If too little is counted, too much is offered, which the framework
    declines; if too much were counted, it would wait for ever.
    """
    if not any(offer.shape_counts for offer in opened):
        return
    stated = {shape.resources for shape in framework.demand.shapes or ()}
    exact = Counter(each for each in launched if each in stated)
    others = len(launched) - exact.total()
    for offer in opened:
        current = offer.demand == framework.demand.version
        for kind, count in offer.shape_counts.items():
            same = min(count, exact[kind[0]])
            other = min(count - same, others)
            exact[kind[0]] -= same
            others -= other
            if current:
                # Tasks that wait in a queue are launched in addition to those that the offer was made for.
                framework.accepted[kind] += same + other + queued.pop(kind[0], 0)
            if not current or same + other < count:
                state.reconsider = True


def _problem(state: CellState, info: TaskInfo, left: Resources, size: int) -> str:
    if info.task_id in state.tasks:
        return f"a task with the id {info.task_id} exists; give each task an id of its own"
    if not info.resources:
        return "it requests no resources; a task needs some"
    if not left.contains(info.resources):
        return f"it requests {_clip(info.resources)}, and the offer has {_clip(left) or 'nothing'} left"
    if size > MAX_LAUNCH_BYTES:
        return f"its description takes {size} bytes; at most {MAX_LAUNCH_BYTES} are allowed"
    return ""


def _clip(resources: Resources) -> str:
    text = str(resources)
    return text if len(text) <= 2_000 else text[:2_000] + "…"


def _drop(
    state: CellState,
    framework: Framework,
    call: Acceptance,
    opened: Sequence[OpenOffer],
    out: Outlet,
    now: Instant,
) -> None:
    """Handle an accept of ended offers. In a repeat, tasks that the first accept has launched are ignored."""
    if not state.is_certain(call.offer_ids, now.mono):
        return  # it may have been launched before the store lost it; SETTLE is answered once the lists have arrived
    reservations.answer_ended(state, framework, call, out)
    for info in call.tasks:
        if _came_from(state, framework, info.task_id, call.offer_ids):
            continue
        status = tasks.made_status(
            state,
            info.task_id,
            TaskState.DROPPED,
            now,
            framework_id=framework.ident,
            reason=Reason.INVALID_OFFERS,
            message="its offer has ended",
        )
        out.update(framework.ident, status)


def _came_from(state: CellState, framework: Framework, task_id: str, offer_ids: Sequence[str]) -> bool:
    task = state.tasks.get(task_id)
    if task is not None:
        return True  # it is known from these offers or, if an id is used twice, from others: it is not dropped
    return any(done.task_id == task_id and done.offer_id in offer_ids for done in framework.completed)


def on_decline(state: CellState, framework: Framework, call: Decline, now: Instant) -> None:
    """End declined offers, and set filters for their resources."""
    for offer_id in dict.fromkeys(call.offer_ids):
        offer = state.offers.get(offer_id)
        if offer is not None and offer.framework is framework:
            _take_back(state, offer)
            _refuse_offer(state, offer, call.refuse_seconds, now)


def on_settle(state: CellState, framework: Framework, call: Settle, out: Outlet, now: Instant) -> None:
    """Answer whether claims have become tasks. A claim that has not cannot become a task any more, since its offer is
    ended."""
    for task_id, offer_id in call.claims:
        offer = state.offers.get(offer_id)
        if offer is not None and offer.framework is framework:
            _take_back(state, offer)
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
    if task.status is not None and task.status.state is task.state:
        return task.status
    return tasks.made_status(
        state,
        task.task_id,
        task.state,
        now,
        agent_id=task.agent_id,
        framework_id=task.framework_id,
        reason=Reason.RECONCILIATION,
    )


def _refuse(
    state: CellState,
    framework: Framework,
    agent_id: str,
    role: str,
    resources: Resources,
    seconds: float | None,
    now: Instant,
    *,
    revocable: bool,
) -> None:
    limits = state.limits
    if seconds is None or seconds < 0 or seconds != seconds:
        seconds = limits.refuse
    if not resources or seconds == 0:
        return
    until = now.mono + max(min(seconds, limits.refuse_at_most), limits.allocation)
    kept = framework.filters.setdefault(agent_id, [])
    kept[:] = [
        each
        for each in kept[1 - MAX_FILTERS :]
        if each.until > now.mono and (each.role, each.resources, each.revocable) != (role, resources, revocable)
    ]
    kept.append(Filter(resources, role, until, revocable))


def _refuse_offer(state: CellState, offer: OpenOffer, seconds: float | None, now: Instant) -> None:
    agent_id, role, resources = offer.agent.ident, offer.role, offer.resources
    _refuse(state, offer.framework, agent_id, role, resources, seconds, now, revocable=offer.revocable)


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
        _refuse_offer(state, offer, None, now)
    end_all(state, overdue + ended, out)
