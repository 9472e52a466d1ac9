"""Operator requests about all cells; the gateway merges the answers of the cells."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellLoad, CellPart, FrameworkSummary, OfferView, PartsRequest, TaskView
from broker_mesos.core.api.request import Right, Route
from broker_mesos.core.api.roles import RoleSummary
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class MissingCell(Part):
    """A cell whose part of an answer is missing, and the reason."""

    cell: int
    reason: str


class FrameworkTotal(FrameworkSummary):
    """A framework over all cells. Ranges and sets of resources are counted, not listed."""

    shapes: tuple[Shape, ...] | None = None
    """The part of its stated demand that no cell has met, at most 100 shapes; None if it has stated none, and any offer
    is wanted."""
    shapes_truncated: bool = False
    """Whether there may be more shapes."""


class RoleTotal(RoleSummary):
    """A role over all cells. Ranges and sets of resources are counted, not listed."""


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
class GetState(PartsRequest):
    """Get parts of all cells. Agents are ordered by host, frameworks by id, offers by cell; running tasks come before
    those that have ended, the latest first."""

    TYPE = "GET_STATE"
    RIGHT = Right.VIEW
    ANSWER = StateView
    ROUTE = Route.GATEWAY
    FOR_USERS = True
