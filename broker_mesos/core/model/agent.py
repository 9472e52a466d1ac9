"""What an agent reports of itself and of its tasks."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.part import Ident, Part, TaskId
from broker_mesos.core.model.reservation import Reservation, ReservedResources
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState


class Unavailability(Part):
    """When an agent is planned to be away: seconds since the epoch, and seconds (None: for good)."""

    start: float
    duration: float | None = Field(default=None, ge=0)


class AgentInfo(Part):
    """A machine that lends resources."""

    agent_id: Ident
    hostname: str = ""
    resources: Resources
    attributes: dict[str, str] = Field(default_factory=dict)
    version: str = ""
    pid: int = 0
    reservations: tuple[Reservation, ...] = ()
    """Static ones: parts of ``resources``."""


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
    volumes: tuple[Ident, ...] = ()
    """Ids of the persistent volumes that it uses."""
    revocable: bool = False
    max_completion_time: float | None = None
    """Seconds that its process may run."""
    line: str = ""
    waits: bool = False
    """It stands in line, and holds nothing yet."""


class AgentList(Part):
    """All that runs on an agent, and every outcome that no cell has acknowledged."""

    applied: int = 0
    """Number of the last command applied in the session."""
    tasks: tuple[AgentTask, ...] = ()
    outcomes: tuple[TaskStatus, ...] = ()
    reserved_resources: ReservedResources | None = None
    """As the agent remembers them; None if it remembers none."""
