"""Messages between agents and cells. The rules that all messages follow: ``core/protocol/__init__.py``."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.agent import AgentInfo, AgentList, Usage
from broker_mesos.core.model.part import Ident, Part, TaskId
from broker_mesos.core.model.reservation import (
    ReservedResources,
)
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.core.protocol.envelope import MAX_TERM
from broker_mesos.core.protocol.wire import Message, register

MAX_SECONDS = 86_400.0
"""The longest time that a command may set for an agent, in seconds: a wrong number must not silence it for ever."""


@register
class RegisterAgent(Message):
    """An agent opens a session. A repeat has the same ``attempt`` and is answered with the same session. Attempts
    have the form ``<process>.<number>``; a late attempt with a lower number of the same process is ignored, since
    its list is outdated."""

    TYPE = "REGISTER_AGENT"
    agent: AgentInfo
    attempt: str
    boot_id: str = ""
    cells: int
    """The number of cells that the agent knows; a cell refuses the registration if it differs from its own."""
    highest_term: int = Field(default=0, ge=0, lt=MAX_TERM)
    list: AgentList = AgentList()


@register
class AgentListed(Message):
    """An agent sends its list within a session, so that the cell can repair differences. Idempotent: the list is
    compared with the cell's state."""

    TYPE = "AGENT_LISTED"
    agent_id: Ident
    session: str
    list: AgentList


@register
class UpdateStatuses(Message):
    """An agent reports statuses of tasks. Idempotent: a task's state moves only forward. Terminal statuses are sent
    again until they are acknowledged."""

    TYPE = "UPDATE_STATUSES"
    agent_id: Ident
    session: str
    statuses: tuple[TaskStatus, ...]


@register
class UnregisterAgent(Message):
    """An agent leaves, for ever or for a restart, and ends its session: no command that it has not applied will
    take effect. Tasks in its list may run on. Idempotent."""

    TYPE = "UNREGISTER_AGENT"
    agent_id: Ident
    session: str
    list: AgentList = AgentList()


@register
class AgentHeartbeat(Message):
    """An agent reports that it is alive. Heartbeats are not stored; a lost or repeated one has no effect."""

    TYPE = "AGENT_HEARTBEAT"
    agent_id: Ident
    session: str
    applied: int = 0
    running: int = 0
    highest_term: int = Field(default=0, ge=0, lt=MAX_TERM)
    usage: Usage = Usage()
    interval: float = 0.0
    """Seconds until the next heartbeat; 0 if it is the interval that the cell has set."""
    slack: Resources | None = None
    """Resources that are lent but not used, as the agent estimates them; the cell offers them as revocable. They
    are in every heartbeat, so that a new owner receives them. None if the agent lends no slack."""


class Command(Message):
    """A command within a session. An agent applies it only if its number is the last one plus 1, so that repeats
    are dropped and gaps are detected."""

    session: str
    number: int


class LaunchItem(Part):
    """A task to launch, with the data that the agent reports back about it."""

    task: TaskInfo
    framework_id: Ident
    role: str = "*"
    offer_id: str = ""
    revocable: bool = False
    """Whether the task runs on slack; it is then among the first to be killed when the machine runs short."""
    waits: bool = False
    """Whether the task waits in its task queue, since there was no room for it; it starts when another task of the
    queue has ended."""


@register
class LaunchTasks(Command):
    """The agent launches tasks. A task that does not fit beside those that run is refused with TASK_DROPPED."""

    TYPE = "LAUNCH_TASKS"
    launches: tuple[LaunchItem, ...]
    acknowledged: tuple[str, ...] = ()
    """Ids of statuses that are acknowledged as by ACKNOWLEDGE_STATUSES; they may be of any session."""


@register
class KillTasks(Command):
    """The agent kills tasks. An id that the agent does not know is answered with TASK_DROPPED."""

    TYPE = "KILL_TASKS"
    task_ids: tuple[TaskId, ...]
    grace: float | None = Field(default=None, ge=0, le=MAX_SECONDS)
    """Upper bound of the time between SIGTERM and SIGKILL, in seconds; None if each task has its own
    ``kill_grace``."""


@register
class SetReservations(Command):
    """All reservations and persistent volumes of the agent: the whole value, never a difference. A volume that is
    not named any more is deleted with its data."""

    TYPE = "SET_HOLDINGS"
    reserved_resources: ReservedResources


@register
class AgentRegistered(Message):
    """The cell opens a session, whose commands are numbered from 1. A repeat for the current session is dropped."""

    TYPE = "AGENT_REGISTERED"
    session: str
    attempt: str
    cell: int
    heartbeat_interval: float = Field(default=5.0, gt=0, le=MAX_SECONDS)


@register
class AgentRefused(Message):
    """The cell refuses a registration: the agent belongs to another cell, and requests the number of cells again; or
    another agent has a session under this id."""

    TYPE = "AGENT_REFUSED"
    message: str
    cells: int
    attempt: str = ""
    """The refused attempt; empty if the refusal is for any agent with this id."""
    retry_after: float = Field(default=0.0, ge=0, le=MAX_SECONDS)
    """Time for which the agent leaves its queue of commands to the agent that has the session before it registers
    again, in seconds; 0 if no other agent is known."""


@register
class Reregister(Message):
    """The cell does not know the agent's session, and the agent registers again. Repeats within a second are
    dropped."""

    TYPE = "REREGISTER"
    session: str = ""
    message: str = ""
    recover: bool = False
    """Whether the store may have lost something. The agent's list then contains acknowledged outcomes too, as far
    as the agent still has them."""


@register
class ListTasks(Message):
    """The cell requests the agent's list (``AGENT_LISTED``)."""

    TYPE = "LIST_TASKS"
    session: str


@register
class SetHeartbeat(Message):
    """The cell sets the interval of the agent's heartbeats, in seconds: in a large cell each agent sends them less
    often. The agent sends the next heartbeat at once, with the new interval. Idempotent."""

    TYPE = "SET_HEARTBEAT"
    session: str
    interval: float = Field(gt=0, le=MAX_SECONDS)


@register
class AcknowledgeStatuses(Message):
    """The cell has committed statuses, and the agent stops sending them again. Idempotent."""

    TYPE = "ACKNOWLEDGE_STATUSES"
    uuids: tuple[str, ...]
