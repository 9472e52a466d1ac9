"""The description that a framework gives of itself, and the demand that it publishes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from broker_mesos.core.model.attributes import AGENT, Constraint, check_attribute_name
from broker_mesos.core.model.multiples import fits, portion, times
from broker_mesos.core.model.part import MAX_SHORT, Ident, Part, Short
from broker_mesos.core.model.port_numbers import MAX_PORTS, PORTS, count_ports, with_count
from broker_mesos.core.model.resources import Resources


class FrameworkInfo(Part):
    """The description of a framework. Processes with the same ``framework_id`` are one framework."""

    framework_id: Ident
    name: str = ""
    roles: tuple[Short, ...] = Field(default=("*",), max_length=100)
    failover_timeout: float | None = Field(default=0.0, ge=0)
    """How long the framework's tasks outlive its last process, in seconds; None if the framework is never torn
    down because of its absence."""
    capabilities: tuple[str, ...] = ()
    user: str = ""
    hostname: str = ""
    offer_filters: dict[str, tuple[Resources, ...]] = Field(default_factory=dict)
    """Minimum offers by role: an offer must contain at least one of these amounts."""
    offer_constraints: dict[str, tuple[tuple[Constraint, ...], ...]] = Field(default_factory=dict)
    """Constraints on agents by role, in groups: an agent must satisfy all constraints of at least one group."""
    packing: Literal["binpack", "spread"] = "binpack"
    """Which of the agents that fit a stated demand are offered first: the fullest (``binpack``) or the emptiest
    (``spread``)."""
    competing: bool = False
    """True: all processes with this ``framework_id`` receive offers and events at once, and share the state of
    their tasks through a store of the framework's own. False: one process is active, the others stand by."""


REVOCABLE_RESOURCES = "REVOCABLE_RESOURCES"
"""Capability of a framework that accepts revocable offers, which are made of slack."""


GPU_RESOURCES = "GPU_RESOURCES"
"""Capability of a framework that receives offers of agents with gpus."""


DEMAND_ROLES = "DEMAND_ROLES"
"""Capability of a framework whose demand names the roles that it is for; see ``Demand.roles``."""


MAX_TASKS_OF_SHAPE = 10_000_000
MAX_PLACED = 10_000
"""The largest number of values in ``Shape.placed``."""


class PlacementRules(NamedTuple):
    """The part of a shape beside its resources that decides where its tasks may run together."""

    ports: int
    name: str
    most: int
    per: str


