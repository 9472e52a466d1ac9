"""Operator requests about how the cluster is divided: policy, weights, quota. Answered by any master."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Part, Short
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.wire import register

Clearable = Literal["weight", "guarantee", "limit", "preempts"]


class RoleChange(Part):
    """What to change of one role; what is None stays, what is in ``clear`` is as if it had never been set."""

    weight: float | None = Field(default=None, gt=0, le=1e6)
    guarantee: str | None = Field(default=None, max_length=4_096)
    """As ``cpus:4;mem:4096``."""
    limit: str | None = Field(default=None, max_length=4_096)
    """As ``cpus:8;gpus:0``: what is not named has no limit, 0 is none at all."""
    preempts: bool | None = None
    clear: tuple[Clearable, ...] = ()


class RoleSet(Part):
    """What is set for a role."""

    weight: float | None = None
    """None: the masters' default, mostly 1."""
    guarantee: Resources = Resources.EMPTY
    limit: str = ""
    """Empty: none."""
    preempts: bool = False


class ConfigView(Part):
    """How the cluster is divided. ``version`` counts changes."""

    version: int
    policy: str
    exclude: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    """Those that the master which answers could use."""
    roles: dict[str, RoleSet] = Field(default_factory=dict)


@register
class GetConfig(Request):
    """How is the cluster divided?"""

    TYPE = "GET_CONFIG"
    ANSWER = ConfigView
    ROUTE = Route.MASTER
    FOR_USERS = True


@register
class SetRoles(Request):
    """Change several roles at once, all or none. Refused where it is impossible: guarantees beyond the
    cluster or beyond those above them, a limit below what is held now; unless ``force``. With ``version``
    only that version of the config is changed. Idempotent."""

    TYPE = "SET_ROLES"
    ANSWER = ConfigView
    ROUTE = Route.MASTER
    FOR_USERS = True
    roles: dict[str, RoleChange] = Field(max_length=1_000)
    force: bool = False
    version: int | None = None


@register
class SetPolicy(Request):
    """Divide by another policy (empty: the same), and leave ``exclude`` out of the shares (None: as before).
    Refused by a master that does not have the policy. Idempotent."""

    TYPE = "SET_POLICY"
    ANSWER = ConfigView
    ROUTE = Route.MASTER
    FOR_USERS = True
    policy: Short = ""
    exclude: tuple[Short, ...] | None = Field(default=None, max_length=100)
    version: int | None = None


class RoleView(Part):
    """A role's part of one cell. ``dominant_share`` is of the whole cluster, as this cell knows it."""

    role: str
    cell: int
    weight: float
    frameworks: int
    allocated: Resources
    offered: Resources
    held: Resources = Resources.EMPTY
    """Both, and those of all roles below it."""
    dominant_share: float
    """Of ``held``."""
    guarantee: Resources = Resources.EMPTY
    limit: str = ""
    """As ``cpus:8;gpus:0``; empty: none."""
    preempts: bool = False


class CellUsage(Part):
    """What the frameworks of one cell hold. Amounts are in thousandths: sums over many agents may pass what
    the text form of resources allows."""

    total: dict[str, int] = Field(default_factory=dict)
    held: list[tuple[str, str, dict[str, int]]] = Field(default_factory=list)
    """(role, framework, offered and used)."""


@register
class GetCellUsage(Request):
    """What the frameworks of a cell hold now, by role. Changes of limits are checked against it."""

    TYPE = "GET_CELL_USAGE"
    ANSWER = CellUsage
    ROUTE = Route.CELLS
