"""The policies that come with this package, by name."""

from __future__ import annotations

from broker_mesos.core.allocation.drf import Drf
from broker_mesos.core.allocation.policy import Policy

BUILT_IN: dict[str, Policy] = {"drf": Drf()}
DEFAULT = "drf"
