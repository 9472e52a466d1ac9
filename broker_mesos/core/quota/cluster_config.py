"""The cluster config: policy, weights and quota, as the operators have set them. They can be changed at run time.

There is one record with a version for the whole cluster. Masters read it periodically, and each cell applies the
latest version.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from broker_mesos.core.model.part import Part, Short
from broker_mesos.core.model.resources import Resources

DEFAULT_POLICY = "drf"


class RoleSettings(Part):
    """The settings of one role. They apply to the role and all roles below it together."""

    weight: float | None = Field(default=None, gt=0, le=1e6)
    """The weight of the role; None if it is the masters' default, which is 1 unless they were started with
    another one."""
    guarantee: Resources = Resources.EMPTY
    """Scalars that are kept free from other roles, whether the role demands them now or not."""
    limit: dict[Short, int] = Field(default_factory=dict)
    """The largest amounts that the role may use and be offered, in thousandths by name; 0 allows none at all."""
    since: int = 0
    """Version of the config since which the limit has named no other resources than now; 0 without a limit."""
    preempts: bool = False
    """Whether tasks of other roles may be killed for its guarantee, or for its rank under a strict policy."""

    @property
    def empty(self) -> bool:
        """Whether no setting of the role differs from the default."""
        return self == RoleSettings()


class ClusterConfig(Part):
    """The whole cluster config. ``version`` is incremented with each change; it is 0 if nothing was ever set."""

    version: int = 0
    policy: Short = ""
    """Name of the policy; empty if it is the masters' default."""
    exclude: tuple[Short, ...] = ()
    """Names of resources that do not count for shares."""
    roles: dict[str, RoleSettings] = Field(default_factory=dict)

    def weights(self, otherwise: Mapping[str, float]) -> dict[str, float]:
        """Weights by role; ``otherwise`` has the weights that the masters were started with."""
        found = dict(otherwise)
        found.update((role, settings.weight) for role, settings in self.roles.items() if settings.weight is not None)
        return found
