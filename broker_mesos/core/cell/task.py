"""A task as its cell knows it."""

from __future__ import annotations

from typing import NamedTuple

from broker_mesos.core.lines import LineKey, line_of
from broker_mesos.core.messages import (
    TaskStatus,
)
from broker_mesos.core.records import (
    TaskFacts,
    TaskRecord,
)
from broker_mesos.core.tasks import TaskState


class Resend(NamedTuple):
    """When a terminal update without acknowledgement is sent again."""

    at: float
    delay: float


class Task:
    """A task between its accepted launch and the acknowledgement of its end."""

    __slots__ = (
        "_status",
        "_stored",
        "agent_id",
        "created_at",
        "framework_id",
        "kill_reason",
        "kill_requested",
        "labels",
        "launch",
        "line",
        "name",
        "number",
        "offer_id",
        "resources",
        "revocable",
        "role",
        "state",
        "task_id",
        "volumes",
        "waits",
    )

    def __init__(self, record: TaskFacts, stored: bytes | None = None) -> None:
        """``stored``: the whole record as it was read, of which the status is read when it is asked for."""
        self.task_id = record.task_id
        self.framework_id = record.framework_id
        self.agent_id = record.agent_id
        self.role = record.role
        self.name = record.name
        self.resources = record.resources
        self.offer_id = record.offer_id
        self.state: TaskState = record.state
        self._status = record.status if isinstance(record, TaskRecord) else None
        self._stored = stored
        self.launch = record.launch
        self.kill_requested = record.kill_requested
        self.kill_reason = record.kill_reason
        self.created_at = record.created_at
        self.labels = record.labels
        self.volumes = record.volumes
        self.revocable = record.revocable
        self.line = record.line
        self.waits = record.waits
        # -- in memory only
        self.number: int | None = None
        """Number of the command that launches it (at least this, before it is sent), 0 if an earlier session
        did; None if an earlier owner sent it."""

    @property
    def status(self) -> TaskStatus | None:
        """The latest one."""
        if self._stored is not None:
            self.status = TaskRecord.model_validate_json(self._stored).status
        return self._status

    @status.setter
    def status(self, status: TaskStatus | None) -> None:
        self._status, self._stored = status, None

    @property
    def holds(self) -> bool:
        """Whether it uses its agent's resources, slack aside."""
        return not (self.state.terminal or self.waits or self.revocable)

    @property
    def line_key(self) -> LineKey | None:
        """The line that it stands in, if it does."""
        if not self.line:
            return None
        return line_of(self.framework_id, self.role, self.line, self.resources, self.volumes, self.revocable)

    def record(self) -> TaskRecord:
        """As it is stored."""
        return TaskRecord(
            task_id=self.task_id,
            framework_id=self.framework_id,
            agent_id=self.agent_id,
            role=self.role,
            name=self.name,
            resources=self.resources,
            offer_id=self.offer_id,
            state=self.state,
            status=self.status,
            launch=self.launch,
            kill_requested=self.kill_requested,
            kill_reason=self.kill_reason,
            created_at=self.created_at,
            labels=self.labels,
            volumes=self.volumes,
            revocable=self.revocable,
            line=self.line,
            waits=self.waits,
        )
