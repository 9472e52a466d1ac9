"""Opens the bus that a URL names. Clients use it too, so it is not in the wiring, which imports the daemons."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from broker_mesos.bus.rabbitmq import RabbitBus
from broker_mesos.core.protocol.users import check_user
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.bus import Bus
from broker_mesos.runtime.clock import SystemClock
from broker_mesos.runtime.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:  # clients do not need it
    from broker_mesos.runtime.settings import Settings

# Tests simulate a wrong system clock of a machine.
CLOCK = SystemClock(float(os.environ.get("BMESOS_CLOCK_OFFSET") or 0))


def open_bus(
    url: str,
    *,
    name: str,
    cluster: str = "default",
    heartbeat: float = 10.0,
    verifies: bool = False,
    tls: TlsFiles = NO_FILES,
) -> Bus:
    """A bus over RabbitMQ, which is not opened yet. With ``verifies`` it checks the senders of messages; raises
    InvalidInput if its own user then has a name that cannot be checked."""
    bus = RabbitBus(
        url,
        clock=CLOCK,
        rng=random.Random(),
        cluster=cluster,
        name=name,
        heartbeat=max(1, round(heartbeat)),
        verifies=verifies,
        tls=tls,
    )
    if verifies:
        check_user(bus.user)
    return bus


def daemon_bus(settings: Settings, kind: str, heartbeat: float | None = None) -> Bus:
    """The bus of a daemon of this kind, which is not opened yet; ``heartbeat`` is AMQP's, in seconds."""
    return open_bus(
        settings.need_broker(),
        name=f"bmesos {kind} {os.getpid()}",
        cluster=settings.cluster,
        heartbeat=heartbeat or settings.agent_heartbeat,
        verifies=settings.security == "on",
        tls=settings.tls_files(),
    )


def check_daemon_user(bus: Bus, daemon: str, user: str) -> None:
    """Check that a daemon has the broker's user of its kind. Raises InvalidInput: others would believe nothing of it,
    or take what it does for the acts of a person."""
    if bus.verifies and bus.user != user:
        raise InvalidInput(
            f"{daemon} has the broker's user {bus.user!r}: with security on it must be {user!r} "
            "(`bmesos deploy rabbitmq-definitions` makes it)"
        )
