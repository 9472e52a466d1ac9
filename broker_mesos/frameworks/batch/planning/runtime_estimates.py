"""Estimates of how long the tasks of a job run, from the statuses that this worker sees. They decide how many tasks
may be queued on an agent. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.frameworks.batch.storage.records import parse_task_id

QUEUED_WORK_SECONDS = 0.25
"""Work that is queued for one slot at most, in seconds: several times the latency of a launch, and short enough for
others that wait for the slot."""
MAX_QUEUED_PER_SLOT = 64
"""Maximum number of queued tasks for each task that fits on the offer."""
MIN_ENDED_TASKS = 4
"""Number of tasks of a job that must have ended before other tasks of it may be queued."""
_SMOOTHING = 0.8
_MAX_JOBS = 1_000


class RuntimeEstimates:
    """The estimated run time of the tasks of each job. A long run raises it at once; short runs lower it slowly."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[int, float]] = {}
        """By job id: the number of ended tasks that were seen, and the estimated run time of one, in seconds."""

    def learn(self, statuses: Iterable[TaskStatus]) -> None:
        """Update the estimates from tasks that have ended, and from tasks dropped after too long in the queue."""
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
                # Removed and inserted again, so that the job without a status for the longest time is evicted first.
                self._jobs[name.job_id] = (
                    seen + 1,
                    max(seconds, _SMOOTHING * before + (1 - _SMOOTHING) * seconds),
                )
        while len(self._jobs) > _MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]

    def depth(self, job_id: str) -> int:
        """How many tasks of a job may be queued for each task that fits on the offer."""
        seen, seconds = self._jobs.get(job_id, (0, 0.0))
        if seen < MIN_ENDED_TASKS:
            return 0
        return min(MAX_QUEUED_PER_SLOT, int(QUEUED_WORK_SECONDS / max(seconds, 0.001)))
