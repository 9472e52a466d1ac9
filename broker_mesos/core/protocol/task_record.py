"""The record of a task in the store: two lines of JSON. A new owner of a cell reads the first line of every task.
Since there are very many tasks, the second line, with the other fields, is decoded only when one of them is used.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic import Field

from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState

KILL_REQUESTED, REVOCABLE, WAITS = 1, 2, 4
"""Bits of ``TaskHead.flags``."""


class TaskHead(NamedTuple):
    """The first line, an array. A later version may only append fields, which this version ignores."""

    task_id: str
    framework_id: str
    agent_id: str
    role: str
    resources: str
    state: str
    flags: int
    line: str
    kill_reason: str


_FIELDS = len(TaskHead._fields)
_raw_decode = json.JSONDecoder().raw_decode


class TaskDetails(Part):
    """The second line, an object."""

    name: str = ""
    offer_id: str = ""
    launch: str | None = None
    """The JSON of the launch command while the agent has not confirmed it, so that it can be sent again."""
    created_at: float = 0.0
    # A factory, since a dict that is given as the default is copied deeply for each record.
    labels: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    status: TaskStatus | None = None
    """The latest status; for a terminal task, the one that its framework has to acknowledge."""


DETAILS = set(TaskDetails.model_fields)
"""Names of the fields of the second line."""


class TaskRecord(TaskDetails):
    """A task from its accepted launch until its terminal status is acknowledged."""

    task_id: str
    framework_id: str
    agent_id: str
    role: str = "*"
    resources: Resources
    state: TaskState = TaskState.STAGING
    kill_requested: bool = False
    kill_reason: Reason | None = None
    """The cell's own reason for killing the task; None if its framework or an operator kills it."""
    revocable: bool = False
    line: str = ""
    """Name of the task queue that the task belongs to; empty if it is not queued."""
    waits: bool = False
    """Whether the task waits in its task queue and occupies no resources; see TaskInfo.line."""

    @property
    def head(self) -> TaskHead:
        """The fields of the first line."""
        return TaskHead(
            self.task_id,
            self.framework_id,
            self.agent_id,
            self.role,
            str(self.resources),
            self.state,
            self.kill_requested * KILL_REQUESTED | self.revocable * REVOCABLE | self.waits * WAITS,
            self.line,
            self.kill_reason or "",
        )

    def encode(self) -> bytes:
        """The record as it is stored. The JSON of each line contains no line feed."""
        details: bytes = self.__pydantic_serializer__.to_json(self, include=DETAILS, exclude_defaults=True)
        return json.dumps(self.head, separators=(",", ":")).encode() + b"\n" + details


def parted(stored: bytes) -> tuple[list[Any], bytes]:
    """Split a stored record into the fields of its TaskHead and the undecoded second line."""
    first, _, rest = stored.partition(b"\n")
    fields: list[Any] = _raw_decode(first.decode())[0]  # a quarter of the time of json.loads: there are many
    return fields if len(fields) == _FIELDS else fields[:_FIELDS], rest


def read_record(stored: bytes) -> TaskRecord:
    """Decode a whole stored record."""
    fields, details = parted(stored)
    head = TaskHead._make(fields)
    return TaskRecord(
        **TaskDetails.model_validate_json(details).__dict__,
        task_id=head.task_id,
        framework_id=head.framework_id,
        agent_id=head.agent_id,
        role=head.role,
        resources=Resources.parse(head.resources),
        state=TaskState(head.state),
        kill_requested=bool(head.flags & KILL_REQUESTED),
        kill_reason=Reason(head.kill_reason) if head.kill_reason else None,
        revocable=bool(head.flags & REVOCABLE),
        line=head.line,
        waits=bool(head.flags & WAITS),
    )
