"""The records of a cell in the store. A record is one JSON value under its kind and id; that of a task is two JSON
values (``task_record.py``)."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.maintenance import Maintenance
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.reservation import ReservedResources

NO_RESERVED_RESOURCES = ReservedResources()
NO_MAINTENANCE = Maintenance()


class RecordKind(StrEnum):
    """The kinds of records. The store has one hash for each kind and cell."""

    AGENTS = "agents"
    FRAMEWORKS = "frameworks"
    TASKS = "tasks"


class AgentStatus(StrEnum):
    """The state of an agent; only the resources of a registered one can be offered."""

    REGISTERED = "registered"
    UNREACHABLE = "unreachable"
    GONE = "gone"
    """An operator has marked the agent as gone for ever, and its tasks have ended. If it returns in spite of that,
    the tasks that still run on it are killed."""


class AgentRecord(Part):
    """An agent and its session."""

    info: AgentInfo
    state: AgentStatus = AgentStatus.REGISTERED
    session: str = ""
    """Id of the agent's session; empty while it has none."""
    number: int = 0
    """Number of the last command that was sent in the session."""
    attempt: str = ""
    """The registration attempt that opened the session."""
    boot_id: str = ""
    beat: float = 0.0
    """Interval between two heartbeats of the agent, in seconds; 0 if it is ``Limits.agent_beat``."""
    registered_at: float = 0.0
    unreachable_at: float | None = None
    """Seconds since the epoch at which the agent became unreachable. It is only shown, since the calendars of two
    owners need not agree."""
    since: float | None = None
    """Cell time at which the agent entered its state, in seconds; see ``CellState.seconds``."""
    cell_seconds: float = 0.0
    """Cell time at which the record was written, in seconds; a new owner continues from the latest one."""
    listed: bool = True
    """False in a recovery until the agent's list has arrived. It is stored, so that a recovery outlives an owner."""
    reserved_resources: ReservedResources = Field(default_factory=lambda: NO_RESERVED_RESOURCES)
    maintenance: Maintenance = Field(default_factory=lambda: NO_MAINTENANCE)


class FrameworkStatus(StrEnum):
    """The state of a framework; only a subscribed one receives offers."""

    SUBSCRIBED = "subscribed"
    DISCONNECTED = "disconnected"
    TORN_DOWN = "torn-down"
    """The record is a tombstone: no later message revives the framework's id."""


class FrameworkRecord(Part):
    """A framework in one cell."""

    info: FrameworkInfo
    state: FrameworkStatus = FrameworkStatus.SUBSCRIBED
    registered_at: float = 0.0
    disconnected_at: float | None = None
    """Seconds since the epoch at which the framework was disconnected; only shown."""
    torn_down_at: float | None = None
    """Seconds since the epoch at which the framework was torn down; only shown."""
    since: float | None = None
    """Cell time at which the framework entered its state, in seconds; see ``CellState.seconds``."""
    cell_seconds: float = 0.0
    """Cell time at which the record was written, in seconds."""


class Lease(NamedTuple):
    """The lease of a cell. ``age`` is the time since its last renewal by the store's clock, in seconds. ``owner`` is
    empty if the lease was released or never claimed."""

    cell: int
    term: int
    nonce: str
    owner: str
    commit: int
    age: float


class OutboxEntry(NamedTuple):
    """A message that is committed and not yet confirmed by the broker. Messages are published in the order of their
    ``number``."""

    number: int
    exchange: str
    key: str
    type: str
    body: bytes
    message_id: str


class Write(NamedTuple):
    """A change of one record: it is set to ``value``, or deleted if ``value`` is None."""

    kind: RecordKind
    ident: str
    value: bytes | None


class Snapshot(NamedTuple):
    """The whole content of a cell in the store at the moment when its lease is claimed."""

    lease: Lease
    agents: dict[str, bytes]
    frameworks: dict[str, bytes]
    tasks: dict[str, bytes]
    outbox: list[OutboxEntry]
    recovering: bool
    """Whether the store may have lost something; then nothing of an agent is offered before its list has arrived."""
    recovered: bool = True
    """Whether an owner has reported that the latest recovery is over."""
    recovery_term: int | None = None
    """The term of the claim that last found that the store may have lost something; everything that was committed under
    it or a later term is in the store. None if it is not known."""
