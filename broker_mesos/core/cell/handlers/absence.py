"""Absence: frameworks whose processes are silent, and agents that do not come back.

How long somebody is absent is measured in cell time (``CellState.seconds``), so that an absence outlasts its
owner and no step of a calendar counts as time."""

from __future__ import annotations

from broker_mesos.core.cell.handlers import frameworks, offers, tasks
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.framework_messages import FrameworkAbsent, Teardown
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus, RecordKind

CHECKPOINT_SECONDS = 10.0
"""Seconds between two writes of the cell time while anybody is absent: what a change of owners may lose."""


def check(state: CellState, out: Outlet, now: Instant) -> None:
    """Once a batch interval: disconnect silent frameworks, end and forget what is absent for too long, and
    store the cell time while anything is."""
    absent: tuple[RecordKind, str] | None = None
    for framework in list(state.frameworks.values()):
        if framework.state is FrameworkStatus.SUBSCRIBED:
            _check_silence(state, framework, out, now)
        if framework.state is FrameworkStatus.DISCONNECTED:
            _check_failover(state, framework, out, now)
        forgotten = framework.state is FrameworkStatus.TORN_DOWN and not framework.tasks
        if forgotten and state.seconds - framework.since >= state.limits.tombstone:
            del state.frameworks[framework.ident]
            out.touch(RecordKind.FRAMEWORKS, framework.ident)
            continue
        if framework.state is not FrameworkStatus.SUBSCRIBED:
            absent = RecordKind.FRAMEWORKS, framework.ident
        # To one that does not listen it would only pile up in its queue; it receives all of it when it is back.
        elif framework.unacknowledged:
            tasks.resend(state, framework, out, now, everything=False)
    for agent in list(state.agents.values()):
        if agent.state is AgentStatus.REGISTERED:
            continue
        if _is_forgotten(state, agent):
            state.remove_agent(agent)
            out.touch(RecordKind.AGENTS, agent.ident)
        else:
            absent = RecordKind.AGENTS, agent.ident
    _checkpoint(state, absent, out)


def _checkpoint(state: CellState, absent: tuple[RecordKind, str] | None, out: Outlet) -> None:
    """Any record carries the cell time; one of those that make it matter is written, and if that one is
    deleted, another one at once."""
    before = state.time_carrier
    if absent is None:
        return
    stands = before is not None and before[1] in (state.agents if before[0] is RecordKind.AGENTS else state.frameworks)
    if not stands or state.seconds - state.time_stored >= CHECKPOINT_SECONDS:
        state.time_carrier, state.time_stored = absent, state.seconds
        out.touch(*absent)


def _check_silence(state: CellState, framework: Framework, out: Outlet, now: Instant) -> None:
    if now.mono - _could_be_heard_since(state, framework) > _patience(state):
        offers.end_all(state, list(framework.offers.values()), out)
        framework.state = FrameworkStatus.DISCONNECTED
        framework.disconnected_at, framework.since = now.wall, state.seconds
        out.touch(RecordKind.FRAMEWORKS, framework.ident)


def _check_failover(state: CellState, framework: Framework, out: Outlet, now: Instant) -> None:
    """The home cell alone tears a framework down, and tells the others, which remind it if it does not."""
    timeout = framework.info.failover_timeout
    if timeout is None:
        return
    absent = state.seconds - framework.since
    if not state.is_home_of(framework.ident):
        overdue = absent - timeout >= state.limits.home_overdue
        if overdue and now.mono - framework.consumers_checked_at >= state.limits.home_overdue:
            framework.consumers_checked_at = now.mono
            call = FrameworkAbsent(framework_id=framework.ident, framework=framework.info, seconds=absent)
            out.hint(addresses.calls(cell_of(framework.ident, state.cells)), call)
        return
    # Nobody could be heard while there was no owner: its processes get the time to send a heartbeat.
    could_beat = now.mono - _could_be_heard_since(state, framework) > _patience(state)
    if could_beat and absent >= timeout:
        reason = f"no process of it was heard of for {timeout:g} s"
        frameworks.teardown(state, framework.ident, out, now)
        out.send(addresses.calls(None), Teardown(framework_id=framework.ident, reason=reason))


def _could_be_heard_since(state: CellState, framework: Framework) -> float:
    last = framework.last_heartbeat_at
    return state.blind_until if last is None else max(last, state.blind_until)


def _patience(state: CellState) -> float:
    return state.limits.framework_beat * state.limits.framework_missed


def _is_forgotten(state: CellState, agent: Agent) -> bool:
    """Agents that were marked as gone leave the books when nothing of them can come back any more; others
    when they have no tasks, and no operator has planned anything for them, for longer than anybody waits."""
    absent = state.seconds - agent.since
    if agent.state is AgentStatus.GONE:
        return absent >= state.limits.tombstone
    return absent >= state.limits.forget_agent and not agent.tasks and not agent.maintenance.closed
