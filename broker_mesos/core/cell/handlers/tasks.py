"""Tasks: applying statuses, adopting, killing, acknowledging and removing tasks."""

from __future__ import annotations

from broker_mesos.core.cell.outlet import Outlet, in_messages
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.reserved_portions import EMPTY
from broker_mesos.core.cell.state.task import Resend, Task
from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_history import history_before
from broker_mesos.core.model.task_queues import queue_key_of
from broker_mesos.core.model.task_states import Reason, Source, TaskState, may_move
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import Update
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import FrameworkStatus, RecordKind
from broker_mesos.core.protocol.task_record import TaskDetails

REASON_TEXTS = {
    Reason.AGENT_DRAINING: "its agent is drained",
    Reason.CONTAINER_PREEMPTED: "it was preempted by a role that has precedence, or is short of its guarantee",
}
"""Messages in the statuses of tasks that the cell itself has killed, by reason."""


def made_status(
    state: CellState,
    task_id: str,
    to: TaskState,
    now: Instant,
    *,
    agent_id: str = "",
    framework_id: str = "",
    reason: Reason | None = None,
    message: str = "",
) -> TaskStatus:
    """A new status whose source is the master."""
    return TaskStatus(
        task_id=task_id,
        state=to,
        uuid=state.mint("s"),
        agent_id=agent_id,
        framework_id=framework_id,
        source=Source.MASTER,
        reason=reason,
        message=message,
        timestamp=now.wall,
    )


def on_status(state: CellState, agent_id: str, status: TaskStatus, out: Outlet, now: Instant) -> None:
    """Apply a status from an agent. It applies only to a known task and only forward; a repeat is acknowledged
    again."""
    task = state.tasks.get(status.task_id)
    if task is None:
        _on_unknown(state, agent_id, status, out, now)
        return
    if status.state.terminal:
        out.acknowledge(agent_id, status.uuid)
        if status.offer_id not in ("", task.details.offer_id) and _has_completed(state, status):
            return  # a repeat, of an earlier task that had this id
    if task.agent_id == agent_id and may_move(task.state, status.state):
        apply(state, task, status, out, now)


def _has_completed(state: CellState, status: TaskStatus) -> bool:
    """Whether the task that was launched on the offer of this status has ended and its framework has acknowledged
    that."""
    framework = state.frameworks.get(status.framework_id)
    completed = () if framework is None else framework.completed
    return any(done.task_id == status.task_id and done.details.offer_id == status.offer_id for done in completed)


def _on_unknown(state: CellState, agent_id: str, status: TaskStatus, out: Outlet, now: Instant) -> None:
    if not status.state.terminal:
        return  # a running task that the cell does not know is adopted from the agent's list, not from a status
    out.acknowledge(agent_id, status.uuid)
    framework = state.frameworks.get(status.framework_id)
    if framework is None or framework.state is FrameworkStatus.TORN_DOWN:
        return
    if any(done.task_id == status.task_id for done in framework.completed):
        return
    # The store may have lost the task; its framework must receive its terminal update in spite of that (I3).
    task = Task(
        status.task_id,
        status.framework_id,
        agent_id,
        EMPTY,
        state=status.state,
        details=TaskDetails(status=status, created_at=now.wall),
    )
    state.add_task(task)
    _report(state, task, status, out, now)


def apply(state: CellState, task: Task, status: TaskStatus, out: Outlet, now: Instant) -> None:
    """Move a task to the state of a status, and send the status to its framework. The caller has checked the table of
    transitions."""
    if task.kill_reason is not None and status.state in (TaskState.KILLING, TaskState.KILLED):
        why = {"reason": task.kill_reason, "message": REASON_TEXTS.get(task.kill_reason, status.message)}
        status = status.model_copy(update=why)
    elif task.kill_requested and status.reason is Reason.CONTAINER_PREEMPTED:
        # Its framework or an operator killed it; that the agent evicted it as well is not its reason.
        status = status.model_copy(update={"reason": None})
    if status.state.terminal:
        successor = state.end_task(task, status.state)
        if successor is not None:
            out.touch(RecordKind.TASKS, successor.task_id)
    else:
        task.state = status.state
    details = task.details
    details.history = history_before(details.history, details.status, status)
    details.status = status
    if status.state.terminal or (status.source is Source.AGENT and status.state is not TaskState.UNREACHABLE):
        details.launch = None  # the agent has it, or never needs it
    _report(state, task, status, out, now)


