"""Operator requests about the state of RabbitMQ, Redis and the cells' queues, which ``bmesos doctor`` checks."""

from __future__ import annotations

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class CertificateReport(Part):
    """A certificate that the connections to a server depend on. Times are in seconds; ``ends`` is since the epoch."""

    name: str
    """What it is, for people: a file with its setting, or the certificate of a server."""
    ends: float
    left: float
    """Time until its end by the clock of the process that reports it; negative once it has ended."""


class StoreReport(Part):
    """The state of the store as one master finds it. Values that are not known are None or empty."""

    error: str = ""
    """Why the other values are not known; empty if they are."""
    server: str = ""
    time: float = 0.0
    """The clock of the server, in seconds since the epoch."""
    round_trip: float = 0.0
    """Duration of one request to the server, in seconds."""
    role: str = ""
    """The role of the server as Redis reports it: ``master`` or ``slave``."""
    eviction: str = ""
    """The server's ``maxmemory-policy``."""
    append_only: bool | None = None
    fsync: str = ""
    """When the append-only file is written to the disk (``appendfsync``): ``always``, ``everysec`` or ``no``."""
    saving: bool | None = None
    """Whether the last attempt to save a snapshot to the disk succeeded."""
    used_memory: int = 0
    """Memory in use, in bytes."""
    max_memory: int = 0
    """The limit of memory, in bytes; 0 if there is none."""
    outboxes: tuple[int, ...] = ()
    """Number of messages in the outbox of each cell."""
    certificates: tuple[CertificateReport, ...] = ()
    """The certificates that connections to it depend on; empty without TLS."""
    in_process: bool = False
    """Whether it is the store of the embedded cluster, in memory or in a file of its data folder."""


class BusReport(Part):
    """The state of the broker as one master finds it."""

    error: str = ""
    server: str = ""
    connected: bool = False
    blocked: bool = False
    """Whether the broker accepts no messages, since it has raised a memory or disk alarm."""
    round_trip: float = 0.0
    """Duration of one request to the broker, in seconds."""
    certificates: tuple[CertificateReport, ...] = ()
    """The certificates that connections to it depend on; empty without TLS."""
    in_process: bool = False


class RouteReport(Part):
    """The routes between a cell and its agents as the owner of the cell finds them."""

    agents: int = 0
    """Number of agents of the cell."""
    probed: int = 0
    """Number of agents that a message was sent to: a sample."""
    unbound: tuple[str, ...] = ()
    """Ids of agents whose queue of commands the message did not reach: its binding is lost."""
    silent: tuple[str, ...] = ()
    """Ids of agents that were reached and did not answer in time."""
    heartbeats_lost: bool = False
    """Whether a heartbeat does not reach the owner: the binding of its queue is lost."""


class CellReport(Part):
    """The queues of a cell. ``inbox`` and ``outbox`` are numbers of messages. ``consumers`` is 0 if no master
    consumes the inbox; RabbitMQ does not count standbys."""

    cell: int
    error: str = ""
    """The problem of the inbox, in one line; empty if there is none."""
    unrouted: tuple[str, ...] = ()
    """Exchanges from which a message to the cell did not reach its inbox: the binding is lost."""
    inbox: int | None = None
    consumers: int | None = None
    outbox: int | None = None
    routes: RouteReport | None = None
    """The routes to the agents; None if the master does not own the cell."""


class MasterReport(Part):
    """The state of the servers and queues as one master finds it."""

    master_id: str
    hostname: str = ""
    version: str = ""
    time: float
    """The master's clock at the moment when it read the clock of the store, in seconds since the epoch."""
    store: StoreReport
    bus: BusReport
    cells: tuple[CellReport, ...] = ()
    dead_letters: int | None = None
    policy_problem: str = ""
    """The reason why the master's access policy is not the one in its file, in one line; empty if it is."""


@register
class GetMasterHealth(Request):
    """Get the state of the servers as one master finds it; any master may answer."""

    TYPE = "GET_MASTER_HEALTH"
    RIGHT = Right.VIEW
    ANSWER = MasterReport
    ROUTE = Route.MASTER


class DaemonReport(Part):
    """One process of a daemon beside the masters that decides who may do what."""

    kind: str
    """What it is, for people, as ``batch worker``."""
    hostname: str = ""
    pid: int = 0
    version: str = ""
    policy: str = ""
    """The digest of the access policy that is in force at it; empty if it has none."""
    policy_problem: str = ""
    """The reason why that is not the policy in its file, in one line; empty if it is."""
    processes: int = 1
    """Number of processes that answer the same requests in turns."""


@register
class GetWorkerHealth(Request):
    """Get the report of one process of the framework that runs the jobs; any of them may answer."""

    TYPE = "GET_WORKER_HEALTH"
    RIGHT = Right.VIEW
    ANSWER = DaemonReport
    ROUTE = Route.FRAMEWORK
    FOR_USERS = True


class EnrolmentReport(Part):
    """The answer to GET_ENROLMENT_HEALTH."""

    daemon: DaemonReport
    agent_ids: tuple[str, ...] = ()
    """The agents of the cluster that have users on the broker, at most 5,000, in alphabetical order."""


@register
class GetEnrolmentHealth(Request):
    """Get the report of the enrolment server, and the agents that are enrolled."""

    TYPE = "GET_ENROLMENT_HEALTH"
    RIGHT = Right.VIEW
    ANSWER = EnrolmentReport
    ROUTE = Route.ENROLL


class HealthView(Part):
    """The reports of the masters that answered. ``expected`` is the number of living masters in the store."""

    masters: tuple[MasterReport, ...]
    expected: int
    daemons: tuple[DaemonReport, ...] = ()
    """The reports of other daemons that answered: batch workers, the enrolment server, and the web server that was
    asked. Daemons of earlier releases send none."""
    enrolled: tuple[str, ...] = ()
    """The agents that have users on the broker, if there is an enrolment server, at most 5,000."""


@register
class GetHealth(Request):
    """Get the state of the servers and of the cells' queues as the masters find it."""

    TYPE = "GET_HEALTH"
    RIGHT = Right.VIEW
    ANSWER = HealthView
    ROUTE = Route.GATEWAY
    FOR_USERS = True
