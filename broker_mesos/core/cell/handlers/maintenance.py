"""Maintenance: agents that are drained, deactivated or have a planned absence.

Nothing here depends on the moment of a request: the requested state is in the agent's record, and every batch moves
the agent towards it. Therefore a new owner continues where the earlier one was, and the tasks of an agent that was
absent when it was drained are killed when it returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from broker_mesos.core.api.maintenance import (
    ActivateAgents,
    AgentMaintenance,
    AgentsRequest,
    CancelMaintenance,
    DeactivateAgents,
    DrainAgents,
    MaintenanceView,
    ScheduleMaintenance,
)
from broker_mesos.core.cell.handlers import agents, offers, tasks
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.task import Resend
from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.maintenance import DrainState, Maintenance
from broker_mesos.core.model.offer import InverseOffer
from broker_mesos.core.model.task_states import Reason
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import InverseOffers
from broker_mesos.core.protocol.framework_messages import AnswerInverseOffers
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import FrameworkStatus, RecordKind

MAX_INVERSE_OFFERS = 500
"""The largest number of inverse offers in one message."""

# -- requests of operators --------------------------------------------------------------------------------


def on_request(state: CellState, request: AgentsRequest, out: Outlet, now: Instant) -> None:
    """Apply an operator's request to those of the agents that this cell has; the others are ignored. Idempotent."""
    for ident in dict.fromkeys(request.agent_ids):
        agent = state.agents.get(ident)
        if agent is None:
            continue
        match request:
            case DrainAgents(grace=grace, gone=gone):
                drain(state, agent, out, grace=grace, gone=gone)
            case ActivateAgents():
                _activate(state, agent, out, now)
            case DeactivateAgents():
                _set(state, agent, out, deactivated=True)
                offers.end_all(state, list(agent.offers.values()), out, "its agent is deactivated")
            case ScheduleMaintenance():
                _schedule(state, agent, request.window, out)
            case CancelMaintenance():
                _cancel(state, agent, out)


def drain(
    state: CellState,
    agent: Agent,
    out: Outlet,
    *,
    grace: float | None = None,
    gone: bool = False,
    scheduled: bool = False,
) -> None:
    """Offer nothing of an agent any more, and kill its tasks, each with its own ``kill_grace`` but at most ``grace``
    seconds. ``tick`` continues the drain."""
    before = agent.maintenance
    _set(
        state,
        agent,
        out,
        drain=before.drain or DrainState.DRAINING,
        grace=grace,
        gone=gone,
        scheduled=scheduled,
    )
    offers.end_all(state, list(agent.offers.values()), out, "its agent is drained")
    # A repeat changes nothing; a shorter time applies to tasks that are already being killed, too.
    if before.drain is None or before.grace != grace:
        for task in list(agent.tasks.values()):
            tasks.kill(state, task, out, Reason.AGENT_DRAINING)
    state.changed[agent.ident] = None


def _activate(state: CellState, agent: Agent, out: Outlet, now: Instant) -> None:
    """Offer the free resources of an agent again. During a planned absence the operator's request takes precedence
    and ends the absence."""
    window = agent.maintenance.unavailability
    begun = window is not None and window.start <= now.wall
    _set(
        state,
        agent,
        out,
        drain=None,
        grace=None,
        gone=False,
        scheduled=False,
        deactivated=False,
        unavailability=None if begun else window,
        answers={} if begun else agent.maintenance.answers,
    )
    state.changed[agent.ident] = None


def _schedule(state: CellState, agent: Agent, window: Unavailability, out: Outlet) -> None:
    if agent.maintenance.unavailability == window:
        return
    _reopen(state, agent, out, unavailability=window, answers={})
    # The offers that are open now do not contain the absence.
    offers.end_all(state, list(agent.offers.values()), out, "an absence of its agent was planned")


def _cancel(state: CellState, agent: Agent, out: Outlet) -> None:
    if agent.maintenance.unavailability is not None:
        _reopen(state, agent, out, unavailability=None, answers={})


def _reopen(state: CellState, agent: Agent, out: Outlet, **changes: Any) -> None:
    """Change the planned absence. A drain that the earlier plan started is undone, one by an operator is not."""
    if agent.maintenance.scheduled:
        changes.update(drain=None, grace=None, gone=False, scheduled=False)
        state.changed[agent.ident] = None
    agent.inverse_offers_sent.clear()
    _set(state, agent, out, **changes)


def _set(state: CellState, agent: Agent, out: Outlet, **changes: Any) -> None:
    after = agent.maintenance.model_copy(update=changes)
    if after != agent.maintenance:
        agent.maintenance = after
        out.touch(RecordKind.AGENTS, agent.ident)
    watch(state, agent)


def watch(state: CellState, agent: Agent) -> None:
    """Add an agent to those that ``tick`` handles, or remove it, as its maintenance requires."""
    if agent.maintenance.drain is not None or agent.maintenance.unavailability is not None:
        state.maintained[agent.ident] = None
    else:
        state.maintained.pop(agent.ident, None)


