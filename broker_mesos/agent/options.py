"""The options of an agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from broker_mesos.agent.outcomes import OUTCOME_RETENTION_SECONDS
from broker_mesos.agent.slack import Machine
from broker_mesos.agent.tasks import KILL_GRACE_SECONDS
from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources


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
    disk_percent: Callable[[], float] = lambda: 0.0
    """How full the disk of the work folder is, in per cent of its bytes or files, whichever is more."""
    kill_grace: float = KILL_GRACE_SECONDS
    """Time between SIGTERM and SIGKILL of a task that names none."""
    outcomes_kept: float = OUTCOME_RETENTION_SECONDS
    """Time for which an outcome is kept after its acknowledgement."""
    sweep_interval: float = 600.0
    sandbox_keep: float = 7 * 86_400.0
    sandbox_keep_full: float = 86_400.0
    """Age at which old sandboxes are deleted on a disk over 90% full; a 24th of it over 95%, a 144th over 97%."""
