"""Operator requests about reservations on agents, and about volumes made of reserved disk.

Each request names an agent. The agent's cell answers it when the change is committed, with the reservations and
volumes after the change. A repeat with the same ``request_id`` changes nothing and is answered like the first one.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Ident, Part, Short
from broker_mesos.core.model.reservation import Operation, Reservation, Volume
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.wire import register


class ReservationView(Part):
    """A reservation on an agent, without the reservations that refine it. Its volumes are in its resources as
    ``volumes:{id}``."""

    reservation: Reservation
    unused: Resources
    """The part of the reservation that is neither used by a task nor in an open offer."""


class VolumeView(Part):
    """A volume, and the tasks that use it."""

    volume: Volume
    tasks: tuple[str, ...] = ()
    """Ids of the tasks that use the volume, at most 100."""


class ReservationsView(Part):
    """The reservations and volumes of an agent."""

    agent_id: str
    cell: int
    reservations: tuple[ReservationView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()


class ReservationRequest(Request):
    """A request about one agent."""

    ANSWER = ReservationsView
    ROUTE = Route.CELL
    FOR_USERS = True
    agent_id: Ident
    request_id: str = Field(default="", max_length=64)

    @property
    def named_role(self) -> str:
        return getattr(self, "role", "") or ""

    def operation(self) -> Operation:
        """The operation that the cell carries out."""
        raise NotImplementedError


@register
class ReserveResources(ReservationRequest):
    """Reserve free resources of an agent for a role, or (``refine``) for a role below the one that they are
    reserved for. Offers of these resources are rescinded; the request is refused if tasks use them."""

    TYPE = "RESERVE_RESOURCES"
    RIGHT = Right.HOLDINGS
    role: Short
    resources: Resources
    labels: dict[str, str] = Field(default_factory=dict)
    refine: Short = ""

    def operation(self) -> Operation:
        return Operation(
            type="RESERVE",
            operation_id=self.request_id,
            role=self.role,
            resources=self.resources,
            labels=self.labels,
            refine=self.refine,
        )


@register
class UnreserveResources(ReservationRequest):
    """Give reserved resources back to all roles, or to the role above that they were refined from. The request is
    refused for resources in use, for static reservations, and for disk that is a volume."""

    TYPE = "UNRESERVE_RESOURCES"
    RIGHT = Right.HOLDINGS
    role: Short
    resources: Resources
    labels: dict[str, str] = Field(default_factory=dict)

    def operation(self) -> Operation:
        return Operation(
            type="UNRESERVE",
            operation_id=self.request_id,
            role=self.role,
            resources=self.resources,
            labels=self.labels,
        )


@register
class CreateVolume(ReservationRequest):
    """Make a persistent volume of ``size`` MB of an agent's disk that is reserved for a role."""

    TYPE = "CREATE_VOLUME"
    RIGHT = Right.HOLDINGS
    role: Short
    volume_id: Ident
    size: int = Field(ge=1, le=10**9)
    shared: bool = False
    labels: dict[str, str] = Field(default_factory=dict)

    def operation(self) -> Operation:
        volume = Volume(
            volume_id=self.volume_id,
            role=self.role,
            size=Resources.of(disk=self.size),
            shared=self.shared,
            labels=self.labels,
        )
        return Operation(type="CREATE", operation_id=self.request_id, volume=volume)


@register
class DestroyVolume(ReservationRequest):
    """Delete a volume with its data; its disk stays reserved. The request is refused while a task uses the
    volume."""

    TYPE = "DESTROY_VOLUME"
    RIGHT = Right.HOLDINGS
    volume_id: Ident

    def operation(self) -> Operation:
        return Operation(type="DESTROY", operation_id=self.request_id, volume_id=self.volume_id)
