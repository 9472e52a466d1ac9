"""Tasks that take turns on an agent, so that nothing has to be asked or said between two of them.

A short task costs less than the offer, the accept and the launch that bring it. Tasks of one framework, role
and line, with the same resources, share what those of them hold that were launched while there was room; the
others wait on the agent. Cell and agent follow the same rule, so that they agree on how many hold, whatever
is on its way between them: whenever a task of a line ends while others wait, one that waits is a task less,
and as many hold as before. (HyperQueue's workers and Dask's are sent more tasks than they can run, too;
there the scheduler has no other claimants.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from broker_mesos.core.model.resources import Resources

MAX_QUEUED_PER_SLOT = 128
"""Tasks in a line for each one that holds something."""


class QueueKey(NamedTuple):
    """What tells lines of one agent apart."""

    framework_id: str
    role: str
    name: str
    resources: Resources
    """Of each of its tasks: what one of them held is as good for any other."""


def queue_key_of(
    framework_id: str, role: str, name: str, resources: Resources, volumes: Sequence[object], revocable: bool
) -> QueueKey | None:
    """The line that a task stands in, if it names one and can be of it: not one that needs a volume, a port
    or anything else by its name, nor one on slack, which may go at any time."""
    if not name or volumes or revocable or resources.ranges or resources.sets:
        return None
    return QueueKey(framework_id, role, name, resources)


class _TaskQueue:
    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.waiting: dict[str, None] = {}


class TaskQueues:
    """Those of one agent, by key. Tasks are known by their ids."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[QueueKey, _TaskQueue] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[QueueKey]:
        return iter(self._lines)

    def held(self, key: QueueKey) -> int:
        """How many tasks of a line hold something."""
        line = self._lines.get(key)
        return 0 if line is None else line.held

    def waiting(self, key: QueueKey) -> tuple[str, ...]:
        """Those that hold nothing yet, in the order of their turns."""
        line = self._lines.get(key)
        return () if line is None else tuple(line.waiting)

    def open(self, key: QueueKey) -> bool:
        """Whether one more may wait: somebody holds what it waits for, and not too many wait already."""
        line = self._lines.get(key)
        return line is not None and len(line.waiting) < MAX_QUEUED_PER_SLOT * line.held

    @property
    def any_waiting(self) -> bool:
        """Whether any task waits."""
        return any(line.waiting for line in self._lines.values())

    def first(self) -> list[str]:
        """Of each line the one whose turn is next."""
        return [next(iter(line.waiting)) for line in self._lines.values() if line.waiting]

    def enter(self, key: QueueKey, task_id: str, *, waits: bool) -> None:
        """A task comes: it holds something, or waits."""
        line = self._lines.setdefault(key, _TaskQueue())
        if waits:
            line.waiting[task_id] = None
        else:
            line.held += 1

    def leave(self, key: QueueKey, task_id: str, *, waited: bool) -> str | None:
        """A task has ended. Returns the one that takes what it held, if another of its line does."""
        line = self._lines.get(key)
        if line is None:
            return None
        heir = None
        if waited:
            line.waiting.pop(task_id, None)
        elif line.waiting:
            heir = next(iter(line.waiting))
            del line.waiting[heir]
        else:
            line.held -= 1
        if not line.held and not line.waiting:
            del self._lines[key]
        return heir
