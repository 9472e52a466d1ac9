"""The time limits of tasks' processes."""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.agent.effects import Effect, KillProcess
from broker_mesos.agent.running import RunningTask
from broker_mesos.core.protocol.limits import Instant

NEVER = float("inf")


class TimeLimits:
    """The running tasks that have a time limit."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        """By task id: the monotonic time at which the task reaches its limit."""

    def started(self, task: RunningTask, now: Instant) -> None:
        """Begin the limit of a task whose process has just started."""
        if task.info.max_completion_time is not None:
            self._ends[task.info.task_id] = now.mono + task.info.max_completion_time

    def found(self, task: RunningTask, now: Instant) -> None:
        """Continue the limit of a task whose process was started by an earlier agent process. Its age is known by the
        wall clock only, which may have been set since; so the age is bounded by the limit."""
        limit = task.info.max_completion_time
        if limit is not None:
            ran = min(max(now.wall - (task.started_at or now.wall), 0.0), limit)
            self._ends[task.info.task_id] = now.mono + limit - ran

    def ended(self, task_id: str) -> None:
        """Remove a task whose process has ended."""
        self._ends.pop(task_id, None)

    def due(self) -> float:
        """Monotonic time at which the first task reaches its limit."""
        return min(self._ends.values(), default=NEVER)

    def end_overdue(self, running: Mapping[str, RunningTask], now: Instant) -> list[Effect]:
        """Kill the tasks that have reached their limit."""
        overdue = [task_id for task_id, at in self._ends.items() if at <= now.mono]
        for task_id in overdue:
            del self._ends[task_id]
            running[task_id].timed_out = True
        return [KillProcess(task_id, running[task_id].kill_grace) for task_id in overdue]
