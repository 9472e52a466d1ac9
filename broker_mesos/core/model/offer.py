"""Offers, and inverse offers, as frameworks receive them."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.part import Ident, Part, Short, whole_number
from broker_mesos.core.model.reservation import Reservation, Volume
from broker_mesos.core.model.resources import Resources


class InverseOffer(Part):
    """A request to a framework to give an agent back in time for a planned absence."""

    agent_id: Ident
    framework_id: Ident
    unavailability: Unavailability


class Offer(Part):
    """A slice of one agent's free resources, promised to one framework."""

    offer_id: Ident
    framework_id: Ident
    agent_id: Ident
    cell: int
    hostname: str = ""
    role: str = "*"
    resources: Resources
    """All resources of the offer, including those that are reserved."""
    attributes: dict[str, str] = Field(default_factory=dict)
    isolation: tuple[Short, ...] = ()
    """What the agent holds tasks to; see ``AgentInfo.isolation``."""
    reservations: tuple[Reservation, ...] = ()
    """The part of the resources that is reserved for the role, or for a role above it."""
    volumes: tuple[Volume, ...] = ()
    """Volumes that tasks may use; those that are not shared are in ``resources`` too, as ``volumes:{id}``."""
    revocable: bool = False
    """Whether the offer is made of slack: tasks on it are the first to be killed when the machine runs short."""
    unavailability: Unavailability | None = None
    """The planned absence of the agent; None if none is planned."""
    gang: Short = ""
    """Name of the gang that the offer is meant for; empty if it is for no gang."""
    until: float | None = None
    """When the offer ends, in seconds since the epoch, if it is for the gang that has the gang token. None if it
    ends at the offer timeout."""
    spare: bool = False
    """Whether the offer was made for a demand that is ``spare``."""

    @property
    def term(self) -> int:
        """The term under which the offer was made, which is part of its id; the offer ends with that term. 0 if
        the id has no term."""
        parts = self.offer_id.split("-")
        return (whole_number(parts[1]) or 0) if len(parts) == 3 else 0
