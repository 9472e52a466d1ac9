"""Frameworks: subscription, liveness, demand, other calls, and teardown."""

from __future__ import annotations

from collections.abc import Iterable

from broker_mesos.core.cell.handlers import maintenance, offers, tasks
from broker_mesos.core.cell.handlers.accept import on_accept
from broker_mesos.core.cell.handlers.framework_rights import may_demand, may_subscribe
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import Error, Subscribed
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Accepts,
    Acknowledge,
    AnswerInverseOffers,
    Call,
    Decline,
    FrameworkAbsent,
    FrameworkHeartbeat,
    Kill,
    Reconcile,
    Revive,
    Settle,
    Subscribe,
    Suppress,
    Teardown,
)
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import FrameworkStatus, RecordKind

MAX_STALE_HEARTBEATS = 5
"""Number of consecutive heartbeats with an outdated demand after which the framework is sent the version that it has
to exceed: a single message with a high version must not exclude it from offers for ever."""


def on_subscribe(state: CellState, call: Subscribe, out: Outlet, now: Instant) -> None:
    """Handle a process that starts or reconnects: all unacknowledged updates are sent again."""
    framework = _on_contact(state, call.framework, call.demand, out, now)
    if framework is None:
        return
    _send_subscribed(state, framework, out)
    tasks.resend(state, framework, out, now, everything=True)


def on_heartbeat(state: CellState, beat: FrameworkHeartbeat, out: Outlet, now: Instant) -> None:
    """Handle the heartbeat of a process, with its demand. A cell that has missed its SUBSCRIBE subscribes it now."""
    known = beat.framework_id in state.frameworks
    framework = _on_contact(state, beat.framework, beat.demand, out, now)
    if framework is None:
        return
    stale = beat.demand.version < framework.demand.version
    framework.stale_heartbeats = framework.stale_heartbeats + 1 if stale else 0
    if not known or (stale and framework.stale_heartbeats % MAX_STALE_HEARTBEATS == 0):
        _send_subscribed(state, framework, out)  # it contains the version that a demand must exceed


def announce_owner(state: CellState, out: Outlet) -> None:
    """Notify all subscribed frameworks of the new owner, which has not received their demands yet."""
    for framework in state.frameworks.values():
        if framework.state is FrameworkStatus.SUBSCRIBED:
            _send_subscribed(state, framework, out)


def _send_subscribed(state: CellState, framework: Framework, out: Outlet) -> None:
    subscribed = Subscribed(
        framework_id=framework.ident,
        cell=state.cell,
        cells=state.cells,
        demand=max(0, framework.demand.version),
    )
    out.hint(addresses.events(framework.ident), subscribed)


def _on_contact(state: CellState, info: FrameworkInfo, demand: Demand, out: Outlet, now: Instant) -> Framework | None:
    framework = state.frameworks.get(info.framework_id)
    if not may_subscribe(state, info, demand, out):
        mute(state, info.framework_id, out)
        return None
    if framework is None:
        framework = state.add_framework(info)
        framework.registered_at = now.wall
        out.touch(RecordKind.FRAMEWORKS, framework.ident)
        state.reconsider = True
    elif framework.state is FrameworkStatus.TORN_DOWN:
        message = (
            f"framework {info.framework_id} was torn down; subscribe with a new id, or have an operator readmit it:"
            f" bmesos frameworks readmit {info.framework_id}"
        )
        out.hint(addresses.events(info.framework_id), Error(message=message))
        return None
    if framework.info != info or framework.state is not FrameworkStatus.SUBSCRIBED:
        framework.info = info
        framework.state = FrameworkStatus.SUBSCRIBED
        framework.disconnected_at = None
        framework.since = state.seconds
        out.touch(RecordKind.FRAMEWORKS, framework.ident)
        state.reconsider = True
    if framework.muted:
        framework.muted = False
        state.reconsider = True
    framework.last_heartbeat_at = now.mono
    apply_demand(state, framework, demand, out)
    return framework


