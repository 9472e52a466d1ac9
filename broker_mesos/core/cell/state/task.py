"""A task as its cell knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_queues import QueueKey
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.task_record import (
    DETAILS,
    KILL_REQUESTED,
    REVOCABLE,
    WAITS,
    TaskDetails,
    TaskRecord,
    parted,
)

_STATES = {state.value: state for state in TaskState}


class Resend(NamedTuple):
    """When a terminal update without acknowledgement is sent again."""

    at: float
    delay: float


class Task:
    """A task between its accepted launch and the acknowledgement of its end."""

    __slots__ = (
        "_details_json",
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
        "status",
        "task_id",
        "volumes",
        "waits",
    )
    created_at: float
    labels: dict[str, str]
    launch: str | None
    name: str
    offer_id: str
    status: TaskStatus | None
    """The latest one."""
    volumes: tuple[str, ...]

    def __init__(self, record: TaskRecord) -> None:
        self.task_id = record.task_id
        self.framework_id = record.framework_id
        self.agent_id = record.agent_id
        self.role = record.role
        self.name = record.name
        self.resources = record.resources
        self.offer_id = record.offer_id
        self.state: TaskState = record.state
        self.status = record.status
        self.launch = record.launch
        self.kill_requested = record.kill_requested
        self.kill_reason: Reason | None = record.kill_reason
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
        self._details_json = b""

    @classmethod
    def stored(cls, record: bytes, names: dict[str, str]) -> Task:
        """One that the store holds. Its details are read when somebody asks for one of them. ``names``: one
        text for all tasks that say the same."""
        task = cls.__new__(cls)
        fields, task._details_json = parted(record)
        task.task_id, framework_id, agent_id, role, resources, state, flags, task.line, reason = fields
        task.framework_id = names.setdefault(framework_id, framework_id)
        task.agent_id = names.setdefault(agent_id, agent_id)
        task.role = names.setdefault(role, role)
        task.resources = Resources.parse(resources)
        task.state = _STATES[state]
        task.kill_requested = bool(flags & KILL_REQUESTED)
        task.revocable = bool(flags & REVOCABLE)
        task.waits = bool(flags & WAITS)
        task.kill_reason = Reason(reason) if reason else None
        task.number = None
        return task

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Of a stored task: a detail that nobody has asked for before. What was set since is newer."""
            if name not in DETAILS:
                raise AttributeError(name)
            details = TaskDetails.model_validate_json(self._details_json)
            for each in DETAILS:
                try:
                    getattr(type(self), each).__get__(self)
                except AttributeError:
                    setattr(self, each, getattr(details, each))
            self._details_json = b""
            return getattr(self, name)

    @property
    def holds(self) -> bool:
        """Whether it uses its agent's resources, slack aside."""
        return not (self.state.terminal or self.waits or self.revocable)

    @property
    def queue_key(self) -> QueueKey | None:
        """The line that it stands in, if it does."""
        return QueueKey(self.framework_id, self.role, self.line, self.resources) if self.line else None

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
