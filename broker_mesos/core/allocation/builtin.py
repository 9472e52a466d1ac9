"""The policies that come with this package, by name."""

from __future__ import annotations

from broker_mesos.core.allocation.drf import Drf
from broker_mesos.core.allocation.policy import Policy
from broker_mesos.core.allocation.priority import Priority
from broker_mesos.core.allocation.shuffled import Shuffled

BUILT_IN: dict[str, Policy] = {"drf": Drf(), "priority": Priority(), "random": Shuffled()}
DEFAULT = "drf"
