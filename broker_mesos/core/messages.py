"""Everything that agents, frameworks and cells say to each other (operator requests: ``operator.py``).

One JSON body per message; the AMQP ``type`` property is the class's ``TYPE``. Unknown fields are ignored,
so that an older process reads a newer one's message. Each class says how its receiver meets a repeat:
everything is delivered at least once and, after a crash, in any order.

Times are seconds since the epoch, by the sender's clock; they are shown to people and never compared
between machines. Names of calls, events and states are those of Mesos' v1 API.
"""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.events import (
    EarlyStatuses,
    Error,
    Failure,
    InverseOffers,
    Offers,
    OperationsUpdated,
    Rescind,
    Subscribed,
    Update,
)
from broker_mesos.core.infos import (
    AgentInfo,
    AgentList,
    AgentTask,
    CommandInfo,
    Demand,
    FrameworkInfo,
    Holdings,
    InverseOffer,
    Layer,
    Offer,
    Operation,
    OperationStatus,
    Reservation,
    Shape,
    TaskInfo,
    TaskStatus,
    Unavailability,
    Usage,
    Volume,
    VolumeMount,
)
from broker_mesos.core.resources import Resources
from broker_mesos.core.wire import (
    ID_PATTERN,
    MAX_BODY,
    MAX_FLOOR,
    REGISTRY,
    Ident,
    JsonObject,
    M,
    Message,
    Part,
    Prose,
    Short,
    TaskId,
    decode,
    first_problem,
    register,
)

# What messages are made of, for whoever speaks in them.
__all__ = [
    "ID_PATTERN",
    "MAX_BODY",
    "MAX_FLOOR",
    "REGISTRY",
    "AgentInfo",
    "AgentList",
    "AgentTask",
    "CommandInfo",
    "Demand",
    "EarlyStatuses",
    "Error",
    "Failure",
    "FrameworkInfo",
    "Holdings",
    "Ident",
    "InverseOffer",
    "InverseOffers",
    "JsonObject",
    "Layer",
    "M",
    "Message",
    "Offer",
    "Offers",
    "Operation",
    "OperationStatus",
    "OperationsUpdated",
    "Part",
    "Prose",
    "Rescind",
    "Reservation",
    "Shape",
    "Short",
    "Subscribed",
    "TaskId",
    "TaskInfo",
    "TaskStatus",
    "Unavailability",
    "Update",
    "Usage",
    "Volume",
    "VolumeMount",
    "decode",
    "first_problem",
    "register",
]

# -- agent to cell (exchange updates, heartbeats) -------------------------------------------------------


@register
class RegisterAgent(Message):
    """An agent opens a session. A repeat has the same ``attempt`` and is answered with the same session. Of
    attempts ``<process>.<number>`` of one process a lower one that comes late is passed over: its list is not
    true any more."""

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
    interval: float = 0.0
    """Seconds until the next one; 0: as the cell has said."""
    slack: Resources | None = None
    """What is lent and not used, as the agent estimates it: offered as revocable. In every heartbeat, so
    that a new owner hears of it; None: none is lent."""


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
    revocable: bool = False
    """It runs on slack, and is the first to go when the machine gets tight."""
    waits: bool = False
    """It did not fit any more: its turn comes when another of its line has ended."""


@register
class LaunchTasks(Command):
    """Launch tasks; one that does not fit beside what runs is refused with TASK_DROPPED."""

    TYPE = "LAUNCH_TASKS"
    launches: tuple[Launch, ...]
    acknowledged: tuple[str, ...] = ()
    """As ACKNOWLEDGE_STATUSES; of any session."""


@register
class KillTasks(Command):
    """Kill tasks; an id that the agent does not know is answered with TASK_DROPPED."""

    TYPE = "KILL_TASKS"
    task_ids: tuple[TaskId, ...]
    grace: float | None = Field(default=None, ge=0)
    """Seconds between SIGTERM and SIGKILL at most; None: as long as each task asks for."""


@register
class SetHoldings(Command):
    """What is reserved on the agent, and which persistent volumes it keeps: a level, never a difference. A
    volume that is not named any more is deleted with its data."""

    TYPE = "SET_HOLDINGS"
    holdings: Holdings


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
class SetHeartbeat(Message):
    """How often the agent beats from now on: a large cell hears each of its agents less often. The next
    heartbeat comes at once, and says so. Idempotent."""

    TYPE = "SET_HEARTBEAT"
    session: str
    interval: float = Field(gt=0)


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


class Acceptance(Part):
    """The use of offers of one agent for tasks. The offer is the single-use token: of a repeat, tasks known
    from these offers are passed over and others answered with TASK_DROPPED; operations that were carried out
    are answered with OPERATION_FINISHED again, others with OPERATION_ERROR."""

    offer_ids: tuple[Ident, ...]
    operations: tuple[Operation, ...] = ()
    """Carried out in their order, before the tasks are launched."""
    tasks: tuple[TaskInfo, ...] = ()
    refuse_seconds: float | None = None
    """For the unused part; None is the default filter, 0 none, at most 365 days."""


class AcceptingCall(Call):
    """What any call that accepts takes along."""

    acknowledged: tuple[TaskId, ...] = ()
    """As ACKNOWLEDGE, whatever becomes of the offers."""
    demand: Demand | None = None
    """What is wanted from here on, as in a FRAMEWORK_HEARTBEAT."""


@register
class Accept(AcceptingCall, Acceptance):
    """Use offers of one agent for tasks; its repeat is an acceptance's."""

    TYPE = "ACCEPT"


@register
class Accepts(AcceptingCall):
    """Several accepts at once, of offers of many agents: worked off in their order, each by itself."""

    TYPE = "ACCEPTS"
    accepts: tuple[Acceptance, ...]


@register
class Decline(Call):
    """Give offers back. Idempotent: an unknown offer is an ended one."""

    TYPE = "DECLINE"
    offer_ids: tuple[Ident, ...]
    refuse_seconds: float | None = None


@register
class AnswerInverseOffers(Call):
    """Accept or decline inverse offers. Idempotent; for people to see."""

    TYPE = "ANSWER_INVERSE_OFFERS"
    agent_ids: tuple[Ident, ...]
    accept: bool


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
class FrameworkAbsent(Call):
    """A cell tells a framework's home cell that nobody has heard of it for longer than its failover timeout:
    the home cell may not know it at all (its store went back in time), or the cell may have missed its end.
    Idempotent; said again now and then."""

    TYPE = "FRAMEWORK_ABSENT"
    framework: FrameworkInfo
    seconds: float = Field(default=0.0, ge=0)
    """For how long."""


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


# -- within a cell --------------------------------------------------------------------------------------


@register
class Ping(Message):
    """Wakes the consumer of an inbox; says nothing but how long it took, to whoever sent it."""

    TYPE = "PING"
    token: str = ""
