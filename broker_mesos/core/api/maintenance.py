"""Operator requests about maintenance: draining agents, activating them again, planning absences.

Each request names agents of any cells, and is answered with their state. A request that changes something is
answered when the change is committed; a repeat changes nothing. If an agent is not known, the request fails and
changes nothing.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.core.protocol.wire import register

MAX_START = 1e11
"""The latest start of an absence, in seconds since the epoch. A larger number can only be in another unit."""
MAX_DURATION_SECONDS = 10 * 366 * 86_400.0
"""The longest absence, in seconds."""


class AgentMaintenance(Part):
    """The maintenance of an agent."""

    agent_id: str
    cell: int
    hostname: str = ""
    state: AgentStatus
    maintenance: str = ""
    """The state of maintenance: ``draining``, ``drained``, ``deactivated``, or empty."""
    scheduled: bool = False
    """Whether the maintenance schedule started the drain; it then ends it, too."""
    tasks: int = 0
    """Number of tasks on the agent."""
    unavailability: Unavailability | None = None
    """The planned absence of the agent; None if none is planned."""
    accepted: tuple[str, ...] = ()
    """Ids of frameworks that have accepted the inverse offer."""
    declined: tuple[str, ...] = ()
    """Ids of frameworks that have declined the inverse offer."""
    unanswered: tuple[str, ...] = ()
    """Ids of frameworks with tasks on the agent that have not answered the inverse offer."""


class MaintenanceView(Part):
    """Agents and their maintenance."""

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
    """Drain agents: nothing of them is offered any more, and their tasks are killed. ``grace`` is an upper bound of
    the time between SIGTERM and SIGKILL, in seconds. With ``gone``, an agent is marked as gone once no task is left
    on it."""

    TYPE = "DRAIN_AGENTS"
    RIGHT = Right.DRAIN
    grace: float | None = Field(default=None, ge=0, le=86_400)
    gone: bool = False


@register
class ActivateAgents(AgentsRequest):
    """Offer agents again after a drain or a deactivation."""

    TYPE = "ACTIVATE_AGENTS"
    RIGHT = Right.DRAIN


@register
class DeactivateAgents(AgentsRequest):
    """Offer nothing of agents any more, while their tasks run on."""

    TYPE = "DEACTIVATE_AGENTS"
    RIGHT = Right.DRAIN


@register
class ScheduleMaintenance(AgentsRequest):
    """Plan an absence of agents from ``start`` (seconds since the epoch) for ``duration`` seconds; without a
    duration they are not expected to return. Frameworks with tasks there receive inverse offers. The agents are
    drained at the start and activated at the end."""

    TYPE = "SCHEDULE_MAINTENANCE"
    RIGHT = Right.DRAIN
    start: float = Field(ge=0, le=MAX_START)
    duration: float | None = Field(default=None, gt=0, le=MAX_DURATION_SECONDS)

    @property
    def window(self) -> Unavailability:
        """The planned absence."""
        return Unavailability(start=self.start, duration=self.duration)


@register
class CancelMaintenance(AgentsRequest):
    """Remove the planned absence of agents. A drain that the schedule started ends; one that an operator started
    does not."""

    TYPE = "CANCEL_MAINTENANCE"
    RIGHT = Right.DRAIN


@register
class GetMaintenance(AgentsRequest):
    """Get the maintenance of the named agents, or of all agents under maintenance if none are named."""

    TYPE = "GET_MAINTENANCE"
    RIGHT = Right.VIEW
    agent_ids: tuple[Ident, ...] = Field(default=(), max_length=1_000)
