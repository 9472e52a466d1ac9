"""Publishes committed messages in order, and records which of them the broker has confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from broker_mesos.core.protocol.addresses import Address, Exchange
from broker_mesos.core.protocol.records import OutboxEntry
from broker_mesos.ports.bus import Bus, Outgoing
from broker_mesos.runtime import failpoints

MAX_UNPUBLISHED = 10_000
"""Number of unconfirmed entries from which on the owner makes no more decisions."""


class Outbox:
    """The outbox of one term. A failed publish ends the term: the next owner publishes all of it again in order, and
    the receivers drop what they have received before."""

    def __init__(self, bus: Bus, term: int, on_failure: Callable[[], None]) -> None:
        self._bus = bus
        self._term = term
        self._on_failure = on_failure
        self._confirmed: list[int] = []
        self._changed = asyncio.Event()
        self.unconfirmed = 0
        self.failed = False

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        """Publish entries. An entry is settled once the broker has confirmed it or returned it as unroutable."""
        for entry in entries:
            message = Outgoing(
                to=Address(Exchange(entry.exchange), entry.key),
                type=entry.type,
                body=entry.body,
                message_id=entry.message_id,
                mandatory=True,
                # The term is that of the publish and not of the decision: agents refuse terms lower than they have
                # seen.
                term=self._term,
            )
            self.unconfirmed += 1
            future = self._bus.publish(message)
            future.add_done_callback(partial(self._settled, entry.number))

    def _settled(self, number: int, future: asyncio.Future[bool]) -> None:
        self.unconfirmed -= 1
        if future.cancelled() or future.exception() is not None:
            self.failed = True
            self._on_failure()
        else:
            self._confirmed.append(number)
            failpoints.hit("outbox.confirmed")
        self._changed.set()

    def take_confirmed(self) -> list[int]:
        """The entries settled since the last call, which the next commit can trim."""
        confirmed, self._confirmed = self._confirmed, []
        return confirmed

    def give_back(self, numbers: Sequence[int]) -> None:
        """Take back entries that were not trimmed after all."""
        self._confirmed.extend(numbers)

    @property
    def has_confirmed(self) -> bool:
        """Whether there are entries to trim."""
        return bool(self._confirmed)

    async def drained(self, at_most: int = 0) -> None:
        """Wait until at most this number of entries is unconfirmed, or publishing has failed."""
        while self.unconfirmed > at_most and not self.failed:
            self._changed.clear()
            await self._changed.wait()
