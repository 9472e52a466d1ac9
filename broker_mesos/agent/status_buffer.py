"""Buffers the status updates of an agent, so that they are sent together, and decides how long they may wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container

from broker_mesos.core.model.task import TaskStatus

RUNNING_DELAY_SECONDS = 0.015
"""Time that a TASK_RUNNING waits before it is sent, in seconds; of a shorter task only the end is sent."""
COMPANION_AGE_SECONDS = 0.05
END_DELAY_SECONDS = 0.02
"""Time that a terminal status waits for those of the tasks launched in the last ``COMPANION_AGE_SECONDS`` seconds, in
seconds: short tasks that start together end together, and eight statuses in one message cost as much as one. If there
is no such task, the status is sent at once."""
QUEUE_DELAY_SECONDS = 0.08
"""Time that a terminal status waits for others while tasks are queued, in seconds: its resources are in use again
already."""


class StatusBuffer:
    """The unsent status of each task; a terminal status replaces an earlier one."""

    def __init__(self) -> None:
        self._statuses: dict[str, TaskStatus | None] = {}
        """By task id; None stands for TASK_RUNNING, which is built only when it is sent."""
        self._young: deque[tuple[float, str]] = deque()
        self._running_since: float | None = None
        self._ended_at: float | None = None

    def __bool__(self) -> bool:
        """Whether there is an unsent status."""
        return bool(self._statuses)

    def launched(self, task_id: str, now: float) -> None:
        """Note that a task is being started, and may end soon."""
        self._young.append((now, task_id))

    def started(self, task_id: str, now: float) -> None:
        """Add TASK_RUNNING of a task."""
        if self._running_since is None:
            self._running_since = now
        self._statuses[task_id] = None

    def ended(self, status: TaskStatus, now: float) -> None:
        """Add a terminal status."""
        self._statuses[status.task_id] = status
        if self._ended_at is None:
            self._ended_at = now

    def drop(self, task_id: str) -> None:
        """Remove the status of a task, since its id belongs to another task from now on."""
        self._statuses.pop(task_id, None)

    def resend(self, status: TaskStatus, *, replace: bool) -> None:
        """Add a terminal status that was sent before, and is to be sent again at once. With ``replace`` it
        replaces an unsent status of the task."""
        if replace:
            self._statuses[status.task_id] = status
        else:
            self._statuses.setdefault(status.task_id, status)
        self._ended_at = -COMPANION_AGE_SECONDS

    def send_at(self, now: float, running: Container[str], *, queued: bool) -> float:
        """Monotonic time at which the statuses are to be sent. ``queued``: whether any task is queued."""
        at = now if self._running_since is None else self._running_since + RUNNING_DELAY_SECONDS
        if self._ended_at is None:
            return at
        if queued and self._ended_at > 0:
            return self._ended_at + QUEUE_DELAY_SECONDS
        while self._young and (self._young[0][0] < now - COMPANION_AGE_SECONDS or self._young[0][1] not in running):
            self._young.popleft()
        return self._ended_at + END_DELAY_SECONDS if self._young else now

    def take(self, running_status: Callable[[str], TaskStatus | None]) -> list[TaskStatus]:
        """Remove and return all statuses. ``running_status`` returns the status of a task if it still runs."""
        found = [status or running_status(task_id) for task_id, status in self._statuses.items()]
        self._statuses.clear()
        self._running_since = self._ended_at = None
        return [status for status in found if status is not None]
