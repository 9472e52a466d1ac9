"""The state of an open offer in its cell."""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import OfferDetails, ShapeKey
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources


class OpenOffer(OfferDetails):
    """An offer that has not been answered, with its agent and its framework."""

    __slots__ = ("agent", "framework")

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
        self.framework_id = framework.ident
        self.agent = agent
        self.role = role
        self.resources = resources
        self.created_at = created_at
        self.shape_counts = shape_counts
        self.demand = framework.demand.version
        self.spare = framework.demand.spare
        self.reservations = reservations
        self.revocable = revocable
        self.gang = gang
        self.until = until
