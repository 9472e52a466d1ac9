"""Everything a cell keeps in the store. A record is one JSON value under its kind and id, that of a task two
(``task_record.py``)."""

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
    """The kinds of records, each a hash of the cell in the store."""

    AGENTS = "agents"
    FRAMEWORKS = "frameworks"
    TASKS = "tasks"


class AgentStatus(StrEnum):
    """Whether an agent's resources count."""

    REGISTERED = "registered"
    UNREACHABLE = "unreachable"
    GONE = "gone"
    """An operator has said that it never comes back: its tasks have ended. If it does come back, whatever
    still runs on it is killed."""


class AgentRecord(Part):
    """An agent and its session."""

    info: AgentInfo
    state: AgentStatus = AgentStatus.REGISTERED
    session: str = ""
    """Empty while it has none."""
    number: int = 0
    """Number of the last command sent in the session."""
    attempt: str = ""
    """The registration that opened the session."""
    boot_id: str = ""
    beat: float = 0.0
    """Seconds between two of its heartbeats; 0 where the limit says it."""
    registered_at: float = 0.0
    unreachable_at: float | None = None
    """Calendar time, to be shown only: the calendars of two owners need not agree."""
    since: float | None = None
    """Cell time at which it entered its state, in seconds; see ``CellState.seconds``."""
    cell_seconds: float = 0.0
    """Cell time at which the record was written, in seconds: a new owner counts on from the latest one."""
    listed: bool = True
    """False in a recovery, until the agent's list has arrived: kept, so that a recovery outlives an owner."""
    reserved_resources: ReservedResources = Field(default_factory=lambda: NO_RESERVED_RESOURCES)
    maintenance: Maintenance = Field(default_factory=lambda: NO_MAINTENANCE)


class FrameworkStatus(StrEnum):
    """Whether a framework gets offers."""

    SUBSCRIBED = "subscribed"
    DISCONNECTED = "disconnected"
    TORN_DOWN = "torn-down"
    """A tombstone: no later message revives this id."""


class FrameworkRecord(Part):
    """A framework as its cell knows it."""

    info: FrameworkInfo
    state: FrameworkStatus = FrameworkStatus.SUBSCRIBED
    registered_at: float = 0.0
    disconnected_at: float | None = None
    """Calendar time, like the next one to be shown only."""
    torn_down_at: float | None = None
    since: float | None = None
    """Cell time at which it entered its state, in seconds; see ``CellState.seconds``."""
    cell_seconds: float = 0.0
    """Cell time at which the record was written, in seconds."""


class Lease(NamedTuple):
    """Who owns a cell. ``age`` is seconds since the last renewal, by the store's clock; a released or
    never claimed lease has no owner."""

    cell: int
    term: int
    nonce: str
    owner: str
    commit: int
    age: float


class OutboxEntry(NamedTuple):
    """A message that is committed and not yet confirmed by the broker. ``number`` orders them."""

    number: int
    exchange: str
    key: str
    type: str
    body: bytes
    message_id: str


class Write(NamedTuple):
    """Set (or, with None, delete) one record."""

    kind: RecordKind
    ident: str
    value: bytes | None


class Snapshot(NamedTuple):
    """All that the store holds of a cell when its lease is claimed."""

    lease: Lease
    agents: dict[str, bytes]
    frameworks: dict[str, bytes]
    tasks: dict[str, bytes]
    outbox: list[OutboxEntry]
    recovering: bool
    """The store may have lost something: nothing is offered before the agents' lists have arrived."""
    recovery_age: float = float("inf")
    """Seconds since a claim last found that the store may have lost something."""
    recovery_term: int | None = None
    """The term of that claim: whatever was committed under it or a later one is in the store. None: not known."""
