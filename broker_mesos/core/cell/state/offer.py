"""An offer as its cell knows it."""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.framework import Framework, ShapeKey
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources


class OpenOffer:
    """An offer that nobody has answered yet."""

    __slots__ = (
        "agent",
        "created_at",
        "demand",
        "framework",
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

    def __init__(
        self,
        offer_id: str,
        framework: Framework,
        agent: Agent,
        role: str,
        resources: Resources,
        created_at: float,
        *,
        shape_counts: Mapping[ShapeKey, int],
        reservations: tuple[Reservation, ...] = (),
        revocable: bool = False,
        gang: str = "",
        until: float | None = None,
    ) -> None:
        self.offer_id = offer_id
        self.framework = framework
        self.agent = agent
        self.role = role
        self.resources = resources
        self.created_at = created_at
        self.shape_counts = shape_counts
        """How many tasks of which shapes it is meant for; empty where no demand was stated."""
        self.demand = framework.demand.version
        """The version that it was made for."""
        self.spare = framework.demand.spare
        self.reservations = reservations
        self.revocable = revocable
        self.gang = gang
        self.until = until
        """Monotonic time at which it ends; None: at the offer timeout."""
