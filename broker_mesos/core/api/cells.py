"""Operator requests about one cell: its frameworks, tasks and offers. Answered by the owner of the cell."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.paging import MAX_CURSOR
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.api.roles import RoleView
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.part import Part, TaskId
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import ANYBODY
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_history import TaskStep
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.records import FrameworkStatus
from broker_mesos.core.protocol.wire import register


class FrameworkSummary(Part):
    """A framework, in one cell or over all of them."""

    framework_id: str
    name: str
    roles: tuple[str, ...]
    state: FrameworkStatus
    wanted: bool
    """Whether it receives offers from the cell, or from any of them."""
    allocated: Resources
    offered: Resources
    tasks: int
    offers: int
    dominant_share: float
    registered_at: float = 0.0
    declined: dict[str, int] = Field(default_factory=dict)
    """Number of offers that it has declined in the last 5 minutes, by its reason. An owner counts from the beginning of
    its term on."""
    withdrawn: dict[str, int] = Field(default_factory=dict)
    """Number of offers that were withdrawn from it in the last 5 minutes, by the reason."""


class FrameworkView(FrameworkSummary):
    """The state of a framework in one cell."""

    cell: int
    shapes: tuple[Shape, ...] | None = None
    """The part of the framework's stated demand that this cell has not met; None if it has stated none."""
    met: tuple[Shape, ...] = ()
    """The part that it has met, by launches and by open offers."""


class TaskView(Part):
    """A task of a cell, or one of its recently completed tasks."""

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
    history: tuple[TaskStep, ...] = ()
    """The states that it has been in, at most 16; only in an answer about one task."""
    history_truncated: bool = False
    """Whether states are left out of the history."""


class OfferView(Part):
    """An open offer."""

    offer_id: str
    cell: int
    framework_id: str
    agent_id: str
    resources: Resources
    age: float
    """Time since it was made, in seconds."""
    role: str = ANYBODY
    expires_in: float | None = None
    """Time until it ends unless it is answered, in seconds; more while the owner of the cell is behind. None if the
    cell is of an earlier release."""


class CellLoad(Part):
    """The load of a cell's owner. Times are in seconds."""

    cell: int
    behind: float
    """Time for which the cell's inbox has contained messages that the owner has not read, in seconds."""
    decisions: int
    """Number of decisions that this owner has made."""
    rounds: int
    """Number of rounds of allocation that this owner has computed."""
    round_p50: float | None = None
    """Median duration of the latest decisions with a round of allocation, in seconds; None if there was none."""
    round_p99: float | None = None
    """99th percentile of the same durations, in seconds."""


CellPart = Literal["agents", "frameworks", "tasks", "offers", "roles"]


class CellView(Part):
    """The requested parts of one cell."""

    cell: int
    term: int
    owner: str
    agents: tuple[AgentView, ...] = ()
    frameworks: tuple[FrameworkView, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    offers: tuple[OfferView, ...] = ()
    roles: tuple[RoleView, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    """Number of entries of every part, whether it was requested or not."""
    load: CellLoad | None = None
    truncated: tuple[CellPart, ...] = ()
    """Parts that have more entries than this answer contains."""


class PartsRequest(Request):
    """The base class of requests for parts of a cell, or of all cells."""

    parts: tuple[CellPart, ...] = ()
    task_id: str = ""
    framework_id: str = ""
    agent_id: str = ""
    limit: int = Field(default=500, ge=0, le=2_000)
    """The largest number of entries of each part, other than roles, which are never cut."""
    after: str = Field(default="", max_length=MAX_CURSOR)
    """The cursor of the previous page. It is allowed only if one part is requested."""


@register
class GetCell(PartsRequest):
    """Get parts of a cell, each in its order (``paging.py``), filtered by ``task_id``, ``framework_id`` and
    ``agent_id`` if these are given."""

    TYPE = "GET_CELL"
    RIGHT = Right.VIEW
    ANSWER = CellView
    ROUTE = Route.CELLS


class KillTaskAnswer(Part):
    """The answer to KILL_TASK. ``known``: whether this cell knew the task and has sent the kill to its agent."""

    known: bool
    unreachable: str = ""
    """Id of the task's agent if the agent is unreachable; it kills the task when it returns."""


@register
class KillTask(Request):
    """Kill one task of any framework."""

    TYPE = "KILL_TASK"
    RIGHT = Right.KILL_ANY
    ANSWER = KillTaskAnswer
    ROUTE = Route.CELLS
    FOR_USERS = True
    task_id: TaskId
