"""Absence: frameworks whose processes send no heartbeats, and agents that do not return.

The duration of an absence is measured in cell time (``CellState.seconds``), so that it is counted across changes of
owners, and no step of a clock counts as time."""

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
"""Interval between two writes of the cell time while an agent or framework is absent, in seconds. A change of owners
may lose this much of it."""


def check(state: CellState, out: Outlet, now: Instant) -> None:
    """Once per batch interval: disconnect silent frameworks, tear down and remove what has been absent for too long,
    and store the cell time while anything is absent."""
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
        # Updates to a disconnected framework would only fill its queue; it receives all of them when it returns.
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
    """Store the cell time, which every record contains, by writing one record of an absent agent or framework. If
    that record was deleted, another one is written at once."""
    before = state.time_carrier
    if absent is None:
        return
    stands = before is not None and before[1] in (state.agents if before[0] is RecordKind.AGENTS else state.frameworks)
    if not stands or state.seconds - state.time_stored >= CHECKPOINT_SECONDS:
        state.time_carrier, state.time_stored = absent, state.seconds
        out.touch(*absent)


def _check_silence(state: CellState, framework: Framework, out: Outlet, now: Instant) -> None:
    if now.mono - _silent_since(state, framework) > _heartbeat_timeout(state):
        offers.end_all(state, list(framework.offers.values()), out, "no process of the framework is connected")
        framework.state = FrameworkStatus.DISCONNECTED
        framework.disconnected_at, framework.since = now.wall, state.seconds
        out.touch(RecordKind.FRAMEWORKS, framework.ident)


def _check_failover(state: CellState, framework: Framework, out: Outlet, now: Instant) -> None:
    """Tear down a framework whose failover timeout has passed. Only the home cell does so, and notifies the other
    cells; if it does not, the others report the framework to it."""
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
    # No message could be received while there was no owner: the processes get the time to send a heartbeat.
    could_beat = now.mono - _silent_since(state, framework) > _heartbeat_timeout(state)
    if could_beat and absent >= timeout:
        reason = f"no process of it has sent a heartbeat for {timeout:g} s"
        frameworks.teardown(state, framework.ident, out, now)
        out.send(addresses.calls(None), Teardown(framework_id=framework.ident, reason=reason))


def _silent_since(state: CellState, framework: Framework) -> float:
    last = framework.last_heartbeat_at
    return state.blind_until if last is None else max(last, state.blind_until)


def _heartbeat_timeout(state: CellState) -> float:
    return state.limits.framework_beat * state.limits.framework_missed


def _is_forgotten(state: CellState, agent: Agent) -> bool:
    """Whether an absent agent is removed. An agent that was marked as gone is removed when none of its tasks can
    return any more; another one after ``Limits.forget_agent``, if it has no tasks and is not drained or
    deactivated."""
    absent = state.seconds - agent.since
    if agent.state is AgentStatus.GONE:
        return absent >= state.limits.tombstone
    return absent >= state.limits.forget_agent and not agent.tasks and not agent.maintenance.closed
