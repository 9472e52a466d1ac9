"""Operator requests about maintenance: draining agents, taking them back, planning when they are away.

Each names agents, wherever they are, and is answered with how these stand. A request that changes something
is answered when that is committed; repeated, it changes nothing. Unknown agents are an error, and nothing is
changed then.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.core.protocol.wire import register

MAX_START = 1e11
"""Seconds since the epoch: what lies beyond can only be meant in other units."""
MAX_DURATION_SECONDS = 10 * 366 * 86_400.0
"""Seconds that an absence may last."""


class AgentMaintenance(Part):
    """An agent's part in maintenance."""

    agent_id: str
    cell: int
    hostname: str = ""
    state: AgentStatus
    maintenance: str = ""
    """draining, drained, deactivated, or nothing."""
    scheduled: bool = False
    """The schedule began the drain, and ends it."""
    tasks: int = 0
    """Those that run there now."""
    unavailability: Unavailability | None = None
    """When it is planned to be away."""
    accepted: tuple[str, ...] = ()
    """Frameworks that agree to go."""
    declined: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    """Frameworks with tasks there that have not answered."""


class MaintenanceView(Part):
    """Agents and what is planned for them."""

    agents: tuple[AgentMaintenance, ...] = ()
    missing: tuple[int, ...] = ()
    """Cells that did not answer."""


class AgentsRequest(Request):
    """A request about agents, by id."""

    ANSWER = MaintenanceView
    ROUTE = Route.CELLS
    FOR_USERS = True
    agent_ids: tuple[Ident, ...] = Field(min_length=1, max_length=1_000)


@register
class DrainAgents(AgentsRequest):
    """Offer nothing of these agents any more, and kill their tasks: ``grace`` caps, in seconds, the time
    between SIGTERM and SIGKILL. With ``gone`` they are marked as gone once no task is left."""

    TYPE = "DRAIN_AGENTS"
    grace: float | None = Field(default=None, ge=0, le=86_400)
    gone: bool = False


@register
class ActivateAgents(AgentsRequest):
    """Offer them again, after a drain or a deactivation."""

    TYPE = "ACTIVATE_AGENTS"


@register
class DeactivateAgents(AgentsRequest):
    """Offer nothing of them any more; their tasks live on."""

    TYPE = "DEACTIVATE_AGENTS"


@register
class ScheduleMaintenance(AgentsRequest):
    """Plan when agents are away: from ``start`` (seconds since the epoch) for ``duration`` seconds, or for
    good. Frameworks with tasks there are told; at the start the agents are drained, at the end activated."""

    TYPE = "SCHEDULE_MAINTENANCE"
    start: float = Field(ge=0, le=MAX_START)
    duration: float | None = Field(default=None, gt=0, le=MAX_DURATION_SECONDS)

    @property
    def window(self) -> Unavailability:
        """The absence."""
        return Unavailability(start=self.start, duration=self.duration)


@register
class CancelMaintenance(AgentsRequest):
    """Plan nothing any more. A drain that the schedule began ends; one that an operator began does not."""

    TYPE = "CANCEL_MAINTENANCE"


@register
class GetMaintenance(AgentsRequest):
    """Agents for which something is planned, or those that are named."""

    TYPE = "GET_MAINTENANCE"
    agent_ids: tuple[Ident, ...] = Field(default=(), max_length=1_000)
