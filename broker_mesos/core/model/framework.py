"""What a framework states of itself, and the demand that it publishes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.part import Ident, Part, Short
from broker_mesos.core.model.resources import Resources


class FrameworkInfo(Part):
    """A scheduler. Processes with the same ``framework_id`` are one framework."""

    framework_id: Ident
    name: str = ""
    roles: tuple[Short, ...] = Field(default=("*",), max_length=100)
    failover_timeout: float | None = Field(default=0.0, ge=0)
    """Seconds that its tasks outlive its last process; None: time alone never ends it."""
    capabilities: tuple[str, ...] = ()
    user: str = ""
    hostname: str = ""
    offer_filters: dict[str, tuple[Resources, ...]] = Field(default_factory=dict)
    """Per role: an offer must hold at least one of these amounts."""
    offer_constraints: dict[str, tuple[tuple[Constraint, ...], ...]] = Field(default_factory=dict)
    """Per role: groups of constraints on agents, all of one group must hold."""
    packing: Literal["binpack", "spread"] = "binpack"
    """Which of the agents that fit a stated demand come first: the fullest or the emptiest."""
    competing: bool = False
    """True: all processes with this ``framework_id`` receive offers and events at once, and share the state of
    their tasks through a store of the framework's own. False: one process is active, the others stand by."""


REVOCABLE_RESOURCES = "REVOCABLE_RESOURCES"
"""Capability of a framework that can do with offers of slack."""


GPU_RESOURCES = "GPU_RESOURCES"
"""Capability of a framework that is offered agents with gpus."""


class Shape(Part):
    """Tasks of one kind that a framework wants to launch."""

    resources: Resources
    count: int = Field(default=1, ge=0, le=10_000_000)
    """Tasks still to be launched when the demand's version was taken."""
    role: Short = "*"
    constraints: tuple[Constraint, ...] = ()
    gang: Short = ""
    """Shapes with the same name are wanted all at once or not at all."""
    revocable: bool = False
    """Slack is wanted, and nothing else is. Not in a gang: what may go one by one is no place for it."""

    @property
    def on_slack(self) -> bool:
        """Whether slack meets it."""
        return self.revocable and not self.gang

    @property
    def key(self) -> tuple[Resources, str, tuple[Constraint, ...], str, bool]:
        """What tells shapes apart, whatever their counts."""
        return self.resources, self.role, self.constraints, self.gang, self.revocable


MAX_DEMAND_VERSION = 2**48
"""The largest version of a demand: versions are times in milliseconds, or counted up from one."""


class Demand(Part):
    """What a framework wants, as a level: a cell heeds only a version above the last one it saw."""

    version: int = Field(default=0, ge=-1, le=MAX_DEMAND_VERSION)
    wanted: bool = True
    """False is Mesos' SUPPRESS; a higher version with True is REVIVE: it clears filters as well."""
    suppressed: tuple[Short, ...] = ()
    """Roles that want nothing although others do."""
    shapes: tuple[Shape, ...] | None = Field(default=None, max_length=1_000)
    """What for, if it is stated: then only what fits is offered, and no more than that. None: anything."""
    spare: bool = False
    """It is for tasks that may come, so that a place is ready for them: nothing is offered for it while
    anybody else wants something, and with the first offer that is not used it is over."""
