"""The data of an open offer without references to its agent and its framework, which ``OpenOffer`` adds."""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import PlacementRules
from broker_mesos.core.model.port_numbers import with_count
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources

ShapeKey = tuple[Resources, str, tuple[Constraint, ...], str, bool, tuple[str, ...], PlacementRules | None]
"""The key that distinguishes the shapes of a demand: ``Shape.key``."""


def whole_of(kind: ShapeKey) -> Resources:
    """What each task of a shape needs. If it needs a number of ports, ranges are counted."""
    rules = kind[6]
    return with_count(kind[0], rules.ports) if rules is not None and rules.ports else kind[0]


class OfferDetails:
    """An offer that has not been answered, as its agent and its framework refer to it."""

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
    """Monotonic time at which it was made, in seconds."""
    shape_counts: Mapping[ShapeKey, int]
    """Number of tasks of each shape that the offer is made for; empty if the framework has stated no demand."""
    demand: int
    """Version of the demand that it was made for."""
    spare: bool
    """Whether it was made for a spare demand; see ``Demand.spare``."""
    reservations: tuple[Reservation, ...]
    revocable: bool
    gang: str
    until: float | None
    """Monotonic time at which it ends, in seconds; None if it ends at the offer timeout."""
