"""Requests that no single daemon answers: the gateway puts their answers together.

Beside these a user sends GET_CLUSTER, GET_TASK and the requests about jobs of ``core.operator``.
"""

from __future__ import annotations

import base64
from typing import Literal

from pydantic import Field

from broker_mesos.core.health import MasterReport
from broker_mesos.core.messages import Part, TaskId, register
from broker_mesos.core.operator import (
    AgentView,
    CellLoad,
    CellPart,
    JobSummary,
    OfferView,
    Request,
    SubmitJob,
    TaskView,
    WaitJob,
)
from broker_mesos.core.records import FrameworkState
from broker_mesos.core.resources import Resources


class MissingCell(Part):
    """A cell whose part of an answer is missing, and why."""

    cell: int
    reason: str


class FrameworkTotal(Part):
    """A framework over all cells. Ranges and sets of resources are counted, not listed."""

    framework_id: str
    name: str
    roles: tuple[str, ...]
    state: FrameworkState
    wanted: bool
    """Whether it wants offers from any cell."""
    allocated: Resources
    offered: Resources
    tasks: int
    offers: int
    dominant_share: float
    registered_at: float = 0.0


class RoleTotal(Part):
    """A role over all cells. Ranges and sets of resources are counted, not listed."""

    role: str
    weight: float
    frameworks: int
    allocated: Resources
    offered: Resources
    held: Resources = Resources.EMPTY
    """Both, and those of all roles below it."""
    dominant_share: float
    """Of ``held``."""
    guarantee: Resources = Resources.EMPTY
    limit: str = ""
    """As ``cpus:8;gpus:0``; empty: none."""
    preempts: bool = False


class StateView(Part):
    """What was asked for, of all cells together. Not complete while ``missing`` is not empty."""

    agents: tuple[AgentView, ...] = ()
    frameworks: tuple[FrameworkTotal, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    offers: tuple[OfferView, ...] = ()
    roles: tuple[RoleTotal, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    """Sizes of all parts, asked for or not."""
    loads: tuple[CellLoad, ...] = ()
    """Of the cells, ascending."""
    missing: tuple[MissingCell, ...] = ()


@register
class GetState(Request):
    """Parts of all cells, put together: agents by host, tasks that run before those that ended."""

    TYPE = "GET_STATE"
    ANSWER = StateView
    parts: tuple[CellPart, ...] = ()
    task_id: str = ""
    framework_id: str = ""
    agent_id: str = ""
    limit: int = Field(default=500, ge=0, le=2_000)
    """Most entries of one part taken from one cell."""


class HealthView(Part):
    """What the masters find that answered, each once; ``expected`` is how many live, by the store."""

    masters: tuple[MasterReport, ...]
    expected: int


@register
class GetHealth(Request):
    """How the masters find their servers, and the cells' queues."""

    TYPE = "GET_HEALTH"
    ANSWER = HealthView


class LogChunk(Part):
    """Part of a task's output; ``data`` is base64."""

    task_id: str
    """The full id, whatever short form was asked for."""
    agent_id: str = ""
    data: str = ""
    offset: int = 0
    size: int = 0
    ended: bool = False
    """The task is over and nothing follows."""

    def bytes(self) -> bytes:
        """The bytes of the chunk."""
        return base64.b64decode(self.data)


@register
class ReadLog(Request):
    """Read a task's output: at most 64 KiB. At its end, or before the task runs, the answer waits up to
    ``wait`` seconds for something to come."""

    TYPE = "READ_LOG"
    ANSWER = LogChunk
    task_id: TaskId
    """A task id, ``JOB.INDEX`` (its latest attempt) or ``JOB``."""
    name: Literal["stdout", "stderr"] = "stdout"
    offset: int = Field(default=0, ge=0)
    length: int = Field(default=65_536, ge=1, le=65_536)
    wait: float = Field(default=0.0, ge=0, le=10)


class Killed(Part):
    """What a kill reached."""

    kind: Literal["job", "task"]
    job: JobSummary | None = None
    """The job, or the job of the task, if it is one of the batch framework's."""


@register
class KillById(Request):
    """End a job or a task, whichever has this id. Idempotent."""

    TYPE = "KILL_BY_ID"
    ANSWER = Killed
    id: TaskId


def waits(request: Request) -> float:
    """Seconds that a request itself asks its answer to be held back at most; time limits come on top."""
    if isinstance(request, WaitJob):
        return request.seconds
    return request.wait if isinstance(request, ReadLog | SubmitJob) else 0.0