class Shape(Part):
    """A demand for tasks that all need the same: how many tasks a framework is ready to launch, and on what."""

    resources: Resources
    count: int = Field(default=1, ge=0, le=MAX_TASKS_OF_SHAPE)
    """Number of tasks that were still to be launched when the version of the demand was assigned."""
    role: Short = "*"
    constraints: tuple[Constraint, ...] = ()
    gang: Short = ""
    """Name of the gang that the shape belongs to: all tasks of a gang start together or none does. Empty if the
    tasks are independent."""
    revocable: bool = False
    """Whether the tasks run on slack only. It has no effect in a gang, since slack can be revoked task by task."""
    isolation: tuple[Short, ...] = Field(default=(), max_length=100)
    """The words of ``AgentInfo.isolation`` that an agent must have for them; see ``task_isolation.demanded_words``."""
    ports: int = Field(default=0, ge=0, le=MAX_PORTS)
    """Number of ports of each task, whatever numbers they have. An offer for the shape names the numbers. A task that
    needs certain numbers requests them in ``resources`` instead."""
    name: Short = ""
    """Name of the tasks of the shape, as in ``TaskInfo.shape``: ``most`` counts the tasks with this name."""
    most: int = Field(default=0, ge=0, le=MAX_TASKS_OF_SHAPE)
    """The largest number of these tasks that may run at a time on all agents with the same value of the attribute
    ``per``; 0 if it is not limited. An agent without the attribute is not offered."""
    per: Short = AGENT
    """Name of an attribute, or ``agent`` (its id) or ``hostname``."""
    placed: dict[Short, int] = Field(default_factory=dict, max_length=MAX_PLACED)
    """Number of these tasks that the framework already has, by value of ``per``. A cell counts those in the cell by
    itself; stated here are those of all cells, which matters if agents of several cells share a value."""

    @field_validator("per")
    @classmethod
    def _per(cls, name: str) -> str:
        return check_attribute_name(name)

    @model_validator(mode="after")
    def _ports_have_one_form(self) -> Shape:
        if self.ports and PORTS in self.resources.names():
            raise ValueError("ports are requested by number in resources and by their count: keep one")
        return self

    @property
    def whole(self) -> Resources:
        """What each task needs, with ports and the members of ranges and sets counted."""
        return with_count(self.resources, self.ports)

    def fits(self, free: Resources) -> int:
        """Number of tasks that fit free resources, without a look at ``most``."""
        return fits(self.resources, free, self.ports)

    def missing_in(self, has: Resources) -> Resources:
        """What one task needs and ``has`` does not contain; ports are counted. Empty exactly if a task fits."""
        missing = has.missing(self.resources)
        short = self.ports - count_ports(has) if self.ports else 0
        return with_count(missing, short) if short > 0 else missing

    def portion(self, count: int, free: Resources, start: int = 0) -> Resources:
        """What ``count`` tasks, which must fit, are given of free resources; port numbers from ``start`` on first."""
        if not self.ports:
            return times(self.resources, count)
        return portion(self.resources, count, free, self.ports, start)

    @property
    def rules(self) -> PlacementRules | None:
        """The rules about ports and about tasks beside each other; None if there are none."""
        if not (self.ports or self.most):
            return None
        name = self.name or (str(self.resources)[:MAX_SHORT] if self.most else "")
        return PlacementRules(self.ports, name, self.most, self.per)

    @property
    def on_slack(self) -> bool:
        """Whether the shape is met by offers of slack."""
        return self.revocable and not self.gang

    @property
    def key(
        self,
    ) -> tuple[Resources, str, tuple[Constraint, ...], str, bool, tuple[str, ...], PlacementRules | None]:
        """The key that distinguishes shapes, independent of their counts."""
        if not (self.ports or self.most):  # as most of them
            return self.resources, self.role, self.constraints, self.gang, self.revocable, self.isolation, None
        return self.resources, self.role, self.constraints, self.gang, self.revocable, self.isolation, self.rules


MAX_DEMAND_VERSION = 2**48
"""The largest version of a demand. Versions are times in milliseconds since the epoch, or counted up from such a
time."""


MAX_DEMAND_ROLES = 1_000
"""The largest number of roles that one demand names."""


class Demand(Part):
    """The demand of a framework, as a level: a cell applies only a version above the last one that it applied."""

    version: int = Field(default=0, ge=-1, le=MAX_DEMAND_VERSION)
    wanted: bool = True
    """Whether the framework receives offers. False is Mesos' SUPPRESS; True with a higher version is REVIVE, which
    clears filters as well."""
    roles: tuple[Short, ...] = Field(default=(), max_length=MAX_DEMAND_ROLES)
    """Roles under which a framework with the capability DEMAND_ROLES receives offers for this demand, in place of the
    roles of its FrameworkInfo; empty for those. Of several processes that share their work each knows other roles of
    it: the version keeps an older list from replacing a newer one."""
    suppressed: tuple[Short, ...] = ()
    """Roles that receive no offers even while ``wanted`` is True."""
    shapes: tuple[Shape, ...] | None = Field(default=None, max_length=1_000)
    """The tasks that the framework is ready to launch: only offers that fit them are made, and no more than they
    need. None if the demand is not stated: anything may be offered."""
    spare: bool = False
    """Whether the demand is for tasks that may arrive later, so that resources are ready for them. Nothing is
    offered for it while any other framework demands something, and it ends with the first offer that is not
    used."""
