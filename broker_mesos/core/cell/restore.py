"""A cell as the store holds it, for its new owner: read while nobody decides for the cell."""

from __future__ import annotations

from broker_mesos.core.cell.state import Agent, CellState, Resend, Task
from broker_mesos.core.limits import Limits
from broker_mesos.core.records import AgentRecord, FrameworkRecord, Snapshot, TaskFacts
from broker_mesos.core.resources import Resources


def restore(snapshot: Snapshot, cells: int, limits: Limits, now: float) -> CellState:
    """A cell as the store holds it, for its new owner at monotonic time ``now``."""
    state = CellState(snapshot.lease.cell, cells, snapshot.lease.term, limits)
    state.judge_since = now
    for body in snapshot.agents.values():
        stored = AgentRecord.model_validate_json(body)
        agent = Agent(stored.info)
        agent.state = stored.state
        agent.session = stored.session
        agent.number = agent.applied = stored.number
        agent.attempt = stored.attempt
        agent.boot_id = stored.boot_id
        agent.beat = stored.beat
        agent.registered_at = stored.registered_at
        agent.unreachable_at = stored.unreachable_at
        agent.listed = stored.listed and not snapshot.recovering
        agent.keep(stored.holdings)
        agent.maintenance = stored.maintenance
        if agent.maintenance.drain is not None or agent.maintenance.unavailability is not None:
            state.maintained[agent.ident] = None
        state.unlisted = state.unlisted or not agent.listed
        state.add_agent(agent)
    # Agents that the store has forgotten are heard of within this time; an owner who follows in it waits
    # for the rest of it.
    patience = limits.silence(max((agent.beat for agent in state.agents.values()), default=0.0))
    since = 0.0 if snapshot.recovering else snapshot.recovery_age
    state.unsure_until = now + max(0.0, patience - since)
    known = [FrameworkRecord.model_validate_json(body) for body in snapshot.frameworks.values()]
    # A hash has no order; ties in the fair share go by age, under every owner.
    for record in sorted(known, key=lambda each: (each.registered_at, each.info.framework_id)):
        framework = state.add_framework(record.info)
        framework.state = record.state
        framework.registered_at = record.registered_at
        framework.disconnected_at = record.disconnected_at
        framework.torn_down_at = record.torn_down_at
    _add_tasks(state, snapshot, now)
    return state


def _add_tasks(state: CellState, snapshot: Snapshot, now: float) -> None:
    """As ``CellState.add_task`` does for one after the other, with each sum made once."""
    names: dict[str, str] = {}
    """One text for all tasks that say the same."""
    used: dict[str, list[Resources]] = {}
    held: dict[str, dict[str, list[Resources]]] = {}
    for body in snapshot.tasks.values():
        task = Task(TaskFacts.model_validate_json(body), body)
        task.framework_id = names.setdefault(task.framework_id, task.framework_id)
        task.agent_id = names.setdefault(task.agent_id, task.agent_id)
        task.role = names.setdefault(task.role, task.role)
        state.tasks[task.task_id] = task
        agent, owner = state.agents.get(task.agent_id), state.frameworks.get(task.framework_id)
        if agent is not None:
            agent.tasks[task.task_id] = task
        if owner is not None:
            owner.tasks[task.task_id] = task
        if task.state.terminal:
            if owner is not None:
                # The previous owner may have ended before it told the framework.
                owner.unacknowledged[task.task_id] = Resend(now, state.limits.resend_first)
            continue
        key = task.line_key
        if agent is not None and key is not None:
            agent.lines.enter(key, task.task_id, waits=task.waits)
        if task.waits or owner is None:
            continue
        counted = task.resources.counted()
        used.setdefault(owner.ident, []).append(counted)
        if not task.revocable:
            held.setdefault(owner.ident, {}).setdefault(task.role, []).append(counted)
    for agent in state.agents.values():
        if agent.tasks:
            agent.use_all()
    for ident, amounts in used.items():
        state.frameworks[ident].used = Resources.sum(amounts)
    for ident, roles in held.items():
        for role, amounts in roles.items():
            state.hold(state.frameworks[ident], role, Resources.sum(amounts))
