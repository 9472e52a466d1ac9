"""Operator requests about all cells; the gateway merges the answers of the cells."""

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
    """A cell whose part of an answer is missing, and the reason."""

    cell: int
    reason: str


class FrameworkTotal(Part):
    """A framework over all cells. Ranges and sets of resources are counted, not listed."""

    framework_id: str
    name: str
    roles: tuple[str, ...]
    state: FrameworkStatus
    wanted: bool
    """Whether it receives offers from any cell."""
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
    """Allocated and offered resources of the role and of all roles below it."""
    dominant_share: float
    """The dominant share of ``held``."""
    guarantee: Resources = Resources.EMPTY
    limit: str = ""
    """The limit, such as ``cpus:8;gpus:0``; empty if there is none."""
    preempts: bool = False


class StateView(Part):
    """The requested parts of all cells. The answer is not complete if ``missing`` is not empty."""

    agents: tuple[AgentView, ...] = ()
    frameworks: tuple[FrameworkTotal, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    offers: tuple[OfferView, ...] = ()
    roles: tuple[RoleTotal, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    """Number of entries of every part, whether it was requested or not."""
    loads: tuple[CellLoad, ...] = ()
    """The loads of the cells' owners, ordered by cell."""
    missing: tuple[MissingCell, ...] = ()
    truncated: tuple[CellPart, ...] = ()
    """Parts that have more entries than this answer contains."""
    after: str = ""
    """The ``after`` for the request of the next page, if one part was requested and it is cut; else empty."""


@register
class GetState(Request):
    """Get parts of all cells. Agents are ordered by host, frameworks by id, offers by cell; running tasks come before
    those that have ended, the latest first."""

    TYPE = "GET_STATE"
    ANSWER = StateView
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    parts: tuple[CellPart, ...] = ()
    task_id: str = ""
    framework_id: str = ""
    agent_id: str = ""
    limit: int = Field(default=500, ge=0, le=2_000)
    """The largest number of entries of each part, other than roles, which are never cut."""
    after: str = Field(default="", max_length=MAX_CURSOR)
    """The cursor of the previous page. It is allowed only if one part is requested."""
