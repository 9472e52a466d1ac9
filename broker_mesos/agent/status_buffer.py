"""What an agent has to say of its tasks, and for how long that may gather."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container

from broker_mesos.core.model.task import TaskStatus

RUNNING_DELAY_SECONDS = 0.015
"""Seconds that a TASK_RUNNING waits to be overtaken: of a very short task only the end is sent."""
COMPANION_AGE_SECONDS = 0.05
END_DELAY_SECONDS = 0.02
"""Seconds that an end waits for those of the tasks launched in the last ``COMPANION_AGE_SECONDS`` seconds: short
ones that start together end together, and one message costs as much as eight. An end that has no such company is sent
at once."""
QUEUE_DELAY_SECONDS = 0.08
"""Seconds that an end waits for others while tasks stand in line: what it has left is in use already."""


class StatusBuffer:
    """The latest status of each task, to be sent; a terminal one takes the place of the one before."""

    def __init__(self) -> None:
        self._statuses: dict[str, TaskStatus | None] = {}
        """None: that it runs, which a very short task has no need to say."""
        self._young: deque[tuple[float, str]] = deque()
        self._begun_at: float | None = None
        self._ended_at: float | None = None

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self._statuses)

    def launched(self, task_id: str, now: float) -> None:
        """A task is being started, and may end soon."""
        self._young.append((now, task_id))

    def started(self, task_id: str, now: float) -> None:
        """A task runs."""
        if self._begun_at is None:
            self._begun_at = now
        self._statuses[task_id] = None

    def ended(self, status: TaskStatus, now: float) -> None:
        """A task has ended."""
        self._statuses[status.task_id] = status
        if self._ended_at is None:
            self._ended_at = now

    def drop(self, task_id: str) -> None:
        """What is known of a task is not to be sent: its id is another task's from now on."""
        self._statuses.pop(task_id, None)

    def again(self, status: TaskStatus, *, asked: bool) -> None:
        """An end that was told before, and is to be told at once; if it was ``asked`` for, in the place of
        what there is."""
        if asked:
            self._statuses[status.task_id] = status
        else:
            self._statuses.setdefault(status.task_id, status)
        self._ended_at = -COMPANION_AGE_SECONDS

    def send_at(self, now: float, running: Container[str], *, queued: bool) -> float:
        """Monotonic time until which it may gather. ``queued``: whether any task stands in line."""
        at = now if self._begun_at is None else self._begun_at + RUNNING_DELAY_SECONDS
        if self._ended_at is None:
            return at
        if queued and self._ended_at > 0:
            return self._ended_at + QUEUE_DELAY_SECONDS
        while self._young and (self._young[0][0] < now - COMPANION_AGE_SECONDS or self._young[0][1] not in running):
            self._young.popleft()
        return self._ended_at + END_DELAY_SECONDS if self._young else now

    def take(self, running_status: Callable[[str], TaskStatus | None]) -> list[TaskStatus]:
        """All of it, which is then news no more. ``running_status`` describes a task that runs, if it still
        does."""
        found = [status or running_status(task_id) for task_id, status in self._statuses.items()]
        self._statuses.clear()
        self._begun_at = self._ended_at = None
        return [status for status in found if status is not None]
