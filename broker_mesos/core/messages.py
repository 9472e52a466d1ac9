"""Everything that agents, frameworks and cells say to each other (operator requests: ``operator.py``).

One JSON body per message; the AMQP ``type`` property is the class's ``TYPE``. Unknown fields are ignored,
so that an older process reads a newer one's message. Each class says how its receiver meets a repeat:
everything is delivered at least once and, after a crash, in any order.

Times are seconds since the epoch, by the sender's clock; they are shown to people and never compared
between machines. Names of calls, events and states are those of Mesos' v1 API.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from broker_mesos.core.resources import Resources
from broker_mesos.core.tasks import Reason, Source, TaskState
from broker_mesos.errors import InvalidMessage

MAX_BODY = 1 << 20
"""Largest body in bytes; a longer one is refused by senders and dead-lettered by receivers."""

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Ident = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An id of an agent, framework, job or process: at most 128 characters, safe as a file and queue name."""
TaskId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]
Short = Annotated[str, StringConstraints(max_length=255)]
Prose = Annotated[str, StringConstraints(max_length=16_384)]
"""Bounded, since a batch of 500 statuses becomes one message."""
MAX_FLOOR = 2**52
"""Terms stay below it: the store compares them as doubles."""


class Part(BaseModel):
    """A value inside messages and records: immutable, tolerant of fields it does not know."""

    # Infinity and NaN have no JSON: what is stored with one of them could not be read again.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def encode(self) -> bytes:
        """As JSON; what has its default value is left out."""
        encoded: bytes = self.__pydantic_serializer__.to_json(self, exclude_defaults=True)
        return encoded


class Message(Part):
    """A whole body on the wire."""

    TYPE: ClassVar[str] = ""


M = TypeVar("M", bound=Message)

REGISTRY: dict[str, type[Message]] = {}
"""Message classes by their AMQP ``type``."""


def register(cls: type[M]) -> type[M]:
    """Class decorator: makes a message type known to ``decode``."""
    REGISTRY[cls.TYPE] = cls
    return cls


