"""Maintenance: agents that are drained, deactivated or planned to be away.

Nothing here relies on the moment of a request: what an operator wants is in the agent's record, and every
batch brings the agent nearer to it. So a new owner goes on where the earlier one was, and an agent that was
away when it was drained loses its tasks when it is back.
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
"""Inverse offers in one message."""

# -- what operators say -----------------------------------------------------------------------------------


def on_request(state: CellState, request: AgentsRequest, out: Outlet, now: Instant) -> None:
    """Do with the agents of this cell what an operator wants. Idempotent; agents that it does not have are
    passed over."""
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
                offers.end_all(state, list(agent.offers.values()), out)
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
    """Offer nothing of an agent any more, and kill its tasks, each with its own grace but at most
    ``grace``. What happens next is ``tick``'s."""
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
    offers.end_all(state, list(agent.offers.values()), out)
    # A repeat changes nothing; a shorter time holds for what is being killed already, too.
    if before.drain is None or before.grace != grace:
        for task in list(agent.tasks.values()):
            tasks.kill(state, task, out, Reason.AGENT_DRAINING)
    state.changed[agent.ident] = None


def _activate(state: CellState, agent: Agent, out: Outlet, now: Instant) -> None:
    """Offer what is free again. During a planned absence it is the operator's word that counts: the absence
    is over."""
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
    # What is offered now says nothing of the absence yet.
    offers.end_all(state, list(agent.offers.values()), out)


def _cancel(state: CellState, agent: Agent, out: Outlet) -> None:
    if agent.maintenance.unavailability is not None:
        _reopen(state, agent, out, unavailability=None, answers={})


def _reopen(state: CellState, agent: Agent, out: Outlet, **changes: Any) -> None:
    """Change the plan; what the earlier one did to the agent is undone, what an operator did is not."""
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
    """Have ``tick`` look at the agents that need it."""
    if agent.maintenance.drain is not None or agent.maintenance.unavailability is not None:
        state.maintained[agent.ident] = None
    else:
        state.maintained.pop(agent.ident, None)


# -- what time and the ends of tasks bring ----------------------------------------------------------------


def tick(state: CellState, out: Outlet, now: Instant, *, everything: bool) -> None:
    """Bring agents nearer to what was planned for them; all of them, or those that changed."""
    asks: dict[str, list[InverseOffer]] = {}
    for ident in list(state.maintained):
        agent = state.agents.get(ident)
        if agent is None:
            del state.maintained[ident]
        elif everything or ident in state.changed:
            _keep_to_plan(state, agent, out, now, asks)
            if agent.maintenance.drain is not None:
                _drain_on(state, agent, out, now)
    for framework_id, wanted in asks.items():
        for at in range(0, len(wanted), MAX_INVERSE_OFFERS):
            message = InverseOffers(cell=state.cell, inverse_offers=tuple(wanted[at : at + MAX_INVERSE_OFFERS]))
            out.hint(addresses.events(framework_id), message)


def _keep_to_plan(
    state: CellState, agent: Agent, out: Outlet, now: Instant, asks: dict[str, list[InverseOffer]]
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
        for offer in _asked_back(state, agent, window, now):
            asks.setdefault(offer.framework_id, []).append(offer)


def _drain_on(state: CellState, agent: Agent, out: Outlet, now: Instant) -> None:
    living = [task for task in agent.tasks.values() if not task.state.terminal]
    for task in living:
        if not task.kill_requested:  # it came to light after the drain had begun
            tasks.kill(state, task, out, Reason.AGENT_DRAINING)
    if not agent.listed and not living:
        return  # in a recovery: what runs there is not known yet
    _set(state, agent, out, drain=DrainState.DRAINING if living else DrainState.DRAINED)
    if not living and agent.maintenance.gone:
        # Once: should it come back all the same, it stays drained until an operator says otherwise.
        _set(state, agent, out, gone=False)
        agents.gone(state, agent.ident, out, now)


# -- inverse offers ---------------------------------------------------------------------------------------


def _asked_back(state: CellState, agent: Agent, window: Unavailability, now: Instant) -> Iterator[InverseOffer]:
    """Frameworks with tasks on an agent are told that it is wanted back; again, ever more rarely, until they
    answer."""
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
    """Remember what a framework says, for operators to see."""
    for ident in call.agent_ids:
        agent = state.agents.get(ident)
        if agent is not None and agent.maintenance.unavailability is not None:
            answers = {**agent.maintenance.answers, framework.ident: call.accept}
            _set(state, agent, out, answers=answers)


# -- how it stands ----------------------------------------------------------------------------------------


def view(state: CellState, request: AgentsRequest) -> MaintenanceView:
    """The agents that are named; where none are, all for which something is planned."""
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
        maintenance=plan.word,
        scheduled=plan.scheduled,
        tasks=len(living),
        unavailability=plan.unavailability,
        accepted=tuple(sorted(ident for ident, accepts in plan.answers.items() if accepts)),
        declined=tuple(sorted(ident for ident, accepts in plan.answers.items() if not accepts)),
        unanswered=tuple(sorted(silent)) if plan.unavailability is not None else (),
    )
