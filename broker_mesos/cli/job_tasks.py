"""Shows the tasks of a job: a table of them, or one with its history and its other attempts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from broker_mesos.cli import show

if TYPE_CHECKING:
    from broker_mesos.core.api.jobs import JobTask, JobTaskDetails
    from broker_mesos.core.api.usage import TaskUsage


def show_task(task: JobTaskDetails, now: Mapping[str, TaskUsage]) -> None:
    """One task, its history, and the other attempts."""
    show_tasks([task], now)
    if task.history:
        print()
        cut = ", without some in between" if task.history_truncated else ""
        steps = task.history
        ends = [*(step.at for step in steps[1:]), None if task.ended_at else time.time()]
        show.table(
            ["STATE", "AT", ">FOR", "REASON"],
            [
                (step.state, show.clock(step.at), "-" if end is None else show.duration(end - step.at), step.reason)
                for step, end in zip(steps, ends, strict=True)
            ],
            f"What it has been through{cut}",
            drop=["AT", "FOR"],
        )
    others = [each for each in task.attempts if each.task_id != task.task_id]
    if others:
        print()
        show_tasks(others, {}, "Other attempts" + (", without older ones" if task.attempts_truncated else ""))
    if task.latest:
        show.line(f"the latest attempt is {task.latest}")


def show_tasks(tasks: Sequence[JobTask], now: Mapping[str, TaskUsage] = MappingProxyType({}), title: str = "") -> None:
    """A table of tasks. ``now``: what running ones use now, by task id."""
    from broker_mesos.cli.job_usage import ROUGHLY, columns_of, has_usage, is_rough

    messages = any(task.message for task in tasks)
    measured = has_usage(tasks, now)
    show.table(
        [
            "TASK",
            "STATE",
            ">EXIT",
            ">ATTEMPT",
            "AGENT",
            "HOST",
            "TOOK",
            *([">CPU", ">MEMORY"] if measured else []),
            *(["MESSAGE"] if messages else []),
        ],
        [
            (
                task.task_id,
                task.state,
                _exit(task),
                task.attempt,
                task.agent_id or "-",
                task.hostname or "-",
                _took(task),
                *(columns_of(task, now) if measured else ()),
                *([task.message] if messages else []),
            )
            for task in tasks
        ],
        title,
        drop=["ATTEMPT", "HOST", "TOOK", "AGENT", "CPU", "MEMORY", "MESSAGE"],
    )
    if is_rough(tasks, now):
        show.line(ROUGHLY)


def _exit(task: JobTask) -> str:
    if task.signal is not None:
        import signal

        try:
            return signal.Signals(task.signal).name
        except ValueError:
            return f"signal {task.signal}"
    return "-" if task.exit_code is None else str(task.exit_code)


def _took(task: JobTask) -> str:
    if task.started_at is None:
        return "-"
    return show.duration((task.ended_at or time.time()) - task.started_at)