def apply_demand(state: CellState, framework: Framework, demand: Demand, out: Outlet) -> None:
    """Apply a demand if it is newer than the last one. A new demand for offers clears the filters."""
    if not _is_newer(demand, framework.demand) or not may_demand(state, framework.ident, demand, out):
        return
    if demand.wanted and not demand.spare:
        offers.end_spare(state, framework, out)  # a demand for existing tasks replaces a spare one
        framework.filters.clear()
        state.reconsider = True
    if demand.wanted and demand.spare:
        state.spare.add(framework.ident)
    framework.demand = demand
    framework.accepted.clear()
    framework.started_gangs.clear()


def _is_newer(demand: Demand, known: Demand) -> bool:
    """Whether a demand replaces the known one. A spare demand may have the same version as one that wants nothing,
    which a heartbeat may have delivered earlier."""
    if demand.version == known.version:
        return demand.wanted and demand.spare and not known.wanted
    return demand.version > known.version


def on_call(state: CellState, call: Call, out: Outlet, now: Instant) -> None:
    """Handle any call but SUBSCRIBE. Calls of a framework that the cell does not know (yet) are answered if the
    framework waits for the answer: accepted tasks are dropped, and claims are settled."""
    framework = state.frameworks.get(call.framework_id)
    if isinstance(call, Teardown):
        teardown(state, call.framework_id, out, now)
        return
    if isinstance(call, FrameworkAbsent):
        _on_absent(state, call, out, now)
        return
    if framework is None:
        framework = Framework(FrameworkInfo(framework_id=call.framework_id), 0, 0)
    elif framework.state is FrameworkStatus.TORN_DOWN:
        return
    elif framework.state is FrameworkStatus.SUBSCRIBED:
        framework.last_heartbeat_at = now.mono
    if isinstance(call, Accept | Accepts | Decline):
        offers.learn_answer_time(state, framework, _answered(call), now)
        if framework.unanswered_rounds:
            framework.unanswered_rounds = 0
            state.reconsider = True
    match call:
        case Accept() | Accepts():
            for task_id in call.acknowledged:
                tasks.acknowledge(state, framework, task_id, out)
            for each in call.accepts if isinstance(call, Accepts) else (call,):
                on_accept(state, framework, each, out, now)
            if call.demand is not None and framework.state is FrameworkStatus.SUBSCRIBED:
                apply_demand(state, framework, call.demand, out)
        case Decline():
            offers.on_decline(state, framework, call, now)
        case Settle():
            offers.on_settle(state, framework, call, out, now)
        case Acknowledge():
            for task_id in call.task_ids:
                tasks.acknowledge(state, framework, task_id, out)
        case Kill():
            _on_kill(state, framework, call, out, now)
        case Reconcile():
            _on_reconcile(state, framework, call, out, now)
        case AnswerInverseOffers():
            maintenance.on_answer(state, framework, call, out)
        case Revive() | Suppress():
            apply_demand(state, framework, call.demand, out)


def _answered(call: Accept | Accepts | Decline) -> Iterable[str]:
    if isinstance(call, Accepts):
        return (offer_id for each in call.accepts for offer_id in each.offer_ids)
    return call.offer_ids


def _on_kill(state: CellState, framework: Framework, call: Kill, out: Outlet, now: Instant) -> None:
    for task_id in call.task_ids:
        task = state.tasks.get(task_id)
        if task is not None and task.framework_id == framework.ident:
            tasks.kill(state, task, out)
        elif call.answer_unknown:
            out.update(framework.ident, _unknown(state, framework, task_id, now))


def _on_reconcile(state: CellState, framework: Framework, call: Reconcile, out: Outlet, now: Instant) -> None:
    for task_id in call.task_ids or list(framework.tasks):
        task = state.tasks.get(task_id)
        if task is not None and task.framework_id == framework.ident:
            status = offers.current_status(state, task, now)
            out.update(framework.ident, status.model_copy(update={"reason": Reason.RECONCILIATION}))
        elif call.answer_unknown:
            out.update(framework.ident, _unknown(state, framework, task_id, now))


