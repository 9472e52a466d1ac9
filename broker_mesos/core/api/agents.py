"""Operator requests about agents. Answered by the owner of the agent's cell."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.api.reservations import ReservationView, VolumeView
from broker_mesos.core.model.agent import Unavailability, Usage
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.core.protocol.wire import register


class AgentView(Part):
    """The state of an agent in its cell."""

    agent_id: str
    cell: int
    hostname: str
    state: AgentStatus
    total: Resources
    offered: Resources
    used: Resources
    attributes: dict[str, str] = Field(default_factory=dict)
    tasks: int = 0
    usage: Usage = Usage()
    version: str = ""
    isolation: tuple[str, ...] = ()
    """What tasks are held to; see ``AgentInfo.isolation``."""
    not_isolated: str = ""
    """Why they are not, if its operator wishes it."""
    isolation_missing: dict[str, str] = Field(default_factory=dict)
    """By word that is not in ``isolation``: why not, as far as that is known."""
    pid: int = 0
    registered_at: float = 0.0
    heartbeat_age: float | None = None
    """Time since the last message of the agent, in seconds; None if this owner has received none."""
    reservations: tuple[ReservationView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()
    maintenance: str = ""
    """The state of maintenance: ``draining``, ``drained``, ``deactivated``, or empty."""
    slack: Resources = Resources.EMPTY
    """The agent's estimate of the resources that it lends a second time, as revocable."""
    slack_held: Resources = Resources.EMPTY
    """The part of the slack that is offered or used."""
    contested: bool = False
    """Whether two machines use the id of this agent: they replace each other's sessions, or one of them is refused."""
    unavailability: Unavailability | None = None
    """The planned absence of the agent; None if none is planned."""


class AgentGone(Part):
    """The answer to MARK_AGENT_GONE: the number of tasks of the agent that end."""

    tasks: int = 0
    revoked: bool = False
    """Whether the enrolment server has deleted the user of the agent on the broker."""


class GoneAgents(Part):
    """The answer to GET_GONE_AGENTS."""

    agent_ids: tuple[str, ...] = ()


@register
class GetGoneAgents(Request):
    """Get the ids of the agents of a cell that are marked as gone, at most 5,000."""

    TYPE = "GET_GONE_AGENTS"
    RIGHT = Right.VIEW
    ANSWER = GoneAgents
    ROUTE = Route.CELLS


@register
class MarkAgentGone(Request):
    """Mark an agent as gone for ever: its tasks end as TASK_GONE_BY_OPERATOR, and may run elsewhere. If the agent
    returns in spite of that, the tasks that still run on it are killed. Idempotent."""

    TYPE = "MARK_AGENT_GONE"
    RIGHT = Right.GONE
    ANSWER = AgentGone
    ROUTE = Route.CELL
    FOR_USERS = True
    agent_id: Ident
