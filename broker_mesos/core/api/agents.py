"""Operator requests about agents. Answered by the owner of the agent's cell."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.api.reservations import ReservationView, VolumeView
from broker_mesos.core.model.agent import Unavailability, Usage
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.core.protocol.wire import register


class AgentView(Part):
    """An agent as its cell sees it."""

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
    pid: int = 0
    registered_at: float = 0.0
    heard_ago: float | None = None
    """Seconds since it was last heard of; None if not under this owner."""
    reservations: tuple[ReservationView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()
    maintenance: str = ""
    """draining, drained, deactivated, or nothing."""
    slack: Resources = Resources.EMPTY
    """What it lends a second time, as revocable: an estimate."""
    slack_held: Resources = Resources.EMPTY
    """Of the slack: offered and used."""
    contested: bool = False
    """Two machines use its id, and replace each other."""
    unavailability: Unavailability | None = None
    """When it is planned to be away."""


class AgentGone(Part):
    """How many tasks of that agent end."""

    tasks: int = 0


@register
class MarkAgentGone(Request):
    """An agent never comes back: its tasks end as TASK_GONE_BY_OPERATOR, and may run elsewhere. Should it
    come back all the same, what still runs on it is killed. Idempotent."""

    TYPE = "MARK_AGENT_GONE"
    ANSWER = AgentGone
    ROUTE = Route.CELL
    FOR_USERS = True
    agent_id: Ident
