"""The client's calls for reservations and volumes."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeVar

from broker_mesos.client.requests import made
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.reservations import (
    CreateVolume,
    DestroyVolume,
    ReservationsView,
    ReserveResources,
    UnreserveResources,
)
from broker_mesos.core.model.part import Part

P = TypeVar("P", bound=Part)


class ReservationCalls(ABC):
    """Reserves resources of agents, and makes volumes. Every call answers when the change is committed, with
    all that the agent holds then; it raises NotFound, InvalidInput, or Conflict for what is not free."""

    @abstractmethod
    def ask(self, request: Request, kind: type[P], timeout: float | None = None) -> P:
        """Any request of the operator API."""

    def reserve(
        self,
        agent_id: str,
        role: str,
        resources: str,
        *,
        labels: Mapping[str, str] | None = None,
        refine: str = "",
    ) -> ReservationsView:
        """Reserve resources, such as ``cpus:2;mem:1024``, for a role and those below it; with ``refine``, out
        of what is reserved for that role above it. Open offers that stand in the way are rescinded."""
        request = made(
            ReserveResources,
            agent_id=agent_id,
            request_id=secrets.token_hex(8),
            role=role,
            resources=resources,
            labels=dict(labels or {}),
            refine=refine,
        )
        return self.ask(request, ReservationsView)

    def unreserve(
        self, agent_id: str, role: str, resources: str, *, labels: Mapping[str, str] | None = None
    ) -> ReservationsView:
        """Give back what is reserved with these labels, and unused."""
        request = made(
            UnreserveResources,
            agent_id=agent_id,
            request_id=secrets.token_hex(8),
            role=role,
            resources=resources,
            labels=dict(labels or {}),
        )
        return self.ask(request, ReservationsView)

    def create_volume(
        self, agent_id: str, role: str, volume_id: str, size: int, *, shared: bool = False
    ) -> ReservationsView:
        """Make a volume of ``size`` MB of disk that is reserved for the role."""
        request = made(
            CreateVolume,
            agent_id=agent_id,
            request_id=secrets.token_hex(8),
            role=role,
            volume_id=volume_id,
            size=size,
            shared=shared,
        )
        return self.ask(request, ReservationsView)

    def destroy_volume(self, agent_id: str, volume_id: str) -> ReservationsView:
        """Delete a volume with its data; its disk stays reserved."""
        request = made(DestroyVolume, agent_id=agent_id, request_id=secrets.token_hex(8), volume_id=volume_id)
        return self.ask(request, ReservationsView)
