"""Reading heartbeats: most of a framework's say what its last one said."""

from __future__ import annotations

from broker_mesos.core.protocol.agent_messages import AgentHeartbeat
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat
from broker_mesos.master.undecodable import read
from broker_mesos.ports.bus import Delivery

MAX_REMEMBERED = 2_000
"""Heartbeats of frameworks that are remembered; one process of each framework needs one."""
MAX_REMEMBERED_BYTES = 4_096
"""Bytes of one that is."""


class HeartbeatReader:
    """Reads them, and decodes once what comes again and again."""

    def __init__(self) -> None:
        self._known: dict[bytes, FrameworkHeartbeat] = {}

    def read(self, delivery: Delivery) -> AgentHeartbeat | FrameworkHeartbeat:
        """The heartbeat of a delivery. Raises InvalidMessage."""
        if delivery.type == FrameworkHeartbeat.TYPE and (known := self._known.get(delivery.body)) is not None:
            return known
        beat = read(delivery, (AgentHeartbeat, FrameworkHeartbeat))
        assert isinstance(beat, AgentHeartbeat | FrameworkHeartbeat)
        if isinstance(beat, FrameworkHeartbeat) and len(delivery.body) <= MAX_REMEMBERED_BYTES:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[delivery.body] = beat
        return beat
