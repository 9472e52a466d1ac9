"""Operator requests about masters and the ownership of cells. Answered by any master."""

from __future__ import annotations

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class HelloAnswer(Part):
    """The data that an agent or framework needs before it can send messages to a cell."""

    cluster: str
    cells: int
    max_term: int = 0
    """The lowest term that no owner can have: a day above the clock of the store, and above every term of the cluster;
    0 if the master has not reached its store yet."""


@register
class Hello(Request):
    """Get the name of the cluster and its number of cells."""

    TYPE = "HELLO"
    ANSWER = HelloAnswer
    ROUTE = Route.MASTER
    FOR_USERS = True
    agent_id: str = ""


class MasterView(Part):
    """A master that is alive."""

    master_id: str
    hostname: str
    pid: int
    version: str
    age: float
    """Time since its last heartbeat, in seconds."""
    policy: str = ""
    """The digest of the access policy that is in force at it; empty if it has none."""


class CellOwnership(Part):
    """The lease of a cell. ``owner`` is a master id, empty while no master owns the cell; ``age`` is the time since
    the last renewal, in seconds."""

    cell: int
    owner: str
    pid: int | None = None
    hostname: str = ""
    term: int
    age: float


class ClusterView(Part):
    """The masters and cells of the cluster."""

    cluster: str
    version: str
    masters: tuple[MasterView, ...]
    cells: tuple[CellOwnership, ...]


@register
class GetCluster(Request):
    """Get the masters, and the owner of each cell."""

    TYPE = "GET_CLUSTER"
    RIGHT = Right.VIEW
    ANSWER = ClusterView
    ROUTE = Route.MASTER
    FOR_USERS = True
