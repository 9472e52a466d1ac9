"""Messages between agents and cells. The rules that all messages follow: ``core/protocol/__init__.py``."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.agent import AgentInfo, AgentList, Usage
from broker_mesos.core.model.part import MAX_TERM, Ident, Part, TaskId
from broker_mesos.core.model.reservation import (
    ReservedResources,
)
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.core.protocol.wire import Message, register


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
    highest_term: int = Field(default=0, ge=0, lt=MAX_TERM)
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
    highest_term: int = Field(default=0, ge=0, lt=MAX_TERM)
    usage: Usage = Usage()
    interval: float = 0.0
    """Seconds until the next one; 0: as the cell has said."""
    slack: Resources | None = None
    """What is lent and not used, as the agent estimates it: offered as revocable. In every heartbeat, so
    that a new owner hears of it; None: none is lent."""


class Command(Message):
    """A command within a session: applied only as number = last + 1, so repeats drop and gaps show."""

    session: str
    number: int


class LaunchItem(Part):
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
    launches: tuple[LaunchItem, ...]
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
class SetReservations(Command):
    """What is reserved on the agent, and which persistent volumes it keeps: a level, never a difference. A
    volume that is not named any more is deleted with its data."""

    TYPE = "SET_HOLDINGS"
    reserved_resources: ReservedResources


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
