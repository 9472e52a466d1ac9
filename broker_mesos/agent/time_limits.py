"""How long the processes of tasks may run."""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.agent.effects import Effect, KillProcess
from broker_mesos.agent.running import RunningTask
from broker_mesos.core.protocol.limits import Instant

NEVER = float("inf")


class TimeLimits:
    """The tasks with a time limit whose processes run."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        """By task id: monotonic time at which its process has run for as long as it may."""

    def started(self, task: RunningTask, now: Instant) -> None:
        """Its process has just started."""
        if task.info.max_completion_time is not None:
            self._ends[task.info.task_id] = now.mono + task.info.max_completion_time

    def found(self, task: RunningTask, now: Instant) -> None:
        """Its process was started by an earlier agent process. Only the wall clock knows how long ago, and it
        may have been set since; so what it says is bounded by the limit."""
        limit = task.info.max_completion_time
        if limit is not None:
            ran = min(max(now.wall - (task.started_at or now.wall), 0.0), limit)
            self._ends[task.info.task_id] = now.mono + limit - ran

    def ended(self, task_id: str) -> None:
        """Its process has ended."""
        self._ends.pop(task_id, None)

    def due(self) -> float:
        """Monotonic time at which the first one is to be ended."""
        return min(self._ends.values(), default=NEVER)

    def end_overdue(self, running: Mapping[str, RunningTask], now: Instant) -> list[Effect]:
        """End the tasks that have run for as long as they may."""
        overdue = [task_id for task_id, at in self._ends.items() if at <= now.mono]
        for task_id in overdue:
            del self._ends[task_id]
            running[task_id].timed_out = True
        return [KillProcess(task_id, running[task_id].kill_grace) for task_id in overdue]
