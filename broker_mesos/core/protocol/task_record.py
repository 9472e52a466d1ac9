"""A task in the store: two lines of JSON. The first one says what is read of every task when its cell gets
a new owner; there are so many that the second one, with all the rest, is read only when somebody asks for it.
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
"""Flags of a head."""


class TaskHead(NamedTuple):
    """The first line, an array. What a later version adds comes last, and is passed over here."""

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
    """The launch command's JSON while the agent has not confirmed it, so that it can be sent again."""
    created_at: float = 0.0
    # A factory, since a dict that is given as the default is copied deeply for each record.
    labels: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    status: TaskStatus | None = None
    """The latest status; of a terminal task the one that awaits acknowledgement."""


DETAILS = set(TaskDetails.model_fields)


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
    """Why the cell itself wants it to end; None if its framework or an operator does."""
    revocable: bool = False
    line: str = ""
    waits: bool = False
    """It stands in line and holds nothing: see TaskInfo.line."""

    @property
    def head(self) -> TaskHead:
        """The first line of it."""
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
        """As it is stored; JSON itself has no line feed."""
        details: bytes = self.__pydantic_serializer__.to_json(self, include=DETAILS, exclude_defaults=True)
        return json.dumps(self.head, separators=(",", ":")).encode() + b"\n" + details


def parted(stored: bytes) -> tuple[list[Any], bytes]:
    """The fields of a TaskHead, and the second line."""
    first, _, rest = stored.partition(b"\n")
    fields: list[Any] = _raw_decode(first.decode())[0]  # a quarter of the time of json.loads: there are many
    return fields if len(fields) == _FIELDS else fields[:_FIELDS], rest


def read_record(stored: bytes) -> TaskRecord:
    """All of it."""
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
