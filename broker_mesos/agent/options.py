"""The options of an agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from broker_mesos.agent.outcomes import OUTCOME_RETENTION_SECONDS
from broker_mesos.agent.slack import Machine
from broker_mesos.agent.tasks import KILL_GRACE_SECONDS
from broker_mesos.containerizer.disk_space import MIN_FREE_BYTES, DiskSpace
from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources
from broker_mesos.ports.containerizer import DEFAULT_RETENTION, Retention


@dataclass(frozen=True)
class AgentOptions:
    """The options of an agent; times are in seconds."""

    resources: Resources
    hostname: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    reservations: Sequence[Reservation] = ()
    """Static reservations, which are parts of ``resources``."""
    agent_id: str = ""
    """The id of the agent in a new work folder; by default a new one. An existing work folder keeps its id."""
    version: str = ""
    pid: int = 0
    boot_id: str = ""
    usage: Callable[[], Usage] = Usage
    """Measures how busy the machine is, for heartbeats."""
    machine: Machine | None = None
    """The whole machine. If it is given, the agent estimates its slack and lends that for revocable tasks."""
    disk_space: Callable[[], DiskSpace | None] = lambda: None
    """Measures the disk of the work folder."""
    min_free_disk: int = MIN_FREE_BYTES
    """Bytes of that disk that stay free, or a 20th of it if that is less."""
    kill_grace: float = KILL_GRACE_SECONDS
    """Time between SIGTERM and SIGKILL of a task that names none."""
    outcomes_kept: float = OUTCOME_RETENTION_SECONDS
    """Time for which an outcome is kept after its acknowledgement."""
    retention: Retention = DEFAULT_RETENTION
    """How long the sandboxes of ended tasks are kept."""
    collect_interval: float = 600.0
    """Time between two collections of sandboxes while the disk has room; otherwise they are more frequent."""
    exec_enabled: bool = True
    """Whether commands may be run beside its tasks."""
