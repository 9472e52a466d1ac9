"""Measures how far an owner is behind with its inbox: a message that it sends to its own inbox comes back when all
earlier messages have been read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from broker_mesos.core.protocol.addresses import updates
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.ports.bus import Bus, outgoing
from broker_mesos.ports.clock import NewId

PING_INTERVAL_SECONDS = 1.0
"""Interval between two pings, in seconds."""
OVERLOADED_SECONDS = 2.0
"""Lag, in seconds, from which on nothing new is offered: an offer makes more work, and its answer would be handled
late."""
PING_AFTER_MESSAGES = 50
"""Number of messages read since the last ping from which on another ping is worth its cost: an owner that is behind
reads many messages at a time. On a quiet cell the ping would delay other messages."""
PING_TIMEOUT_SECONDS = 30.0
"""Time after which a ping that has not come back counts as lost, in seconds."""


class Lag:
    """The lag of one owner. All times are monotonic, in seconds."""

    def __init__(self, cell: int, bus: Bus, new_id: NewId) -> None:
        self._cell = cell
        self._bus = bus
        self._new_id = new_id
        self._token = ""
        self._sent = float("-inf")
        self._read = 0

    def record(self, inputs: Iterable[object], read: int) -> None:
        """Record the inputs of a decision, which may contain the ping, and the number of messages read from the
        inbox."""
        self._read += read
        for each in inputs:
            if isinstance(each, Ping) and each.token and each.token == self._token:
                self._token = ""

    def at(self, now: float) -> float:
        """The time for which a ping has been under way, in seconds; 0 if none is."""
        return now - self._sent if self._token else 0.0

    def ping(self, now: float) -> None:
        """Send a ping if it is time for one."""
        if now - self._sent < (PING_TIMEOUT_SECONDS if self._token else PING_INTERVAL_SECONDS):
            return
        if not self._token and self._read < PING_AFTER_MESSAGES:
            return
        self._sent = now
        self._read = 0
        self._token = self._new_id()
        token = self._token
        message = outgoing(updates(self._cell), Ping(token=token), self._new_id(), persistent=False)

        def published(future: asyncio.Future[bool]) -> None:
            lost = future.cancelled() or future.exception() is not None or not future.result()
            if lost and self._token == token:
                self._token = ""

        self._bus.publish(message).add_done_callback(published)