def decode(type_name: str, body: bytes) -> Message:
    """The message in a body.

    Raises InvalidMessage, in one line, for an unknown type, an oversized body, or one that does not fit.
    """
    cls = REGISTRY.get(type_name)
    if cls is None:
        raise InvalidMessage(f"unknown message type {type_name[:64]!r}")
    if len(body) > MAX_BODY:
        raise InvalidMessage(f"{type_name}: a body of {len(body)} bytes; at most {MAX_BODY} are allowed")
    try:
        return cls.model_validate_json(body)
    except ValidationError as error:
        raise InvalidMessage(f"{type_name}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first finding of a pydantic error in one line: ``tasks.0.resources: …``."""
    finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in finding["loc"])
    what = str(finding["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


# -- what things are -----------------------------------------------------------------------------------


class CommandInfo(Part):
    """A command line: ``arguments`` as they are, or with ``shell`` the first one given to ``/bin/sh -c``."""

    arguments: tuple[str, ...] = Field(min_length=1)
    shell: bool = False
    environment: dict[str, str] = Field(default_factory=dict)


class TaskInfo(Part):
    """One unit of work, as a framework describes it."""

    task_id: TaskId
    name: str = ""
    resources: Resources
    command: CommandInfo
    kill_grace: float = Field(default=3.0, ge=0, le=86_400)
    """Seconds between SIGTERM and SIGKILL."""
    labels: dict[str, str] = Field(default_factory=dict)


class TaskStatus(Part):
    """What is known of a task, and who says so. ``uuid`` names the status in acknowledgements."""

    task_id: TaskId
    state: TaskState
    uuid: Short = ""
    agent_id: Short = ""
    framework_id: Short = ""
    source: Source = Source.MASTER
    reason: Reason | None = None
    message: Prose = ""
    timestamp: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    """Number of the signal that ended the process, if one did."""
    started_at: float | None = None


class AgentInfo(Part):
    """A machine that lends resources."""

    agent_id: Ident
    hostname: str = ""
    resources: Resources
    attributes: dict[str, str] = Field(default_factory=dict)
    version: str = ""
    pid: int = 0


class FrameworkInfo(Part):
    """A scheduler. Processes with the same ``framework_id`` are one framework."""

    framework_id: Ident
    name: str = ""
    roles: tuple[Short, ...] = Field(default=("*",), max_length=100)
    failover_timeout: float = Field(default=0.0, ge=0)
    """Seconds that its tasks outlive its last process."""
    capabilities: tuple[str, ...] = ()
    user: str = ""
    hostname: str = ""
    competing: bool = False
    """All processes receive offers and events at once; its task state is in a shared store."""


class Demand(Part):
    """What a framework wants, as a level: a cell heeds only a version above the last one it saw."""

    version: int = 0
    wanted: bool = True
    """False is Mesos' SUPPRESS; a higher version with True is REVIVE: it clears filters as well."""


class Offer(Part):
    """A slice of one agent's free resources, promised to one framework."""

    offer_id: Ident
    framework_id: Ident
    agent_id: Ident
    cell: int
    hostname: str = ""
    role: str = "*"
    resources: Resources
    attributes: dict[str, str] = Field(default_factory=dict)


class Usage(Part):
    """What an agent's machine really uses, for people to see; no decision rests on it."""

    cpu_percent: float = 0.0
    mem_mb: float = 0.0
    disk_mb: float = 0.0
    load: float = 0.0


class AgentTask(Part):
    """A task in an agent's list: enough for a cell that does not know it to adopt it."""

    task_id: TaskId
    framework_id: Ident
    role: str = "*"
    name: str = ""
    resources: Resources
    state: TaskState = TaskState.RUNNING
    started_at: float | None = None
    offer_id: str = ""
    labels: dict[str, str] = Field(default_factory=dict)


class AgentList(Part):
    """All that runs on an agent, and every outcome that no cell has acknowledged."""

    applied: int = 0
    """Number of the last command applied in the session."""
    tasks: tuple[AgentTask, ...] = ()
    outcomes: tuple[TaskStatus, ...] = ()


# -- agent to cell (exchange updates, heartbeats) -------------------------------------------------------


@register
class RegisterAgent(Message):
    """An agent opens a session. A repeat has the same ``attempt`` and is answered with the same session."""

    TYPE = "REGISTER_AGENT"
    agent: AgentInfo
    attempt: str
    boot_id: str = ""
    cells: int
    """The cell count that the agent believes in; a cell refuses another one."""
    highest_term: int = Field(default=0, ge=0, lt=MAX_FLOOR)
    list: AgentList = AgentList()


@register
class AgentListed(Message):
    """An agent's list within a session, for repair. Idempotent: it is compared, not added."""

    TYPE = "AGENT_LISTED"
    agent_id: Ident
    session: str
    list: AgentList


@register
class UpdateStatuses(Message):
    """Statuses of tasks. Idempotent: a state applies only forward. Terminal ones are sent again until
    acknowledged."""

    TYPE = "UPDATE_STATUSES"
    agent_id: Ident
    session: str
    statuses: tuple[TaskStatus, ...]


@register
class UnregisterAgent(Message):
    """An agent leaves, for good or for a restart, and ends its session: no command that it had not applied
    will take effect. What is in its list may run on. Idempotent."""

    TYPE = "UNREGISTER_AGENT"
    agent_id: Ident
    session: str
    list: AgentList = AgentList()


@register
class AgentHeartbeat(Message):
    """An agent lives. Never stored; a lost or repeated one does not matter."""

    TYPE = "AGENT_HEARTBEAT"
    agent_id: Ident
    session: str
    applied: int = 0
    running: int = 0
    highest_term: int = Field(default=0, ge=0, lt=MAX_FLOOR)
    usage: Usage = Usage()


# -- cell to agent (exchange commands); the sender's term travels in a header ---------------------------


class Command(Message):
    """A command within a session: applied only as number = last + 1, so repeats drop and gaps show."""

    session: str
    number: int


class Launch(Part):
    """A task to launch, with what the agent reports back about it."""

    task: TaskInfo
    framework_id: Ident
    role: str = "*"
    offer_id: str = ""


@register
class LaunchTasks(Command):
    """Launch tasks; one that does not fit beside what runs is refused with TASK_DROPPED."""

    TYPE = "LAUNCH_TASKS"
    launches: tuple[Launch, ...]


@register
class KillTasks(Command):
    """Kill tasks; an id that the agent does not know is answered with TASK_DROPPED."""

    TYPE = "KILL_TASKS"
    task_ids: tuple[TaskId, ...]


@register
class AgentRegistered(Message):
    """Opens a session (its commands are numbered from 1). A repeat for the current session is dropped."""

    TYPE = "AGENT_REGISTERED"
    session: str
    attempt: str
    cell: int
    heartbeat_interval: float = 5.0


@register
class AgentRefused(Message):
    """This cell is not the agent's; it asks for the cell count again."""

    TYPE = "AGENT_REFUSED"
    message: str
    cells: int


@register
class Reregister(Message):
    """The cell knows no such session: the agent registers anew. Repeats within a second drop."""

    TYPE = "REREGISTER"
    session: str = ""
    message: str = ""
    recover: bool = False
    """The store may have lost something: the list shall name acknowledged outcomes too, as far as known."""


@register
class ListTasks(Message):
    """Asks the agent for its list (``AGENT_LISTED``)."""

    TYPE = "LIST_TASKS"
    session: str


@register
class AcknowledgeStatuses(Message):
    """Statuses are committed; the agent stops resending them. Idempotent."""

    TYPE = "ACKNOWLEDGE_STATUSES"
    uuids: tuple[str, ...]


# -- framework to cell (exchange calls, heartbeats) -----------------------------------------------------


class Call(Message):
    """A call by a framework."""

    framework_id: Ident


@register
class Subscribe(Call):
    """A process of a framework starts or comes back. Idempotent; unacknowledged updates are sent again."""

    TYPE = "SUBSCRIBE"
    framework: FrameworkInfo
    process_id: str = ""
    demand: Demand = Demand()


@register
class Accept(Call):
    """Use offers of one agent for tasks. The offer is the single-use token: of a repeat, tasks known from
    these offers are passed over and others answered with TASK_DROPPED."""

    TYPE = "ACCEPT"
    offer_ids: tuple[Ident, ...]
    tasks: tuple[TaskInfo, ...] = ()
    refuse_seconds: float | None = None
    """For the unused part; None is the default filter, 0 none, at most 365 days."""


@register
class Decline(Call):
    """Give offers back. Idempotent: an unknown offer is an ended one."""

    TYPE = "DECLINE"
    offer_ids: tuple[Ident, ...]
    refuse_seconds: float | None = None


@register
class Revive(Call):
    """Want offers again, and forget filters, from this demand version on."""

    TYPE = "REVIVE"
    demand: Demand


@register
class Suppress(Call):
    """Want no offers, from this demand version on."""

    TYPE = "SUPPRESS"
    demand: Demand


@register
class Kill(Call):
    """End tasks. Idempotent; an unknown id is answered with TASK_UNKNOWN by the cell it was sent to."""

    TYPE = "KILL"
    task_ids: tuple[TaskId, ...]
    answer_unknown: bool = True
    """False when it was sent to every cell: the others know nothing of it and keep silent."""


@register
class Acknowledge(Call):
    """Terminal updates are safe with the framework; their tasks may be forgotten. Idempotent."""

    TYPE = "ACKNOWLEDGE"
    task_ids: tuple[TaskId, ...]


@register
class Reconcile(Call):
    """Ask for the state of tasks; an empty list asks for all of the framework's tasks in this cell."""

    TYPE = "RECONCILE"
    task_ids: tuple[TaskId, ...] = ()
    answer_unknown: bool = True


@register
class Settle(Call):
    """Is this claim a task? In one commit the offer ends if it is open, and the task's state is answered;
    TASK_DROPPED if the cell knows none. Idempotent."""

    TYPE = "SETTLE"
    claims: tuple[tuple[TaskId, Ident], ...]
    """Pairs of task id and offer id."""


@register
class Teardown(Call):
    """The framework ends: its tasks are killed, its offers return, its id is a tombstone. Idempotent."""

    TYPE = "TEARDOWN"
    reason: str = ""


@register
class FrameworkHeartbeat(Call):
    """A process of a framework lives, and wants this. A cell that does not know it subscribes it."""

    TYPE = "FRAMEWORK_HEARTBEAT"
    framework: FrameworkInfo
    process_id: str = ""
    demand: Demand = Demand()


# -- cell to framework (exchange offers, events) --------------------------------------------------------


@register
class Offers(Message):
    """New offers. A repeat would name the same ids; an answer to an ended one is harmless."""

    TYPE = "OFFERS"
    offers: tuple[Offer, ...]


@register
class Rescind(Message):
    """These offers have ended; a hint, since they may already be answered."""

    TYPE = "RESCIND"
    offer_ids: tuple[Ident, ...]


@register
class Subscribed(Message):
    """A cell knows the framework now."""

    TYPE = "SUBSCRIBED"
    framework_id: Ident
    cell: int
    cells: int
    demand: int = 0
    """The highest demand version that the cell has heard: the next one must be above it."""


@register
class Update(Message):
    """Statuses of the framework's tasks. Applies only forward; terminal ones come again until
    acknowledged."""

    TYPE = "UPDATE"
    cell: int
    statuses: tuple[TaskStatus, ...]


@register
class Failure(Message):
    """An agent is gone or unreachable."""

    TYPE = "FAILURE"
    agent_id: Ident
    message: str = ""


@register
class Error(Message):
    """The framework did what it may not do (it is torn down, a role is unknown); it should stop."""

    TYPE = "ERROR"
    message: str


# -- within a cell --------------------------------------------------------------------------------------


@register
class Ping(Message):
    """Wakes the consumer of an inbox; says nothing."""

    TYPE = "PING"


JsonObject = dict[str, Any]
