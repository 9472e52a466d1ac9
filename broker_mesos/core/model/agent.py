"""What an agent reports of itself and of its tasks."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.part import Ident, Part, Prose, Short, TaskId
from broker_mesos.core.model.reservation import Reservation, ReservedResources
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState


class Unavailability(Part):
    """A planned absence of an agent."""

    start: float
    """When it starts, in seconds since the epoch."""
    duration: float | None = Field(default=None, ge=0)
    """How long it lasts, in seconds; None if the agent is not expected to return."""


class AgentInfo(Part):
    """A machine that lends resources."""

    agent_id: Ident
    hostname: str = ""
    resources: Resources
    attributes: dict[str, str] = Field(default_factory=dict)
    version: str = ""
    pid: int = 0
    reservations: tuple[Reservation, ...] = ()
    """Static reservations, each a part of ``resources``; see ``Reservation.static``."""
    isolation: tuple[Short, ...] = ()
    """What its kernel holds tasks to, such as ``mem``; empty if their resources are accounted only."""
    not_isolated: Prose = ""
    """Why not, in one line, if its operator wishes it; else empty."""
    isolation_missing: dict[Short, Prose] = Field(default_factory=dict, max_length=100)
    """By word that is not in ``isolation``: why not, in one line, as far as that is known."""


class Usage(Part):
    """The measured usage of an agent's machine. It is shown to people; no decision depends on it."""

    cpu_percent: float = 0.0
    mem_mb: float = 0.0
    disk_mb: float = 0.0
    load: float = 0.0
    lends_less: Prose = ""
    """Why the agent lends less than it has, such as a disk that is nearly full; empty if it lends everything."""
    problems: tuple[Prose, ...] = Field(default=(), max_length=20)
    """What its operator has to know of the process that starts its tasks, a line for each."""


class AgentTask(Part):
    """A task in an agent's list, with all that a cell which does not know the task needs to adopt it."""

    task_id: TaskId
    framework_id: Ident
    role: str = "*"
    name: str = ""
    resources: Resources
    state: TaskState = TaskState.RUNNING
    started_at: float | None = None
    offer_id: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[Ident, ...] = ()
    """Ids of the persistent volumes that the task uses."""
    revocable: bool = False
    max_completion_time: float | None = None
    """The longest time that the task's process may run, in seconds; None if it is not limited."""
    line: str = ""
    """Name of the task queue that the task belongs to; empty if it is not queued."""
    waits: bool = False
    """Whether the task waits in its task queue and occupies no resources yet."""
    shape: str = ""
    """See ``TaskInfo.shape``."""


class AgentList(Part):
    """All tasks on an agent, and every outcome that no cell has acknowledged."""

    applied: int = 0
    """Number of the last command that the agent has applied in its session."""
    tasks: tuple[AgentTask, ...] = ()
    outcomes: tuple[TaskStatus, ...] = ()
    reserved_resources: ReservedResources | None = None
    """Reservations and volumes as the agent has stored them; None if it has stored none."""
