"""The maintenance of an agent: stored with the agent, applied by its cell (``handlers/maintenance.py``)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.part import Part


class DrainState(StrEnum):
    """The progress of a drain."""

    DRAINING = "draining"
    """The agent's tasks are being killed, and nothing of the agent is offered."""
    DRAINED = "drained"
    """No task is left on the agent."""


class Maintenance(Part):
    """The maintenance state of an agent. It survives changes of the cell's owner and restarts of the agent."""

    drain: DrainState | None = None
    grace: float | None = Field(default=None, ge=0)
    """Upper bound of the time between SIGTERM and SIGKILL of a drained task, in seconds; None if each task has
    its own ``kill_grace``."""
    gone: bool = False
    """Whether the agent is marked as gone once no task is left on it."""
    scheduled: bool = False
    """Whether the maintenance schedule started the drain; it then ends it, too."""
    deactivated: bool = False
    """Whether nothing of the agent is offered while its tasks run on."""
    unavailability: Unavailability | None = None
    """The planned absence of the agent; None if none is planned."""
    answers: dict[str, bool] = Field(default_factory=dict)
    """Answers to the inverse offers by framework id: True if the framework accepts."""

    @property
    def closed(self) -> bool:
        """Whether nothing of the agent may be offered."""
        return self.drain is not None or self.deactivated

    @property
    def status(self) -> str:
        """The status: ``draining``, ``drained``, ``deactivated``, or empty."""
        return self.drain.value if self.drain else "deactivated" if self.deactivated else ""
