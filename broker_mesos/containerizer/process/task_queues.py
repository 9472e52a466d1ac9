"""The queues of tasks in the spawner: launches that wait until others of their queue have ended. Standard library
only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

Request = list[Any]
"""A launch request: ``["launch", task_id, argv, env, line, width]``."""


class HeldTasks:
    """The queues by name (``line``): how many tasks of each run, and the launches that wait. They are in memory only: a
    queued task has not been started, and the agent sends it again to another spawner."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[Request]] = {}
        self._lines: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether any launch waits."""
        return bool(self._lines)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._lines

    def enter(self, request: Request) -> bool:
        """Handle a launch. Returns whether it may start now; if not, it is queued until its turn."""
        if len(request) < 6 or not request[4]:
            return True
        task_id, line, width = request[1], request[4], request[5]
        if width and self._running.get(line, 0) >= width:
            if task_id not in self._lines:
                self._lines[task_id] = line
                self._waiting.setdefault(line, deque()).append(request)
            return False
        self.hold(line)
        return True

    def hold(self, line: str) -> None:
        """Count one more running task of a queue."""
        self._running[line] = self._running.get(line, 0) + 1

    def leave(self, line: str) -> Request | None:
        """Count one running task less. Returns the launch whose turn it is, if any; the caller must ``enter`` it
        again."""
        left = self._running.get(line, 0) - 1
        if left > 0:
            self._running[line] = left
        else:
            self._running.pop(line, None)
        queue = self._waiting.get(line)
        if not queue:
            return None
        request = queue.popleft()
        if not queue:
            del self._waiting[line]
        del self._lines[request[1]]
        return [*request[:5], 0]

    def withdraw(self, task_id: str) -> bool:
        """Remove a queued task. Returns whether it was queued."""
        line = self._lines.pop(task_id, None)
        if line is None:
            return False
        queue = self._waiting[line]
        kept = deque(each for each in queue if each[1] != task_id)
        if kept:
            self._waiting[line] = kept
        else:
            del self._waiting[line]
        return True

    def clear(self) -> Iterator[str]:
        """Remove all queued tasks, and return their ids."""
        waited = tuple(self._lines)
        self._lines.clear()
        self._waiting.clear()
        return iter(waited)
