"""The record of a task in the store: two lines of JSON. A new owner of a cell reads the first line of every task.
Since there are very many tasks, the second line, with the other fields, is decoded only when one of them is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, TypeAdapter

from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_history import Step
from broker_mesos.core.model.task_states import Reason, TaskState

KILL_REQUESTED, REVOCABLE, WAITS = 1, 2, 4
"""Bits of the flags in the first line."""
_FIELDS = 9
"""Number of fields of the first line that every record has. The next one, the shape, is left out if it is empty."""
_STATES = {state.value: state for state in TaskState}
_raw_decode = json.JSONDecoder().raw_decode


@dataclass(slots=True)
class TaskDetails:
    """The second line, an object. A field with its default value is left out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)

    name: str = ""
    offer_id: str = ""
    launch: str | None = None
    """The JSON of the launch command while the agent has not confirmed it, so that it can be sent again."""
    created_at: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    status: TaskStatus | None = None
    """The latest status; for a terminal task, the one that its framework has to acknowledge."""
    history: tuple[Step, ...] = ()
    """The states before the latest status; empty if the task was only staged, and began to run."""


_DETAILS = TypeAdapter(TaskDetails)


class TaskRecord:
    """A task from its accepted launch until its terminal status is acknowledged. Its own attributes are the first line,
    ``details`` is the second one."""

    __slots__ = (
        "_details",
        "_details_json",
        "agent_id",
        "framework_id",
        "kill_reason",
        "kill_requested",
        "queue",
        "resources",
        "revocable",
        "role",
        "shape",
        "state",
        "task_id",
        "waits",
    )

    def __init__(
        self,
        task_id: str,
        framework_id: str,
        agent_id: str,
        resources: Resources,
        *,
        role: str = "*",
        state: TaskState = TaskState.STAGING,
        revocable: bool = False,
        queue: str = "",
        waits: bool = False,
        shape: str = "",
        kill_requested: bool = False,
        kill_reason: Reason | None = None,
        details: TaskDetails | None = None,
    ) -> None:
        self.task_id = task_id
        self.framework_id = framework_id
        self.agent_id = agent_id
        self.role = role
        self.resources = resources
        self.state = state
        self.kill_requested = kill_requested
        self.kill_reason = kill_reason
        """The cell's own reason for killing the task; None if its framework or an operator kills it."""
        self.revocable = revocable
        self.queue = queue
        """Name of the task queue that the task belongs to; empty if it is not queued."""
        self.waits = waits
        """Whether the task waits in its task queue and occupies no resources; see TaskInfo.line."""
        self.shape = shape
        """Name of the shape as which it was demanded; see TaskInfo.shape."""
        self._details: TaskDetails | None = TaskDetails() if details is None else details
        self._details_json = b""

    @classmethod
    def decode(cls, stored: bytes, names: dict[str, str] | None = None) -> Self:
        """Decode a stored record. ``names`` has texts by themselves, so that the records that are decoded with it share
        equal ids and roles."""
        names = {} if names is None else names
        record = cls.__new__(cls)
        first, _, record._details_json = stored.partition(b"\n")
        fields: list[Any] = _raw_decode(first.decode())[0]  # a quarter of the time of json.loads: there are many
        # A later release may only append fields.
        record.task_id, framework_id, agent_id, role, resources, state, flags, record.queue, reason = fields[:_FIELDS]
        record.framework_id = names.setdefault(framework_id, framework_id)
        record.agent_id = names.setdefault(agent_id, agent_id)
        record.role = names.setdefault(role, role)
        record.resources = Resources.parse(resources)
        record.state = _STATES[state]
        record.shape = fields[_FIELDS] if len(fields) > _FIELDS else ""
        record.kill_requested = bool(flags & KILL_REQUESTED)
        record.revocable = bool(flags & REVOCABLE)
        record.waits = bool(flags & WAITS)
        record.kill_reason = Reason(reason) if reason else None
        record._details = None
        return record

    @property
    def details(self) -> TaskDetails:
        """The other fields. Those of a stored record are decoded when they are first used."""
        if self._details is None:
            self._details = _DETAILS.validate_json(self._details_json)
            self._details_json = b""
        return self._details

    def encode(self) -> bytes:
        """The record as it is stored. The JSON of each line contains no line feed."""
        head: tuple[Any, ...] = (
            self.task_id,
            self.framework_id,
            self.agent_id,
            self.role,
            str(self.resources),
            self.state,
            self.kill_requested * KILL_REQUESTED | self.revocable * REVOCABLE | self.waits * WAITS,
            self.queue,
            self.kill_reason or "",
        )
        if self.shape:
            head += (self.shape,)
        details = self._details
        text = self._details_json if details is None else _DETAILS.dump_json(details, exclude_defaults=True)
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + text
