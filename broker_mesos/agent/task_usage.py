"""Reads what the running tasks of an agent use, for operators."""

from __future__ import annotations

from broker_mesos.core.api.usage import ReadUsage, TaskUsage, TaskUsages
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.containerizer import Containerizer

SETTLE_SECONDS = 0.3
"""Time that the containerizer gets to measure, in seconds."""
FRESH_SECONDS = 2.0
"""Time for which a measurement is used again, in seconds: to measure, all processes of the machine are looked at."""


class TaskUsageReader:
    """Answers READ_USAGE requests."""

    def __init__(self, containerizer: Containerizer, clock: Clock) -> None:
        self._containerizer = containerizer
        self._clock = clock
        self._asked_at = float("-inf")

    async def read(self, request: ReadUsage) -> TaskUsages:
        """What these tasks use; those that do not run are left out."""
        if self._clock.monotonic() - self._asked_at >= FRESH_SECONDS:
            self._asked_at = self._clock.monotonic()
            self._containerizer.usage()
            await self._clock.sleep(SETTLE_SECONDS)
        used = self._containerizer.usage()
        found = {task_id: used[task_id] for task_id in request.task_ids if task_id in used}
        return TaskUsages(
            tasks={task_id: TaskUsage(cpu_seconds=cpu, memory=int(memory)) for task_id, (cpu, memory) in found.items()}
        )
