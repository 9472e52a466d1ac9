"""The policies that come with this package, by name."""

from __future__ import annotations

from broker_mesos.core.cell.allocation.policies.drf import Drf
from broker_mesos.core.cell.allocation.policies.policy import Policy
from broker_mesos.core.cell.allocation.policies.priority import Priority
from broker_mesos.core.cell.allocation.policies.random import Shuffled

BUILT_IN: dict[str, Policy] = {"drf": Drf(), "priority": Priority(), "random": Shuffled()}
DEFAULT = "drf"
