"""Tasks that the spawner keeps until others of their line have ended. Standard library only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

Request = list[Any]
"""``["launch", task_id, argv, env, line, width]``."""


class HeldTasks:
    """Lines by name: how many of each run, and the launches that wait. They are in memory only: a task in
    line has not begun, and its agent asks for it again when it meets another spawner."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[Request]] = {}
        self._lines: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._lines)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._lines

    def enter(self, request: Request) -> bool:
        """A launch has come: whether it may go on. If not it is kept until its turn."""
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
        """One more of a line runs."""
        self._running[line] = self._running.get(line, 0) + 1

    def leave(self, line: str) -> Request | None:
        """One of a line runs no more: the launch whose turn it is, if any; it is to ``enter`` anew."""
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
        """Whether a task waited; it does not any more."""
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
        """Nobody waits any more; returns who did."""
        waited = tuple(self._lines)
        self._lines.clear()
        self._waiting.clear()
        return iter(waited)
