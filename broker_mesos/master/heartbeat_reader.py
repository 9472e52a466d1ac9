"""Decodes heartbeats. Most heartbeats of a framework are equal to its previous one, so they are cached."""

from __future__ import annotations

from broker_mesos.core.protocol.agent_messages import AgentHeartbeat
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat
from broker_mesos.master.undecodable import read
from broker_mesos.ports.bus import Delivery

MAX_CACHED = 2_000
"""Maximum number of cached heartbeats of frameworks; each process of a framework needs one."""
MAX_CACHED_BYTES = 4_096
"""Maximum size of a cached heartbeat, in bytes."""


class HeartbeatReader:
    """Decodes heartbeats, and decodes equal ones only once."""

    def __init__(self) -> None:
        self._known: dict[bytes, FrameworkHeartbeat] = {}

    def read(self, delivery: Delivery) -> AgentHeartbeat | FrameworkHeartbeat | None:
        """The heartbeat in a delivery; None for a probe of the route. Raises InvalidMessage."""
        if delivery.type == FrameworkHeartbeat.TYPE and (known := self._known.get(delivery.body)) is not None:
            return known
        beat = read(delivery, (AgentHeartbeat, FrameworkHeartbeat, Ping))
        if not isinstance(beat, AgentHeartbeat | FrameworkHeartbeat):
            return None
        if isinstance(beat, FrameworkHeartbeat) and len(delivery.body) <= MAX_CACHED_BYTES:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[delivery.body] = beat
        return beat
