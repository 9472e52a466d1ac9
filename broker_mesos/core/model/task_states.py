"""The states of a task and the table of transitions between them (names: Mesos v1 ``TaskState``)."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """The state of a task."""

    STAGING = "TASK_STAGING"
    """Accepted and committed; the launch command is on its way to the agent."""
    STARTING = "TASK_STARTING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    UNREACHABLE = "TASK_UNREACHABLE"
    """No message arrives from the task's agent; the task may still run there."""
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"
    ERROR = "TASK_ERROR"
    """The task's description is invalid; the task was never launched."""
    DROPPED = "TASK_DROPPED"
    """The task was never launched: the offer had ended, or the agent refused the task."""
    LOST = "TASK_LOST"
    """The task was launched and does not run any more; its outcome is unknown."""
    GONE = "TASK_GONE"
    GONE_BY_OPERATOR = "TASK_GONE_BY_OPERATOR"
    UNKNOWN = "TASK_UNKNOWN"
    """The cell does not know the task. It is used only in answers to a reconciliation or a kill."""

    @property
    def terminal(self) -> bool:
        """True when the task can never change its state again (invariant I5)."""
        return self in TERMINAL

    @property
    def short(self) -> str:
        """The name as people read it: ``running`` for ``TASK_RUNNING``."""
        return self.value.removeprefix("TASK_").lower()


S = TaskState

TERMINAL = frozenset({S.FINISHED, S.FAILED, S.KILLED, S.ERROR, S.DROPPED, S.LOST, S.GONE, S.GONE_BY_OPERATOR})
"""The final states. Entering one of them frees the task's resources exactly once."""

NEVER_STORED = frozenset({S.UNKNOWN})
"""States that appear in answers only, and in no task record."""

_ENDS = TERMINAL - {S.ERROR}

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    S.STAGING: frozenset({S.STARTING, S.RUNNING, S.KILLING, S.UNREACHABLE}) | _ENDS | {S.ERROR},
    S.STARTING: frozenset({S.RUNNING, S.KILLING, S.UNREACHABLE}) | _ENDS - {S.DROPPED},
    S.RUNNING: frozenset({S.KILLING, S.UNREACHABLE}) | _ENDS - {S.DROPPED},
    S.KILLING: frozenset({S.UNREACHABLE}) | _ENDS - {S.DROPPED},
    # An unreachable task may turn out to live on, to have ended, or never to have been launched.
    S.UNREACHABLE: frozenset({S.STARTING, S.RUNNING, S.KILLING}) | _ENDS,
}
"""The states that a task may enter from each state that is not final. Final states are not in the table."""


def may_move(old: TaskState, new: TaskState) -> bool:
    """Whether a task in state ``old`` may enter ``new``. It never leaves a final state, and never enters the state
    that it is in."""
    return new in TRANSITIONS.get(old, frozenset())


class Reason(StrEnum):
    """The reason for a status (names: Mesos v1 ``TaskStatus.Reason`` where it has one)."""

    COMMAND_EXECUTOR_FAILED = "REASON_COMMAND_EXECUTOR_FAILED"
    TASK_INVALID = "REASON_TASK_INVALID"
    TASK_ID_IN_USE = "REASON_TASK_ID_IN_USE"
    INVALID_OFFERS = "REASON_INVALID_OFFERS"
    RECONCILIATION = "REASON_RECONCILIATION"
    AGENT_REMOVED = "REASON_SLAVE_REMOVED"
    AGENT_REMOVED_BY_OPERATOR = "REASON_SLAVE_REMOVED_BY_OPERATOR"
    AGENT_DISCONNECTED = "REASON_SLAVE_DISCONNECTED"
    AGENT_RESTARTED = "REASON_SLAVE_RESTARTED"
    AGENT_REREGISTERED = "REASON_SLAVE_REREGISTERED"
    AGENT_UNKNOWN_TASK = "REASON_TASK_UNKNOWN"
    FRAMEWORK_REMOVED = "REASON_FRAMEWORK_REMOVED"
    TASK_KILLED_DURING_LAUNCH = "REASON_TASK_KILLED_DURING_LAUNCH"
    LAUNCH_REFUSED = "REASON_RESOURCES_UNKNOWN"
    AGENT_DRAINING = "REASON_SLAVE_DRAINING"
    """The task was killed because its agent is drained; neither its framework nor an operator killed it."""
    CONTAINER_PREEMPTED = "REASON_CONTAINER_PREEMPTED"
    """The task was killed because it ran on slack and the machine ran short of resources."""
    MAX_COMPLETION_TIME_REACHED = "REASON_MAX_COMPLETION_TIME_REACHED"
    CONTAINER_LAUNCH_FAILED = "REASON_CONTAINER_LAUNCH_FAILED"
    """The image of the task cannot be had, or its container cannot be started."""
    DISK_LIMIT = "REASON_CONTAINER_LIMITATION_DISK"
    MEMORY_LIMIT = "REASON_CONTAINER_LIMITATION_MEMORY"


class Source(StrEnum):
    """The component that made a status."""

    MASTER = "SOURCE_MASTER"
    AGENT = "SOURCE_AGENT"
    EXECUTOR = "SOURCE_EXECUTOR"
