"""Offers, and inverse offers, as frameworks receive them."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.part import Ident, Part, Short
from broker_mesos.core.model.reservation import Reservation, Volume
from broker_mesos.core.model.resources import Resources


class InverseOffer(Part):
    """An agent is wanted back."""

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
    """All of it, what is reserved included."""
    attributes: dict[str, str] = Field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    """The part of it that is reserved for the role, or for a role above it."""
    volumes: tuple[Volume, ...] = ()
    """Volumes that may be used; those that are not shared are in ``resources`` too, as ``volumes:{id}``."""
    revocable: bool = False
    """Slack: tasks on it are the first to go when the machine gets tight."""
    unavailability: Unavailability | None = None
    gang: Short = ""
    """The gang that it is meant for."""
    until: float | None = None
    """When it ends, in seconds since the epoch: of a gang that gathers. None: at the offer timeout."""
    spare: bool = False
    """It was made for a demand that is ``spare``."""

    @property
    def term(self) -> int:
        """Under which owner of its cell it was made: it ends with it. 0 if the id does not say."""
        parts = self.offer_id.split("-")
        return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else 0
