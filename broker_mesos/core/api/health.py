"""How a master finds its servers and the cells' queues: what ``bmesos doctor`` judges."""

from __future__ import annotations

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class StoreReport(Part):
    """The store as one master sees it. None and "" are not known."""

    error: str = ""
    """Why nothing else is known."""
    server: str = ""
    time: float = 0.0
    """Its clock, in seconds since the epoch."""
    round_trip: float = 0.0
    """Seconds of one question to it."""
    role: str = ""
    """``master`` or ``slave``, in Redis' own words."""
    eviction: str = ""
    """Its ``maxmemory-policy``."""
    append_only: bool | None = None
    fsync: str = ""
    """When the append-only file is forced to the disk: ``always``, ``everysec``, ``no``."""
    saving: bool | None = None
    """Whether the last attempt to save to the disk succeeded."""
    used_memory: int = 0
    max_memory: int = 0
    """Bytes; 0 is no limit."""
    outboxes: tuple[int, ...] = ()
    """Messages in each cell's outbox."""
    in_process: bool = False
    """The embedded cluster's: in memory, or in the file of its data folder."""


class BusReport(Part):
    """The broker as one master sees it."""

    error: str = ""
    server: str = ""
    connected: bool = False
    blocked: bool = False
    """The broker takes no messages: it has raised an alarm over memory or disk."""
    round_trip: float = 0.0
    """Seconds of one question to it."""
    in_process: bool = False


class CellReport(Part):
    """A cell's queues: messages in its inbox and outbox. ``consumers`` is 0 if no master consumes the inbox;
    RabbitMQ does not count those that only stand by."""

    cell: int
    error: str = ""
    """What is wrong with the inbox."""
    unrouted: tuple[str, ...] = ()
    """Exchanges from which a message to the cell did not reach its inbox: the binding is lost."""
    inbox: int | None = None
    consumers: int | None = None
    outbox: int | None = None


class MasterReport(Part):
    """What one master finds."""

    master_id: str
    hostname: str = ""
    version: str = ""
    time: float
    """Its clock, in seconds since the epoch, when it looked at the store's."""
    store: StoreReport
    bus: BusReport
    cells: tuple[CellReport, ...] = ()
    dead_letters: int | None = None


@register
class GetMasterHealth(Request):
    """How the master that takes this request finds its servers. Any of them may."""

    TYPE = "GET_MASTER_HEALTH"
    ANSWER = MasterReport
    ROUTE = Route.MASTER


class HealthView(Part):
    """What the masters find that answered, each once; ``expected`` is how many live, by the store."""

    masters: tuple[MasterReport, ...]
    expected: int


@register
class GetHealth(Request):
    """How the masters find their servers, and the cells' queues."""

    TYPE = "GET_HEALTH"
    ANSWER = HealthView
    ROUTE = Route.GATEWAY
    FOR_USERS = True