def _unknown(state: CellState, framework: Framework, task_id: str, now: Instant) -> TaskStatus:
    return tasks.made_status(
        state,
        task_id,
        TaskState.UNKNOWN,
        now,
        framework_id=framework.ident,
        reason=Reason.RECONCILIATION,
        message="this cell does not know the task",
    )


def mute(state: CellState, framework_id: str, out: Outlet) -> None:
    """End all offers of a framework whose queue has no consumer, and send no more until its next heartbeat."""
    framework = state.frameworks.get(framework_id)
    if framework is not None:
        framework.muted = True
        offers.end_all(state, list(framework.offers.values()), out, "no process of the framework reads offers")


def teardown(state: CellState, framework_id: str, out: Outlet, now: Instant) -> None:
    """Tear a framework down: its tasks are killed, its offers end, and its id is refused from then on."""
    framework = state.frameworks.get(framework_id)
    if framework is None:
        framework = state.add_framework(FrameworkInfo(framework_id=framework_id))
        framework.registered_at = now.wall
    elif framework.state is FrameworkStatus.TORN_DOWN:
        return
    for offer_id in list(framework.offers):
        state.end_offer(state.offers[offer_id])
    framework.state = FrameworkStatus.TORN_DOWN
    framework.torn_down_at, framework.since = now.wall, state.seconds
    out.touch(RecordKind.FRAMEWORKS, framework_id)
    for task in list(framework.tasks.values()):
        if task.state.terminal:
            state.forget_task(task)
            out.touch(RecordKind.TASKS, task.task_id)
        else:
            tasks.kill(state, task, out)
    framework.filters.clear()
    if state.is_home_of(framework_id):
        out.decision.delete_queues.append(framework_id)


def operator_teardown(state: CellState, framework_id: str, out: Outlet, now: Instant) -> None:
    """Tear a framework down as an operator has requested. Every cell that knows it notifies all others, of which some
    may have no owner now, or may not know it."""
    framework = state.frameworks.get(framework_id)
    if framework is None or framework.state is FrameworkStatus.TORN_DOWN:
        return
    teardown(state, framework_id, out, now)
    if state.cells > 1:
        reason = "an operator has torn it down"
        out.send(addresses.calls(None), Teardown(framework_id=framework_id, reason=reason))


def readmit(state: CellState, framework_id: str, out: Outlet, now: Instant) -> None:
    """Remove the tombstone of a framework. If tasks of it are still being killed, it becomes a disconnected framework,
    whose processes get the time to send a heartbeat."""
    framework = state.frameworks.get(framework_id)
    if framework is None or framework.state is not FrameworkStatus.TORN_DOWN:
        return
    out.touch(RecordKind.FRAMEWORKS, framework_id)
    if not framework.tasks:
        del state.frameworks[framework_id]
        return
    framework.state = FrameworkStatus.DISCONNECTED
    framework.disconnected_at, framework.torn_down_at, framework.since = now.wall, None, state.seconds
    framework.last_heartbeat_at = now.mono


def _on_absent(state: CellState, call: FrameworkAbsent, out: Outlet, now: Instant) -> None:
    """Handle the report of another cell that a framework is absent. The home cell tears the framework down once its
    processes had the time to send a heartbeat, or reports the teardown again."""
    framework = state.frameworks.get(call.framework_id)
    if not state.is_home_of(call.framework_id):
        return
    if framework is None:
        framework = state.add_framework(call.framework)
        framework.registered_at = framework.disconnected_at = now.wall
        framework.state = FrameworkStatus.DISCONNECTED
        # The other cell's duration is a number in a message: this cell first waits for a heartbeat itself.
        framework.since = state.seconds - min(call.seconds, call.framework.failover_timeout or 0.0)
        framework.last_heartbeat_at = now.mono
        out.touch(RecordKind.FRAMEWORKS, framework.ident)
    elif framework.state is FrameworkStatus.TORN_DOWN:
        out.send(addresses.calls(None), Teardown(framework_id=call.framework_id, reason="it has ended"))
