"""What operators plan for an agent: stored with it, applied by its cell (``handlers/maintenance.py``)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.part import Part


class DrainState(StrEnum):
    """How far a drain is."""

    DRAINING = "draining"
    """Its tasks are being killed, and nothing of it is offered."""
    DRAINED = "drained"
    """No task is left on it."""


class Maintenance(Part):
    """An agent's part in maintenance. It survives owners, and the agent's own restarts."""

    drain: DrainState | None = None
    grace: float | None = Field(default=None, ge=0)
    """Seconds that a drained task has between SIGTERM and SIGKILL at most; None: as long as it asks for."""
    gone: bool = False
    """Once no task is left, the agent is marked as gone."""
    scheduled: bool = False
    """The schedule began the drain, and ends it."""
    deactivated: bool = False
    """Nothing of it is offered; its tasks live on."""
    unavailability: Unavailability | None = None
    """When it is planned to be away."""
    answers: dict[str, bool] = Field(default_factory=dict)
    """What frameworks have answered to the inverse offers: whether they accept."""

    @property
    def closed(self) -> bool:
        """Whether nothing of the agent may be offered."""
        return self.drain is not None or self.deactivated

    @property
    def word(self) -> str:
        """``draining``, ``drained``, ``deactivated``, or nothing."""
        return self.drain.value if self.drain else "deactivated" if self.deactivated else ""
