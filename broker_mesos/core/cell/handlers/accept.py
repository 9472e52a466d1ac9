"""Accepts: operations are carried out on the resources of offers, then tasks are launched on what is left of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker_mesos.core.cell.allocation.feasibility import lacks
from broker_mesos.core.cell.allocation.spread import Spread, value_of
from broker_mesos.core.cell.handlers import framework_rights, offers, reservations, tasks
from broker_mesos.core.cell.handlers.operations import Ground
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer import OpenOffer
from broker_mesos.core.cell.state.offer_details import ShapeKey, whole_of
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.attributes import AGENT
from broker_mesos.core.model.framework import PlacementRules
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.model.task_isolation import demanded_words
from broker_mesos.core.model.task_queues import queue_key_of
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchItem
from broker_mesos.core.protocol.framework_messages import Acceptance
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import RecordKind
from broker_mesos.core.protocol.task_record import TaskDetails
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import BrokerMesosError

MAX_LAUNCH_BYTES = MAX_BODY - 64 * 1024
"""The largest launch of a task, in bytes: it has to fit into one message together with the other fields."""


@dataclass(slots=True)
class _Accepted:
    """The offers of one accept, which have ended, and how their resources are used."""

    framework: Framework
    offers: Sequence[OpenOffer]
    left: Resources
    """What the operations and the tasks so far have left."""
    launched: list[Resources] = field(default_factory=list)
    """Resources of each task that was launched."""
    queued: Counter[Resources] = field(default_factory=Counter)
    """Number of tasks that wait in a task queue of the agent, by their resources."""
    named: Counter[ShapeKey] = field(default_factory=Counter)
    """Number of tasks that were given the name of a shape, by shape."""


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
            offers.take_back(state, offer)
        _drop(state, framework, call, out, now)
        return
    accepted = _Accepted(framework, opened, Resources.sum(offer.resources for offer in opened))
    for offer in opened:
        state.end_offer(offer)
        if offer.gang and call.tasks:
            framework.started_gangs.add(offer.gang)
    changed = bool(call.operations) and _operate(state, accepted, call, out)
    for info in call.tasks:
        if not info.shape and (name := _name_of(accepted, info)):
            info = info.model_copy(update={"shape": name})
        if beyond := _beyond_limit(state, accepted, info):
            _refuse_task(state, accepted, info, beyond, out, now, TaskState.DROPPED)
        elif problem := _launch(state, accepted, info, out, now):
            _refuse_task(state, accepted, info, problem, out, now)
    _account(state, accepted)
    # A framework that changes an offer without launching tasks on it is offered the changed resources again.
    seconds = 0.0 if changed and not call.tasks and call.refuse_seconds is None else call.refuse_seconds
    offers.refuse(state, opened[0], seconds, now, left=accepted.left)


def _operate(state: CellState, accepted: _Accepted, call: Acceptance, out: Outlet) -> bool:
    """Carry out the operations. Returns whether anything has changed."""
    first = accepted.offers[0]
    named = Resources.sum(each.resources for offer in accepted.offers for each in offer.reservations)
    ground = Ground(first.agent, first.role, accepted.left, named)
    changed = reservations.carry_out(state, accepted.framework, ground, call.operations, out, revocable=first.revocable)
    accepted.left = ground.pool
    return changed


def _launch(state: CellState, accepted: _Accepted, info: TaskInfo, out: Outlet, now: Instant) -> str:
    """Launch a task, or have it wait in its task queue on the agent. Returns why that is not possible; empty if it
    is."""
    offer, framework = accepted.offers[0], accepted.framework
    if problem := framework_rights.problem_of_task_user(state, framework.ident, info.command.user):
        return problem
    agent, role, revocable = offer.agent, offer.role, offer.revocable
    if missing := lacks(demanded_words(info.isolation, info.limits), agent):
        return f"it demands isolation that its agent does not have: {', '.join(missing)}; look at Offer.isolation"
    try:
        info = reservations.with_volumes(agent, role, info, revocable=revocable)
    except BrokerMesosError as error:
        return str(error)
    queue = queue_key_of(framework.ident, role, info.line, info.resources, info.volumes, revocable)
    waits = queue is not None and not accepted.left.contains(info.resources) and agent.queues.open(queue)
    launch = LaunchItem(
        task=info,
        framework_id=framework.ident,
        role=role,
        offer_id=offer.offer_id,
        revocable=revocable,
        waits=waits,
    ).encode()
    if problem := _problem(state, info, info.resources if waits else accepted.left, len(launch)):
        return problem
    if waits:
        accepted.queued[info.resources] += 1
    else:
        accepted.left -= info.resources
        accepted.launched.append(info.resources)
    wire = launch.decode()
    task = Task(
        info.task_id,
        framework.ident,
        agent.ident,
        info.resources,
        role=role,
        revocable=revocable,
        queue="" if queue is None else queue.name,
        waits=waits,
        shape=info.shape,
        details=TaskDetails(
            name=info.name,
            offer_id=offer.offer_id,
            launch=wire,
            created_at=now.wall,
            labels=info.labels,
            volumes=tuple(each.volume_id for each in info.volumes),
        ),
    )
    state.add_task(task)
    out.decision.launched.append(task.task_id)
    out.touch(RecordKind.TASKS, task.task_id)
    out.launch(agent, task.task_id, wire)
    return ""


def _name_of(accepted: _Accepted, info: TaskInfo) -> str:
    """The name of the shape with ``most`` that offers were made for and that a task without a name meets; empty if
    there is none."""
    for offer in accepted.offers:
        for kind, count in offer.shape_counts.items():
            rules = kind[6]
            if rules is None or not rules.most or accepted.named[kind] >= count:
                continue
            if info.resources in (kind[0], whole := whole_of(kind)) or info.resources.counted() == whole:
                accepted.named[kind] += 1
                return rules.name
    return ""


def _beyond_limit(state: CellState, accepted: _Accepted, info: TaskInfo) -> str:
    """Why a task must not run beside the others of its shape; empty if it may, and if it runs already. Its offer may
    have been made before the shape was stated, or before another one was used for a task of the shape."""
    if not info.shape or info.task_id in state.tasks:
        return ""
    framework, agent = accepted.framework, accepted.offers[0].agent
    # The demand may have ended since, as it does when the framework has chosen offers for the last tasks.
    stated: dict[PlacementRules | None, Mapping[str, int]] = {
        kind[6]: {} for offer in accepted.offers for kind in offer.shape_counts
    }
    stated |= {each.rules: each.placed for each in framework.demand.shapes or ()}
    for rules, placed in stated.items():
        if rules is None or not rules.most or rules.name != info.shape:
            continue
        if not Spread(state, framework, rules, placed, offered=False).left(agent, rules.most):
            where = "on it" if rules.per == AGENT else f"where {rules.per} is {value_of(agent, rules.per)}"
            return f"as many tasks of {rules.name} as may run {where} do: {rules.most}"
    return ""


def _refuse_task(
    state: CellState,
    accepted: _Accepted,
    info: TaskInfo,
    problem: str,
    out: Outlet,
    now: Instant,
    to: TaskState = TaskState.ERROR,
) -> None:
    framework = accepted.framework
    reason = Reason.TASK_ID_IN_USE if info.task_id in state.tasks else Reason.TASK_INVALID
    status = tasks.made_status(
        state,
        info.task_id,
        to,
        now,
        agent_id=accepted.offers[0].agent.ident,
        framework_id=framework.ident,
        reason=reason if to is TaskState.ERROR else Reason.LAUNCH_REFUSED,
        message=problem,
    )
    out.update(framework.ident, status)


def _account(state: CellState, accepted: _Accepted) -> None:
    """Count the launched tasks against the stated demand; tasks that the offers were made for but that were not
    launched are still demanded.

    The counts of a demand may already exclude tasks that the framework chose for earlier offers and accepts only now:
    therefore only offers that were made for the current version count. An offer that was used for tasks of another
    stated shape does not meet its own shape. If too little is counted, too much is offered, which the framework
    declines; if too much were counted, it would wait for ever.
    """
    framework, opened, queued = accepted.framework, accepted.offers, accepted.queued
    if not any(offer.shape_counts for offer in opened):
        return
    # What a task needs of a shape with a number of ports is compared with them counted.
    stated = {shape.whole if shape.ports else shape.resources for shape in framework.demand.shapes or ()}
    exact = Counter(
        each if each in stated else counted
        for each in accepted.launched
        if each in stated or (counted := each.counted()) in stated
    )
    others = len(accepted.launched) - exact.total()
    for offer in opened:
        current = offer.demand == framework.demand.version
        for kind, count in offer.shape_counts.items():
            whole = whole_of(kind)
            same = min(count, exact[whole])
            other = min(count - same, others)
            exact[whole] -= same
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


def _drop(state: CellState, framework: Framework, call: Acceptance, out: Outlet, now: Instant) -> None:
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
    return any(done.task_id == task_id and done.details.offer_id in offer_ids for done in framework.completed)
