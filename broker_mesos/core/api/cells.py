"""Operator requests about one cell: its frameworks, tasks and offers. Answered by the owner of the cell."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.paging import MAX_CURSOR
from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.api.roles import RoleView
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.part import Part, TaskId
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.records import FrameworkStatus
from broker_mesos.core.protocol.wire import register


class FrameworkView(Part):
    """A framework as one cell sees it."""

    framework_id: str
    cell: int
    name: str
    roles: tuple[str, ...]
    state: FrameworkStatus
    wanted: bool
    allocated: Resources
    offered: Resources
    tasks: int
    offers: int
    dominant_share: float
    registered_at: float = 0.0
    shapes: tuple[Shape, ...] | None = None
    """Its stated demand, as far as this cell has not met it."""


class TaskView(Part):
    """A task that a cell holds, or one of its recently completed ones."""

    task_id: str
    cell: int
    framework_id: str
    agent_id: str
    role: str
    name: str
    resources: Resources
    state: TaskState
    status: TaskStatus | None = None
    created_at: float = 0.0


class OfferView(Part):
    """An open offer."""

    offer_id: str
    cell: int
    framework_id: str
    agent_id: str
    resources: Resources
    age: float


class CellLoad(Part):
    """How much a cell's owner has to do. Times are in seconds; None while there was no round."""

    cell: int
    behind: float
    """Since when something lies in its inbox that it has not read."""
    decisions: int
    """Of this owner, so far."""
    rounds: int
    """Of allocation, so far."""
    round_p50: float | None = None
    """Of its latest decisions that held a round of allocation."""
    round_p99: float | None = None


CellPart = Literal["agents", "frameworks", "tasks", "offers", "roles"]


class CellView(Part):
    """What was asked for of one cell."""

    cell: int
    term: int
    owner: str
    agents: tuple[AgentView, ...] = ()
    frameworks: tuple[FrameworkView, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    offers: tuple[OfferView, ...] = ()
    roles: tuple[RoleView, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    """Sizes of all parts, asked for or not."""
    load: CellLoad | None = None
    truncated: tuple[CellPart, ...] = ()
    """Parts of which there is more than what is here."""


@register
class GetCell(Request):
    """Parts of a cell, each in its order (``paging.py``). ``task_id``, ``framework_id`` and ``agent_id``
    narrow them down."""

    TYPE = "GET_CELL"
    ANSWER = CellView
    ROUTE = Route.CELLS
    parts: tuple[CellPart, ...] = ()
    task_id: str = ""
    framework_id: str = ""
    agent_id: str = ""
    limit: int = Field(default=500, ge=0, le=2_000)
    """Entries of each part at most, other than roles, which are never cut."""
    after: str = Field(default="", max_length=MAX_CURSOR)
    """The cursor of the page before, for one part alone."""


class KillTaskAnswer(Part):
    """Whether this cell knew the task and asked its agent to kill it."""

    known: bool
    unreachable: str = ""
    """The task's agent, if it is unreachable: it kills the task when it comes back."""


@register
class KillTask(Request):
    """Kill one task of any framework, by hand."""

    TYPE = "KILL_TASK"
    ANSWER = KillTaskAnswer
    ROUTE = Route.CELLS
    FOR_USERS = True
    task_id: TaskId
