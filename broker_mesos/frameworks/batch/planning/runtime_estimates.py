"""How long the tasks of a job take, as this worker sees it: which of them may stand in line. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.frameworks.batch.storage.records import parse_task_id

QUEUED_WORK_SECONDS = 0.25
"""Seconds of work that are sent at once for one place: some times as long as the way of a launch, and not
long for whoever else waits for that place."""
MAX_QUEUED_PER_SLOT = 64
"""Tasks in line for each that fits."""
MIN_ENDED_TASKS = 4
"""Tasks of a job that must have ended before others stand in line."""
_SMOOTHING = 0.8
_MAX_JOBS = 1_000


class RuntimeEstimates:
    """What is known of the running times of jobs. A long one counts at once, and is forgotten slowly."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[int, float]] = {}
        """Tasks seen, and seconds that one takes."""

    def learn(self, statuses: Iterable[TaskStatus]) -> None:
        """Take in what has ended, and what was dropped since it stood in line for too long."""
        for status in statuses:
            if not status.state.terminal:
                continue
            if status.state is TaskState.DROPPED and status.reason is Reason.LAUNCH_REFUSED:
                seconds = QUEUED_WORK_SECONDS
            elif status.started_at is not None and status.timestamp:
                seconds = max(0.0, status.timestamp - status.started_at)
            else:
                continue
            name = parse_task_id(status.task_id)
            if name is not None:
                seen, before = self._jobs.pop(name.job_id, (0, seconds))
                # Taken out and put in again: the one that was not heard of for longest goes first.
                self._jobs[name.job_id] = (
                    seen + 1,
                    max(seconds, _SMOOTHING * before + (1 - _SMOOTHING) * seconds),
                )
        while len(self._jobs) > _MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]

    def depth(self, job_id: str) -> int:
        """How many tasks of a job may stand in line for each that fits."""
        seen, seconds = self._jobs.get(job_id, (0, 0.0))
        if seen < MIN_ENDED_TASKS:
            return 0
        return min(MAX_QUEUED_PER_SLOT, int(QUEUED_WORK_SECONDS / max(seconds, 0.001)))
