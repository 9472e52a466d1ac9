"""The state of a task in its cell."""

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
    """When a message that needs an answer is sent again."""

    at: float
    """Monotonic time of the next repeat, in seconds."""
    delay: float
    """Time between the last transmission and the next repeat, in seconds."""


class Task:
    """A task from its accepted launch until the acknowledgement of its end."""

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
    """The latest status."""
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
        """Number of the command that launches the task (a lower bound of it before it is sent); 0 if it was launched
        in an earlier session, and None if an earlier owner sent the command."""
        self._details_json = b""

    @classmethod
    def stored(cls, record: bytes, names: dict[str, str]) -> Task:
        """A task from its record in the store. Its details are decoded when one of them is first used. ``names`` has
        texts by themselves, so that tasks with equal ids and roles share one text."""
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
            """Decode the details of a stored task when one is first used. Attributes that were set since are newer
            and are kept."""
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
        """Whether it uses resources of its agent other than slack."""
        return not (self.state.terminal or self.waits or self.revocable)

    @property
    def queue_key(self) -> QueueKey | None:
        """The key of its task queue; None if it is not queued."""
        return QueueKey(self.framework_id, self.role, self.line, self.resources) if self.line else None

    def record(self) -> TaskRecord:
        """The record of the task for the store."""
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
