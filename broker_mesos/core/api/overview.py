"""Operator requests for the numbers of a cluster at a glance."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.cells import CellLoad
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.api.waiting import UnmetShape, WaitingTasks
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register

Amounts = dict[str, int | float]
"""Amounts of resources by name; ranges and sets are counted."""


class CellOverview(Part):
    """The numbers of one cell."""

    cell: int
    term: int
    owner: str
    agents: dict[str, int]
    """Number of agents by state, see ``agent_table.STATE_NAMES``."""
    tasks: dict[str, int]
    """Number of tasks by state, such as ``running``."""
    frameworks: dict[str, str]
    """State of each framework by id, at most 1,000 of them."""
    offers: int
    total: Amounts
    used: Amounts
    offered: Amounts
    unmet: tuple[UnmetShape, ...] = ()
    load: CellLoad | None = None


class OwnedCell(Part):
    """A cell with its owner and term."""

    cell: int
    owner: str
    term: int


class Overview(Part):
    """The numbers of all cells that have answered."""

    agents: dict[str, int] = Field(default_factory=dict)
    tasks: dict[str, int] = Field(default_factory=dict)
    frameworks: dict[str, int] = Field(default_factory=dict)
    """Number of frameworks by state."""
    offers: int = 0
    total: Amounts = Field(default_factory=dict)
    used: Amounts = Field(default_factory=dict)
    offered: Amounts = Field(default_factory=dict)
    waiting: tuple[WaitingTasks, ...] = ()
    """Tasks for which nothing is offered, by the reason; the most first."""
    waiting_tasks: int = 0
    waiting_jobs: int | None = None
    """Number of jobs with tasks that wait; None if the batch framework has not answered."""
    waiting_truncated: bool = False
    """Whether more wait than are counted."""
    jobs: dict[str, int] | None = None
    """Number of jobs that have not ended (``active``) and of all that are kept (``all``); None if the batch framework
    has not answered."""
    loads: tuple[CellLoad, ...] = ()
    cells: tuple[OwnedCell, ...] = ()
    missing: tuple[MissingCell, ...] = ()


@register
class GetCellOverview(Request):
    """Get the numbers of a cell: agents, tasks and frameworks by state, resources, and tasks that wait."""

    TYPE = "GET_CELL_OVERVIEW"
    RIGHT = Right.VIEW
    ANSWER = CellOverview
    ROUTE = Route.CELLS


@register
class GetOverview(Request):
    """Get the numbers of the cluster: agents, tasks, frameworks and jobs, resources, and tasks that wait, by the
    reason."""

    TYPE = "GET_OVERVIEW"
    RIGHT = Right.VIEW
    ANSWER = Overview
    ROUTE = Route.GATEWAY
    FOR_USERS = True
