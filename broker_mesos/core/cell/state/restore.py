"""Restores the state of a cell from the store for its new owner, while no owner decides for the cell."""

from __future__ import annotations

from collections import Counter

from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.task import Resend, Task
from broker_mesos.core.model.multiples import times
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import AgentRecord, FrameworkRecord, Snapshot


def restore(snapshot: Snapshot, cells: int, limits: Limits, now: float) -> CellState:
    """The state of a cell from its snapshot in the store, for its new owner at monotonic time ``now``."""
    state = CellState(snapshot.lease.cell, cells, snapshot.lease.term, limits)
    state.blind_until = state.ticked_at = now
    agents = [AgentRecord.model_validate_json(body) for body in snapshot.agents.values()]
    known = [FrameworkRecord.model_validate_json(body) for body in snapshot.frameworks.values()]
    records: list[AgentRecord | FrameworkRecord] = [*agents, *known]
    state.seconds = max((max(each.cell_seconds, each.since or 0.0) for each in records), default=0.0)
    for stored in agents:
        agent = Agent(stored.info, stored.reserved_resources)
        agent.state = stored.state
        agent.session = stored.session
        agent.number = agent.applied = stored.number
        agent.attempt = stored.attempt
        agent.boot_id = stored.boot_id
        agent.beat = stored.beat
        agent.registered_at = stored.registered_at
        agent.unreachable_at = stored.unreachable_at
        agent.since = state.seconds if stored.since is None else stored.since
        agent.listed = stored.listed and not snapshot.recovering
        agent.maintenance = stored.maintenance
        if agent.maintenance.drain is not None or agent.maintenance.unavailability is not None:
            state.maintained[agent.ident] = None
        state.unlisted = state.unlisted or not agent.listed
        state.add_agent(agent)
    # Agents that the store has lost send a message within this time. An owner that follows within it waits for all of
    # it: the time since then is not known, since the clock of the store may have been set.
    silence = limits.silence(max((agent.beat for agent in state.agents.values()), default=0.0))
    state.recovery_term = snapshot.lease.term if snapshot.recovering else snapshot.recovery_term
    state.unsure_until = now if snapshot.recovered and not snapshot.recovering else now + silence
    # A hash has no order; equal shares are ordered by age, under every owner.
    for record in sorted(known, key=lambda each: (each.registered_at, each.info.framework_id)):
        framework = state.add_framework(record.info)
        framework.state = record.state
        framework.registered_at = record.registered_at
        framework.disconnected_at = record.disconnected_at
        framework.torn_down_at = record.torn_down_at
        framework.since = state.seconds if record.since is None else record.since
    _add_tasks(state, snapshot, now)
    return state


def _add_tasks(state: CellState, snapshot: Snapshot, now: float) -> None:
    """Add all tasks with the same result as ``CellState.add_task`` for each of them, but compute each sum only
    once."""
    names: dict[str, str] = {}
    """Texts by themselves, so that all tasks with equal ids and roles share one text."""
    held: Counter[tuple[str, str, bool, Resources]] = Counter()
    """Number of tasks by framework, role, whether they are revocable, and resources."""
    for body in snapshot.tasks.values():
        task = Task.decode(body, names)
        state.tasks[task.task_id] = task
        agent, owner = state.agents.get(task.agent_id), state.frameworks.get(task.framework_id)
        if agent is not None:
            agent.tasks[task.task_id] = task
        if owner is not None:
            owner.tasks[task.task_id] = task
        if task.state.terminal:
            if owner is not None:
                # The previous owner may have ended before it sent the update to the framework.
                owner.unacknowledged[task.task_id] = Resend(now, state.limits.resend_first)
            continue
        if task.shape and owner is not None:
            owner.place(task)
        key = task.queue_key
        if agent is not None and key is not None:
            agent.queues.enter(key, task.task_id, waits=task.waits)
        if not task.waits and owner is not None:
            held[task.framework_id, task.role, task.revocable, task.resources] += 1
    for agent in state.agents.values():
        if agent.tasks:
            agent.use_all()
    for (ident, role, revocable, resources), count in held.items():
        framework, amount = state.frameworks[ident], times(resources.counted(), count)
        framework.used += amount
        if not revocable:
            state.charge_amount(framework, role, amount)
