"""The states that a task has been in, one after another.

What is stored of a history is only what does not follow from the other fields of a record: nearly every task is staged,
runs and ends, and its history is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from broker_mesos.core.model.part import Part
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState

MAX_STEPS = 16
"""The largest number of steps of a history. Of a longer one the first and the latest are kept."""
MAX_REASON = 80
"""The largest number of characters of a reason."""
_MAX_STORED = MAX_STEPS - 3
"""The largest number of stored steps: those in which a task is staged, begins to run and ends need not be stored."""
RUNNING, STAGING = TaskState.RUNNING.short, TaskState.STAGING.short


class Step(NamedTuple):
    """A state that a task has entered. One without a state stands for steps that are not kept."""

    state: str
    """The state as people read it, such as ``running``."""
    at: float
    """Seconds since the epoch, by the clock of who has reported it: steps are in order, their times need not be."""
    reason: str = ""


class TaskStep(Part):
    """A state that a task has entered."""

    state: str
    """The state as people read it, such as ``running``."""
    at: float
    """Seconds since the epoch, by the clock of who has reported it: steps are in order, their times need not be."""
    reason: str = ""
    """The reason of its status, such as ``REASON_CONTAINER_LIMITATION_MEMORY``, or else the message; empty if it has
    none."""


class Steps(NamedTuple):
    """A whole history, and whether steps are left out of it."""

    steps: tuple[TaskStep, ...]
    truncated: bool


def step_of(status: TaskStatus) -> Step:
    """The step of a status."""
    reason = status.message[:MAX_REASON] if status.reason is None else status.reason.value
    return Step(status.state.short, round(status.timestamp, 3), reason)


def with_step(history: Sequence[Step], step: Step) -> tuple[Step, ...]:
    """A stored history that goes on with a step."""
    steps = (*history, step)
    if len(steps) <= _MAX_STORED:
        return steps
    return (steps[0], Step("", steps[2].at), *steps[3 - _MAX_STORED :])


def history_before(history: Sequence[Step], before: TaskStatus | None, status: TaskStatus) -> tuple[Step, ...]:
    """What is stored beside a status when it replaces the one before."""
    if before is None:
        return tuple(history)
    if not history and before.state is TaskState.RUNNING and status.started_at is not None:
        return ()  # it follows from the status
    return with_step(history, _step_after(history, before))


def _step_after(history: Sequence[Step], status: TaskStatus) -> Step:
    """The step of a status after a stored history: a task that runs for the first time has begun when it says."""
    step = step_of(status)
    if history or status.state is not TaskState.RUNNING or status.started_at is None:
        return step
    return step._replace(at=status.started_at)


def steps_until(staged_at: float, history: Sequence[Step], status: TaskStatus | None) -> Steps:
    """The whole history of a task that has this latest status."""
    if status is None:
        return all_steps(staged_at, None, history, None)
    return all_steps(staged_at, status.started_at, history, _step_after(history, status))


def all_steps(staged_at: float, started_at: float | None, history: Iterable[Step], last: Step | None) -> Steps:
    """The whole history of a task. ``last`` is the step that is not stored."""
    stored = list(history)
    steps = [Step(STAGING, staged_at)] if staged_at else []
    known = [*stored, last] if last is not None else stored
    if started_at is not None and all(each.state != RUNNING for each in known):
        steps.append(Step(RUNNING, started_at))
    steps += known
    shown = tuple(TaskStep(state=each.state, at=each.at, reason=each.reason) for each in steps if each.state)
    return Steps(shown, len(shown) < len(steps))