def _report(state: CellState, task: Task, status: TaskStatus, out: Outlet, now: Instant) -> None:
    out.touch(RecordKind.TASKS, task.task_id)
    out.decision.statuses.append(status)
    framework = state.frameworks.get(task.framework_id)
    if framework is not None and framework.state is FrameworkStatus.TORN_DOWN:
        if task.state.terminal:
            state.forget_task(task)
        return
    out.update(task.framework_id, status)
    if task.state.terminal and framework is not None:
        delay = state.limits.resend_first
        framework.unacknowledged[task.task_id] = Resend(now.mono + delay, delay)


def end(state: CellState, task: Task, to: TaskState, reason: Reason, message: str, out: Outlet, now: Instant) -> None:
    """Move a task to a state that the master itself decides (such as lost, dropped or unreachable), if the transition
    is allowed."""
    status = made_status(
        state,
        task.task_id,
        to,
        now,
        agent_id=task.agent_id,
        framework_id=task.framework_id,
        reason=reason,
        message=message,
    )
    if may_move(task.state, to):
        apply(state, task, status, out, now)


def adopt(state: CellState, agent: Agent, listed: AgentTask, out: Outlet, now: Instant) -> None:
    """Add a task that runs on an agent but is not known to the cell, since the store lost it. The tasks of a task queue
    that occupy resources come first in the list: if there are none, a waiting task is charged as if it did."""
    volumes, revocable = listed.volumes, listed.revocable
    key = queue_key_of(listed.framework_id, listed.role, listed.line, listed.resources, volumes, revocable)
    waits = listed.waits and key is not None and agent.queues.held(key) > 0
    status = TaskStatus(
        task_id=listed.task_id,
        state=listed.state,
        uuid=state.mint("s"),
        agent_id=agent.ident,
        framework_id=listed.framework_id,
        source=Source.MASTER,
        reason=Reason.AGENT_REREGISTERED,
        timestamp=now.wall,
        started_at=listed.started_at,
    )
    task = Task(
        listed.task_id,
        listed.framework_id,
        agent.ident,
        listed.resources,
        role=listed.role,
        state=listed.state,
        revocable=listed.revocable,
        queue="" if key is None else key.name,
        waits=waits,
        shape=listed.shape,
        details=TaskDetails(
            name=listed.name,
            offer_id=listed.offer_id,
            status=status,
            created_at=listed.started_at or now.wall,
            labels=listed.labels,
            volumes=listed.volumes,
        ),
    )
    state.add_task(task)
    _report(state, task, status, out, now)


def kill(state: CellState, task: Task, out: Outlet, reason: Reason | None = None) -> None:
    """Have the agent end a task. The kill is stored, so that an absent agent receives it when it returns.

    ``reason`` is set if the cell itself kills the task; its terminal status then has this reason. A kill by the
    framework or an operator replaces that reason, independent of the order of the two.
    """
    if task.state.terminal:
        return
    before = task.kill_requested, task.kill_reason
    if reason is None or not task.kill_requested:
        task.kill_requested, task.kill_reason = True, reason
    if before != (task.kill_requested, task.kill_reason):
        out.touch(RecordKind.TASKS, task.task_id)
    send_kill(state, task, out)


def send_kill(state: CellState, task: Task, out: Outlet) -> None:
    """Send the kill of a task to its agent, possibly again."""
    agent = state.agents.get(task.agent_id)
    if agent is not None and agent.session:
        grace = None if agent.maintenance.drain is None else agent.maintenance.grace
        out.kill(agent, task.task_id, grace)


def acknowledge(state: CellState, framework: Framework, task_id: str, out: Outlet) -> None:
    """Remove a task whose terminal update the framework has acknowledged."""
    task = state.tasks.get(task_id)
    if task is not None and task.state.terminal and task.framework_id == framework.ident:
        state.forget_task(task)
        out.touch(RecordKind.TASKS, task_id)


def resend(state: CellState, framework: Framework, out: Outlet, now: Instant, *, everything: bool) -> None:
    """Send unacknowledged terminal updates again: those that are due, or all of them (``everything``)."""
    due: list[TaskStatus] = []
    for task_id, mark in list(framework.unacknowledged.items()):
        if not everything and mark.at > now.mono:
            continue
        task = state.tasks.get(task_id)
        if task is None or task.details.status is None:
            del framework.unacknowledged[task_id]
            continue
        delay = min(mark.delay * 2, state.limits.resend_at_most)
        framework.unacknowledged[task_id] = Resend(now.mono + delay, delay)
        due.append(task.details.status)
    for statuses in in_messages(due):
        update = Update(cell=state.cell, statuses=statuses)
        out.hint(addresses.events(framework.ident), update)
