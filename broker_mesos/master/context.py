"""The context that all parts of one master share."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker_mesos.bus.caller import CheckedAccess
from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.cell.allocation.policies.policy import Policy
from broker_mesos.core.protocol.limits import Instant, Limits
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.ports.middleware import Middleware
from broker_mesos.ports.store import Records, Store
from broker_mesos.ports.streams import Streams


@dataclass(frozen=True, kw_only=True, slots=True)
class MasterContext:
    """The identity of a master, and the adapters, settings and source of randomness that its parts use."""

    master_id: str
    cluster: str
    bus: Bus
    store: Store
    records: Records
    clock: Clock
    new_id: NewId
    rng: random.Random
    limits: Limits
    hostname: str = ""
    pid: int = 0
    version: str = ""
    streams: Streams | None = None
    """Where events and history are kept for operators; None if they are not kept."""
    weights: Mapping[str, float] | None = None
    """Weights of roles whose weight operators have not set; None means a weight of 1 for every role."""
    policies: Mapping[str, Policy] = field(default_factory=lambda: BUILT_IN)
    """Allocation policies by name."""
    middleware: tuple[Middleware, ...] = ()
    access: CheckedAccess | None = None
    """The policy by which requests of operators are refused; None if everybody may do everything."""

    def now(self) -> Instant:
        """The current time of both clocks."""
        return Instant(self.clock.time(), self.clock.monotonic())
