"""The bus that a URL means. Apart from the wiring, since clients need it and none of the daemons."""

from __future__ import annotations

import os
import random

from broker_mesos.bus.rabbitmq import RabbitBus
from broker_mesos.clock import SystemClock
from broker_mesos.ports import Bus

# Tests pretend that a machine's calendar is wrong.
CLOCK = SystemClock(float(os.environ.get("BMESOS_CLOCK_OFFSET") or 0))


def open_bus(url: str, *, name: str, cluster: str = "default", heartbeat: float = 10.0) -> Bus:
    """A bus over RabbitMQ, not yet opened."""
    return RabbitBus(
        url, clock=CLOCK, rng=random.Random(), cluster=cluster, name=name, heartbeat=max(1, round(heartbeat))
    )
