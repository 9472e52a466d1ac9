"""Operator requests about the cluster config: policy, weights and quota of roles. Answered by any master."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part, Short
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.wire import register

USAGE_TIMEOUT_SECONDS = 1.0
"""Seconds within which a cell of another master reports its usage."""
CONFIRM_TIMEOUT_SECONDS = 2.0
"""Seconds within which the cells confirm a change of the cluster config. The answer names those that do not."""

Clearable = Literal["weight", "guarantee", "limit", "preempts"]


class RoleChange(Part):
    """A change of the settings of one role. Fields that are None stay as they are; those in ``clear`` are reset."""

    weight: float | None = Field(default=None, gt=0, le=1e6)
    guarantee: str | None = Field(default=None, max_length=4_096)
    """The guarantee, such as ``cpus:4;mem:4096``."""
    limit: str | None = Field(default=None, max_length=4_096)
    """The limit, such as ``cpus:8;gpus:0``. Resources that are not named are not limited; 0 allows none at all."""
    preempts: bool | None = None
    clear: tuple[Clearable, ...] = ()


class RoleSet(Part):
    """The settings of a role."""

    weight: float | None = None
    """The weight; None if it is the masters' default, which is 1 unless they were started with another one."""
    guarantee: Resources = Resources.EMPTY
    limit: str = ""
    """The limit, such as ``cpus:8;gpus:0``; empty if there is none."""
    preempts: bool = False


class ConfigView(Part):
    """The cluster config. ``version`` is incremented with each change."""

    version: int
    policy: str
    exclude: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    """Names of the policies that are available to the master that answers."""
    roles: dict[str, RoleSet] = Field(default_factory=dict)
    unconfirmed: tuple[int, ...] = ()
    """The cells that have not confirmed a change that was just made: it takes effect there later, usually within a
    second. Empty if the change is in effect in all cells."""


@register
class GetConfig(Request):
    """Get the cluster config."""

    TYPE = "GET_CONFIG"
    RIGHT = Right.VIEW
    ANSWER = ConfigView
    ROUTE = Route.MASTER
    FOR_USERS = True


@register
class SetRoles(Request):
    """Change the settings of several roles, all or none. Without ``force``, the request is refused if the guarantees
    exceed the cluster or the guarantee of a role above, or if a limit is below what the role holds now. With
    ``version``, only that version of the config is changed. Idempotent."""

    TYPE = "SET_ROLES"
    RIGHT = Right.ROLES
    ANSWER = ConfigView
    ROUTE = Route.MASTER
    FOR_USERS = True
    roles: dict[str, RoleChange] = Field(max_length=1_000)
    force: bool = False
    version: int | None = None

    @property
    def wait_seconds(self) -> float:
        """The cells report their usage before the change, and confirm it afterwards."""
        return USAGE_TIMEOUT_SECONDS + CONFIRM_TIMEOUT_SECONDS


@register
class SetPolicy(Request):
    """Set the policy (empty: unchanged), and the resources that do not count for shares (``exclude``; None:
    unchanged). A master that does not have the policy refuses the request. Idempotent."""

    TYPE = "SET_POLICY"
    RIGHT = Right.POLICY
    ANSWER = ConfigView
    ROUTE = Route.MASTER
    FOR_USERS = True
    policy: Short = ""
    exclude: tuple[Short, ...] | None = Field(default=None, max_length=100)
    version: int | None = None

    @property
    def wait_seconds(self) -> float:
        """The cells confirm the change."""
        return CONFIRM_TIMEOUT_SECONDS


class RoleSummary(Part):
    """A role, in one cell or over all of them."""

    role: str
    weight: float
    frameworks: int
    allocated: Resources
    offered: Resources
    held: Resources = Resources.EMPTY
    """Allocated and offered resources of the role and of all roles below it."""
    dominant_share: float
    """The dominant share of ``held``."""
    guarantee: Resources = Resources.EMPTY
    limit: str = ""
    """The limit, such as ``cpus:8;gpus:0``; empty if there is none."""
    preempts: bool = False


class RoleView(RoleSummary):
    """A role in one cell. ``dominant_share`` is its share of the whole cluster, as far as this cell knows."""

    cell: int


class CellUsage(Part):
    """Resources that the frameworks of one cell use or are offered. Amounts are in thousandths, since sums over many
    agents may exceed the bound of the text form of resources."""

    total: dict[str, int] = Field(default_factory=dict)
    held: list[tuple[str, str, dict[str, int]]] = Field(default_factory=list)
    """Entries of role, framework id, and used and offered amounts by name."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Number of agents and of tasks of the cell; releases before the history of the cluster do not publish it."""


@register
class GetCellUsage(Request):
    """Get the resources that the frameworks of a cell use or are offered now, by role. Changes of limits are checked
    against them."""

    TYPE = "GET_CELL_USAGE"
    RIGHT = Right.VIEW
    ANSWER = CellUsage
    ROUTE = Route.CELLS


class ConfigApplied(Part):
    """The version of the cluster config that a cell divides its resources by."""

    version: int


@register
class ApplyConfig(Request):
    """Read the cluster config from the store and apply it to a cell. The answer comes once the cell decides by it, or
    by a later version. Idempotent."""

    TYPE = "APPLY_CONFIG"
    RIGHT = Right.ROLES
    ANSWER = ConfigApplied
    ROUTE = Route.CELLS
