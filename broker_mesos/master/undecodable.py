"""What the owner of a cell cannot handle: messages for the dead letters, and those of a newer release.

While masters are being replaced by newer ones, agents and frameworks may speak of what only the newer ones
know. Such a message is kept, neither acknowledged nor given back (it would come again at once, for ever), and
so returns to the inbox with the end of the term, for the next owner.
"""

from __future__ import annotations

import asyncio
from collections import deque

from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.core.cell.inputs import CELL_MESSAGES
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import InvalidMessage, UnknownMessage
from broker_mesos.master.context import MasterContext
from broker_mesos.ports.bus import Consumer, Delivery
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

MAX_PUT_ASIDE = 100
"""Each counts against the prefetch, so that too many would stall the cell."""
PUT_ASIDE_SECONDS = 600.0
"""Seconds: well below the time after which RabbitMQ closes a channel that does not acknowledge (30 min)."""


def read(delivery: Delivery, taken: tuple[type[Message], ...] = CELL_MESSAGES) -> Message:
    """The message of a delivery. Raises InvalidMessage, as UnknownMessage for a type that is not known."""
    if delivery.problem:
        raise InvalidMessage(f"{delivery.type}: {delivery.problem}")
    try:
        message = decode(delivery.type, delivery.body)
    except InvalidMessage:
        raise
    except Exception as error:  # a decoder that fails is as bad as a body that does not fit
        raise InvalidMessage(f"{delivery.type}: cannot be read: {error!r}") from error
    if not isinstance(message, taken):
        raise InvalidMessage(f"{delivery.type} is not for this queue of a cell")
    return message


class Undecodable:
    """What the owner of one cell cannot handle under one term."""

    def __init__(self, context: MasterContext, cell: int, consumer: Consumer) -> None:
        self._cell = cell
        self._consumer = consumer
        self._context = context
        self._bus = context.bus
        self._clock = context.clock
        self._kept: deque[tuple[float, Delivery, str]] = deque()
        self._some = asyncio.Event()

    async def run(self) -> None:
        """Park what was kept for too long. Raises BusUnavailable."""
        while True:
            await self._some.wait()
            until, delivery, reason = self._kept[0]
            await self._clock.sleep(max(0.0, until - self._clock.monotonic()))
            await self.park(delivery, reason)
            self._kept.popleft()
            if not self._kept:
                self._some.clear()

    async def keep_or_park(self, delivery: Delivery, error: InvalidMessage) -> None:
        """Keep it, if a newer master may know its type. Raises StoreUnavailable, BusUnavailable."""
        unknown = isinstance(error, UnknownMessage) and len(self._kept) < MAX_PUT_ASIDE
        if unknown and await self._newer_master():
            log.warning("kept for a newer master", cell=self._cell, type=delivery.type, reason=str(error))
            self._kept.append((self._clock.monotonic() + PUT_ASIDE_SECONDS, delivery, str(error)))
            self._some.set()
        else:
            await self.park(delivery, str(error))

    async def park(self, delivery: Delivery, reason: str, tries: int = 0) -> None:
        """Put a message among the dead letters; acknowledged only once it is safe there."""
        log.warning("dead-lettered", cell=self._cell, type=delivery.type, reason=reason)
        inbox = Queue(QueueKind.CELL_INBOX, str(self._cell))
        now = self._clock.time()
        dead = letter(delivery, inbox, reason, tries=tries, letter_id=self._context.new_id(), now=now)
        await park(self._bus, dead)
        self._consumer.acknowledge([delivery])

    async def _newer_master(self) -> bool:
        versions = {each.master_id: version(each.version) for each in await self._context.store.masters()}
        mine = versions.get(self._context.master_id)
        return mine is not None and any(each > mine for each in versions.values())


def version(text: str) -> tuple[int, ...]:
    """``1.10.2`` as numbers that compare; what is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))
