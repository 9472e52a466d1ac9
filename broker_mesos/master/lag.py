"""How far an owner is behind with its inbox: what it sends there itself comes back when all that was there
before has been read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from broker_mesos.core.protocol.addresses import updates
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.ports.bus import Bus, outgoing
from broker_mesos.ports.clock import NewId

PING_INTERVAL_SECONDS = 1.0
"""Seconds between two of them."""
OVERLOADED_SECONDS = 2.0
"""Seconds from which on nothing new is offered: an offer makes more work, and its answer would come late."""
PING_AFTER_MESSAGES = 50
"""Messages read since the last one, from which on another is worth its way: whoever is behind reads many at a
time. On a quiet cell it would stand in the way of what somebody waits for."""
PING_TIMEOUT_SECONDS = 30.0
"""Seconds after which one that has not come back is taken for lost."""


class Lag:
    """Times are monotonic, in seconds."""

    def __init__(self, cell: int, bus: Bus, new_id: NewId) -> None:
        self._cell = cell
        self._bus = bus
        self._new_id = new_id
        self._token = ""
        self._sent = float("-inf")
        self._read = 0

    def record(self, inputs: Iterable[object], read: int) -> None:
        """What is decided on now, its own among it perhaps; so many of it are from the inbox."""
        self._read += read
        for each in inputs:
            if isinstance(each, Ping) and each.token and each.token == self._token:
                self._token = ""

    def at(self, now: float) -> float:
        """Seconds for which what was sent has been under way; 0 while nothing is."""
        return now - self._sent if self._token else 0.0

    def ask(self, now: float) -> None:
        """Send one, if it is time."""
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
