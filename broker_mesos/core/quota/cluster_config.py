"""How a cluster is divided, as its operators have set it: policy, weights, quota. Changed at run time.

One record for the whole cluster, with a version; masters read it again and again, and each cell heeds the
latest one.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from broker_mesos.core.model.part import Part, Short
from broker_mesos.core.model.resources import Resources

DEFAULT_POLICY = "drf"


class RoleSettings(Part):
    """What is set for one role. Everything counts for the role and all roles below it together."""

    weight: float | None = Field(default=None, gt=0, le=1e6)
    """None: 1."""
    guarantee: Resources = Resources.EMPTY
    """Scalars that others may not use up, whether the role wants them now or not."""
    limit: dict[Short, int] = Field(default_factory=dict)
    """Thousandths that the role may hold at most, by name; 0 is none at all."""
    since: int = 0
    """Version of the config with which the limit began to count what it counts; 0 without a limit."""
    preempts: bool = False
    """Whether tasks of others may be killed for its guarantee, or for its rank under a strict policy."""

    @property
    def empty(self) -> bool:
        """Whether nothing is set."""
        return self == RoleSettings()


class ClusterConfig(Part):
    """All of it. ``version`` counts up with each change; 0 is a cluster where nothing was ever set."""

    version: int = 0
    policy: Short = ""
    """Empty: the masters' default."""
    exclude: tuple[Short, ...] = ()
    """Resources that do not count in fair shares."""
    roles: dict[str, RoleSettings] = Field(default_factory=dict)

    def weights(self, otherwise: Mapping[str, float]) -> dict[str, float]:
        """Weights by role; ``otherwise`` are those that the masters were started with."""
        found = dict(otherwise)
        found.update((role, settings.weight) for role, settings in self.roles.items() if settings.weight is not None)
        return found