# -- progress with time and with the ends of tasks --------------------------------------------------------


def tick(state: CellState, out: Outlet, now: Instant, *, everything: bool) -> None:
    """Move agents towards the planned state: all agents under maintenance (``everything``), or those that have
    changed."""
    due: dict[str, list[InverseOffer]] = {}
    for ident in list(state.maintained):
        agent = state.agents.get(ident)
        if agent is None:
            del state.maintained[ident]
        elif everything or ident in state.changed:
            _follow_schedule(state, agent, out, now, due)
            if agent.maintenance.drain is not None:
                _drain_on(state, agent, out, now)
    for framework_id, wanted in due.items():
        for at in range(0, len(wanted), MAX_INVERSE_OFFERS):
            message = InverseOffers(cell=state.cell, inverse_offers=tuple(wanted[at : at + MAX_INVERSE_OFFERS]))
            out.hint(addresses.events(framework_id), message)


def _follow_schedule(
    state: CellState, agent: Agent, out: Outlet, now: Instant, due: dict[str, list[InverseOffer]]
) -> None:
    plan = agent.maintenance
    window = plan.unavailability
    if window is None:
        return
    if window.duration is not None and now.wall >= window.start + window.duration:
        _cancel(state, agent, out)
    elif now.wall >= window.start:
        if plan.drain is None:
            drain(state, agent, out, scheduled=True)
    else:
        for offer in _due_inverse_offers(state, agent, window, now):
            due.setdefault(offer.framework_id, []).append(offer)


def _drain_on(state: CellState, agent: Agent, out: Outlet, now: Instant) -> None:
    living = [task for task in agent.tasks.values() if not task.state.terminal]
    for task in living:
        if not task.kill_requested:  # the cell learned of it after the drain had started
            tasks.kill(state, task, out, Reason.AGENT_DRAINING)
    if not agent.listed and not living:
        return  # in a recovery, the tasks on the agent are not known yet
    _set(state, agent, out, drain=DrainState.DRAINING if living else DrainState.DRAINED)
    if not living and agent.maintenance.gone:
        # Only once: if the agent returns in spite of that, it stays drained until an operator activates it.
        _set(state, agent, out, gone=False)
        agents.gone(state, agent.ident, out, now)


# -- inverse offers ---------------------------------------------------------------------------------------


def _due_inverse_offers(state: CellState, agent: Agent, window: Unavailability, now: Instant) -> Iterator[InverseOffer]:
    """The inverse offers for an agent that are due, one for each framework with tasks on it. They are repeated with
    growing intervals until the framework answers."""
    for framework_id in {task.framework_id for task in agent.tasks.values() if not task.state.terminal}:
        framework = state.frameworks.get(framework_id)
        if framework is None or framework.state is not FrameworkStatus.SUBSCRIBED:
            continue
        mark = agent.inverse_offers_sent.get(framework_id)
        if framework_id in agent.maintenance.answers or (mark is not None and mark.at > now.mono):
            continue
        limits = state.limits
        delay = limits.resend_first if mark is None else min(2 * mark.delay, limits.resend_at_most)
        agent.inverse_offers_sent[framework_id] = Resend(now.mono + delay, delay)
        yield InverseOffer(agent_id=agent.ident, framework_id=framework_id, unavailability=window)


def on_answer(state: CellState, framework: Framework, call: AnswerInverseOffers, out: Outlet) -> None:
    """Record a framework's answer to inverse offers, which is shown to operators."""
    for ident in call.agent_ids:
        agent = state.agents.get(ident)
        if agent is not None and agent.maintenance.unavailability is not None:
            answers = {**agent.maintenance.answers, framework.ident: call.accept}
            _set(state, agent, out, answers=answers)


# -- the current state ------------------------------------------------------------------------------------


def view(state: CellState, request: AgentsRequest) -> MaintenanceView:
    """The maintenance of the named agents, or of all agents under maintenance if none are named."""
    named = dict.fromkeys(request.agent_ids)
    if named:
        chosen = [agent for ident in named if (agent := state.agents.get(ident)) is not None]
    else:
        chosen = [agent for agent in state.agents.values() if agent.maintenance != Maintenance()]
    return MaintenanceView(agents=tuple(_seen(state, agent) for agent in chosen))


def _seen(state: CellState, agent: Agent) -> AgentMaintenance:
    plan = agent.maintenance
    living = [task for task in agent.tasks.values() if not task.state.terminal]
    silent = {task.framework_id for task in living} - plan.answers.keys()
    return AgentMaintenance(
        agent_id=agent.ident,
        cell=state.cell,
        hostname=agent.info.hostname,
        state=agent.state,
        maintenance=plan.status,
        scheduled=plan.scheduled,
        tasks=len(living),
        unavailability=plan.unavailability,
        accepted=tuple(sorted(ident for ident, accepts in plan.answers.items() if accepts)),
        declined=tuple(sorted(ident for ident, accepts in plan.answers.items() if not accepts)),
        unanswered=tuple(sorted(silent)) if plan.unavailability is not None else (),
    )
