"""Task queues of an agent: tasks that run one after the other on the same resources, without messages in between.

A short task costs less than the offer, the accept and the launch that precede it. Tasks of one framework, role
and queue, with the same resources, share the resources of those that were launched while there was room; the
others wait on the agent. Cell and agent follow the same rule, so that they agree on how many tasks occupy
resources, whatever messages are on their way between them: when a task of a queue ends while others wait, the
number of waiting tasks falls by one, and the number of tasks that occupy resources stays the same.
(The workers of HyperQueue and Dask are sent more tasks than they can run, too; there the scheduler serves nobody
else.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from broker_mesos.core.model.resources import Resources

MAX_QUEUED_PER_SLOT = 128
"""The largest number of waiting tasks of a queue for each of its tasks that occupies resources."""


class QueueKey(NamedTuple):
    """The key that distinguishes the task queues of one agent."""

    framework_id: str
    role: str
    name: str
    resources: Resources
    """The resources of each task of the queue, which are the same, so that any task can follow any other."""


def queue_key_of(
    framework_id: str, role: str, name: str, resources: Resources, volumes: Sequence[object], revocable: bool
) -> QueueKey | None:
    """The key of a task's queue; None if the task names no queue or cannot be queued. A task that needs a volume, a
    port or any other named resource cannot be queued, nor can one on slack, which may be revoked at any time."""
    if not name or volumes or revocable or resources.ranges or resources.sets:
        return None
    return QueueKey(framework_id, role, name, resources)


class _TaskQueue:
    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.waiting: dict[str, None] = {}


class TaskQueues:
    """The task queues of one agent, by key. They contain the ids of tasks."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[QueueKey, _TaskQueue] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __iter__(self) -> Iterator[QueueKey]:
        return iter(self._queues)

    def held(self, key: QueueKey) -> int:
        """Number of tasks of a queue that occupy resources."""
        queue = self._queues.get(key)
        return 0 if queue is None else queue.held

    def waiting(self, key: QueueKey) -> tuple[str, ...]:
        """Ids of the tasks of a queue that still wait, in the order in which they will start."""
        queue = self._queues.get(key)
        return () if queue is None else tuple(queue.waiting)

    def open(self, key: QueueKey) -> bool:
        """Whether one more task may wait in a queue: a task of it occupies resources, and the number of waiting
        tasks is below its bound."""
        queue = self._queues.get(key)
        return queue is not None and len(queue.waiting) < MAX_QUEUED_PER_SLOT * queue.held

    @property
    def any_waiting(self) -> bool:
        """Whether any task waits in any queue."""
        return any(queue.waiting for queue in self._queues.values())

    def first(self) -> list[str]:
        """Id of the next task of each queue in which tasks wait."""
        return [next(iter(queue.waiting)) for queue in self._queues.values() if queue.waiting]

    def enter(self, key: QueueKey, task_id: str, *, waits: bool) -> None:
        """Add a task to a queue. ``waits`` is False if it occupies resources of its own."""
        queue = self._queues.setdefault(key, _TaskQueue())
        if waits:
            queue.waiting[task_id] = None
        else:
            queue.held += 1

    def leave(self, key: QueueKey, task_id: str, *, waited: bool) -> str | None:
        """Remove a task that has ended. Returns the id of the task that takes over its resources; None if none
        does."""
        queue = self._queues.get(key)
        if queue is None:
            return None
        successor = None
        if waited:
            queue.waiting.pop(task_id, None)
        elif queue.waiting:
            successor = next(iter(queue.waiting))
            del queue.waiting[successor]
        else:
            queue.held -= 1
        if not queue.held and not queue.waiting:
            del self._queues[key]
        return successor
