"""Operator requests about all cells together: the gateway merges the answers of the cells."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellLoad, CellPart, OfferView, TaskView
from broker_mesos.core.api.paging import MAX_CURSOR
from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import FrameworkStatus
from broker_mesos.core.protocol.wire import register


class MissingCell(Part):
    """A cell whose part of an answer is missing, and why."""

    cell: int
    reason: str


class FrameworkTotal(Part):
    """A framework over all cells. Ranges and sets of resources are counted, not listed."""

    framework_id: str
    name: str
    roles: tuple[str, ...]
    state: FrameworkStatus
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
    truncated: tuple[CellPart, ...] = ()
    """Parts of which there is more than what is here."""
    after: str = ""
    """Where the next page begins, if one part was asked for and it is cut: the ``after`` of the next request."""


@register
class GetState(Request):
    """Parts of all cells, put together: agents by host, frameworks by id, offers by cell, tasks that run
    before those that have ended, and the latest first."""

    TYPE = "GET_STATE"
    ANSWER = StateView
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    parts: tuple[CellPart, ...] = ()
    task_id: str = ""
    framework_id: str = ""
    agent_id: str = ""
    limit: int = Field(default=500, ge=0, le=2_000)
    """Entries of each part at most, other than roles, which are never cut."""
    after: str = Field(default="", max_length=MAX_CURSOR)
    """The cursor of the page before, for one part alone."""
