"""Operator requests about what agents hold for roles: reservations, and volumes made of reserved disk.

Each names an agent and is answered by its cell when the change is committed, with what the agent holds then.
A repeat with the same ``request_id`` changes nothing and is answered as the first one was.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Ident, Part, Short
from broker_mesos.core.model.reservation import Operation, Reservation, Volume
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.wire import register


class ReservationView(Part):
    """What is reserved of an agent, without what others refine of it; its volumes are in it as
    ``volumes:{id}``."""

    reservation: Reservation
    unused: Resources
    """The part that neither a task nor an open offer holds."""


class VolumeView(Part):
    """A volume, and the tasks that use it."""

    volume: Volume
    tasks: tuple[str, ...] = ()
    """Ids, at most 100."""


class ReservationsView(Part):
    """What an agent holds for others."""

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

    def operation(self) -> Operation:
        """What the cell shall carry out."""
        raise NotImplementedError


@register
class ReserveResources(ReservationRequest):
    """Reserve free resources of an agent for a role, or (``refine``) for a role below the one that they are
    reserved for. Offers that stand in the way are rescinded; refused if tasks do."""

    TYPE = "RESERVE_RESOURCES"
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
    """Give reserved resources back to everybody, or to the role above that they were refined from. Refused
    for what is in use, for static reservations, and for disk that is a volume."""

    TYPE = "UNRESERVE_RESOURCES"
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
    """Delete a volume with its data; its disk stays reserved. Refused while a task uses it."""

    TYPE = "DESTROY_VOLUME"
    volume_id: Ident

    def operation(self) -> Operation:
        return Operation(type="DESTROY", operation_id=self.request_id, volume_id=self.volume_id)
