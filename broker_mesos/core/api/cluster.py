"""Operator requests about masters and the ownership of cells. Answered by any master."""

from __future__ import annotations

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class HelloAnswer(Part):
    """What an agent or framework must know before it speaks to a cell."""

    cluster: str
    cells: int


@register
class Hello(Request):
    """Who are you, and how many cells are there?"""

    TYPE = "HELLO"
    ANSWER = HelloAnswer
    ROUTE = Route.MASTER
    FOR_USERS = True
    agent_id: str = ""


class MasterView(Part):
    """A living master."""

    master_id: str
    hostname: str
    pid: int
    version: str
    age: float
    """Seconds since its last beat."""


class CellOwnership(Part):
    """A cell's lease. ``owner`` is a master id, empty while nobody owns it."""

    cell: int
    owner: str
    pid: int | None = None
    hostname: str = ""
    term: int
    age: float


class ClusterView(Part):
    """Masters and cells."""

    cluster: str
    version: str
    masters: tuple[MasterView, ...]
    cells: tuple[CellOwnership, ...]


@register
class GetCluster(Request):
    """Masters, and who owns which cell."""

    TYPE = "GET_CLUSTER"
    ANSWER = ClusterView
    ROUTE = Route.MASTER
    FOR_USERS = True
