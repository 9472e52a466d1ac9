"""The state of a task in its cell."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from broker_mesos.core.model.task_queues import QueueKey
from broker_mesos.core.protocol.task_record import TaskRecord


class Resend(NamedTuple):
    """When a message that needs an answer is sent again."""

    at: float
    """Monotonic time of the next repeat, in seconds."""
    delay: float
    """Time between the last transmission and the next repeat, in seconds."""


class Task(TaskRecord):
    """A task, with what only its owner knows of it."""

    __slots__ = ("number",)

    number: int | None
    """Number of the command that launches the task (a lower bound of it before it is sent); 0 if it was launched in an
    earlier session, and None if an earlier owner sent the command."""

    def __init__(self, *record: Any, **more: Any) -> None:
        super().__init__(*record, **more)
        self.number = None

    @classmethod
    def decode(cls, stored: bytes, names: dict[str, str] | None = None) -> Self:
        """Decode a stored record."""
        task = super().decode(stored, names)
        task.number = None
        return task

    @property
    def occupies(self) -> bool:
        """Whether it uses resources of its agent other than slack."""
        return not (self.state.terminal or self.waits or self.revocable)

    @property
    def queue_key(self) -> QueueKey | None:
        """The key of its task queue; None if it is not queued."""
        return QueueKey(self.framework_id, self.role, self.queue, self.resources) if self.queue else None
