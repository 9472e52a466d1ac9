"""What an offer says of itself; the agent and the framework that it is about belong to ``OpenOffer``."""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources

ShapeKey = tuple[Resources, str, tuple[Constraint, ...], str, bool]
"""What tells shapes of a demand apart: ``Shape.key``."""


class OfferDetails:
    """An offer that nobody has answered yet, as its agent and its framework know it."""

    __slots__ = (
        "created_at",
        "demand",
        "framework_id",
        "gang",
        "offer_id",
        "reservations",
        "resources",
        "revocable",
        "role",
        "shape_counts",
        "spare",
        "until",
    )
    offer_id: str
    framework_id: str
    role: str
    resources: Resources
    created_at: float
    """Monotonic time, in seconds."""
    shape_counts: Mapping[ShapeKey, int]
    """How many tasks of which shapes it is meant for; empty where no demand was stated."""
    demand: int
    """The version that it was made for."""
    spare: bool
    """Whether it is for tasks that may come."""
    reservations: tuple[Reservation, ...]
    revocable: bool
    gang: str
    until: float | None
    """Monotonic time at which it ends, in seconds; None: at the offer timeout."""
