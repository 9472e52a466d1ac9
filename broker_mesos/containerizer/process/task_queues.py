"""The queues of tasks in the spawner: launches that wait until others of their queue have ended. Standard library
only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

Request = list[Any]
"""A launch request: ``["launch", task_id, argv, env, line, width]``, and options after these."""


class QueuedTasks:
    """The queues by name (``line``): how many tasks of each run, and the launches that wait. They are in memory only: a
    queued task has not been started, and the agent sends it again to another spawner."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[Request]] = {}
        self._queue_of: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether any launch waits."""
        return bool(self._queue_of)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._queue_of

    def enter(self, request: Request) -> bool:
        """Handle a launch. Returns whether it may start now; if not, it is queued until its turn."""
        if len(request) < 6 or not request[4]:
            return True
        task_id, queue, width = request[1], request[4], request[5]
        if width and self._running.get(queue, 0) >= width:
            if task_id not in self._queue_of:
                self._queue_of[task_id] = queue
                self._waiting.setdefault(queue, deque()).append(request)
            return False
        self.add_running(queue)
        return True

    def add_running(self, queue: str) -> None:
        """Count one more running task of a queue."""
        self._running[queue] = self._running.get(queue, 0) + 1

    def leave(self, queue: str) -> Request | None:
        """Count one running task less. Returns the launch whose turn it is, if any; the caller must ``enter`` it
        again."""
        left = self._running.get(queue, 0) - 1
        if left > 0:
            self._running[queue] = left
        else:
            self._running.pop(queue, None)
        waiting = self._waiting.get(queue)
        if not waiting:
            return None
        request = waiting.popleft()
        if not waiting:
            del self._waiting[queue]
        del self._queue_of[request[1]]
        return [*request[:5], 0, *request[6:]]

    def withdraw(self, task_id: str) -> bool:
        """Remove a queued task. Returns whether it was queued."""
        queue = self._queue_of.pop(task_id, None)
        if queue is None:
            return False
        rest = deque(each for each in self._waiting[queue] if each[1] != task_id)
        if rest:
            self._waiting[queue] = rest
        else:
            del self._waiting[queue]
        return True

    def clear(self) -> Iterator[str]:
        """Remove all queued tasks, and return their ids."""
        waited = tuple(self._queue_of)
        self._queue_of.clear()
        self._waiting.clear()
        return iter(waited)
