"""Messages that the owner of a cell cannot handle: those that become dead letters, and those of a newer release.

While masters are being upgraded, agents and frameworks may send message types that only newer masters know. Such a
message is kept: it is neither acknowledged nor given back (it would be delivered again at once, endlessly), so it
returns to the inbox when the term ends, for the next owner.
"""

from __future__ import annotations

import asyncio
from collections import deque

from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.core.cell.inputs import CELL_MESSAGES
from broker_mesos.core.model.part import whole_number
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import InvalidMessage, UnknownMessage
from broker_mesos.master.context import MasterContext
from broker_mesos.master.event_log import EventLog
from broker_mesos.ports.bus import Consumer, Delivery
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

MAX_KEPT_MESSAGES = 100
"""Maximum number of kept messages. Each counts against the prefetch, so that too many would block the cell."""
KEPT_MESSAGE_SECONDS = 600.0
"""Time for which a message is kept, in seconds: well below the time after which RabbitMQ closes a channel that does
not acknowledge (30 min)."""


def read(delivery: Delivery, taken: tuple[type[Message], ...] = CELL_MESSAGES) -> Message:
    """The message in a delivery. Raises InvalidMessage, as UnknownMessage for an unknown type."""
    if delivery.problem:
        raise InvalidMessage(f"{delivery.type}: {delivery.problem}")
    try:
        message = decode(delivery.type, delivery.body)
    except InvalidMessage:
        raise
    except Exception as error:  # a decoder that fails is treated like a body that does not fit
        raise InvalidMessage(f"{delivery.type}: cannot be read: {error!r}") from error
    if not isinstance(message, taken):
        raise InvalidMessage(f"{delivery.type} is not for this queue of a cell")
    return message


class Undecodable:
    """The messages that the owner of one cell cannot handle under one term."""

    def __init__(self, context: MasterContext, cell: int, consumer: Consumer, events: EventLog) -> None:
        self._cell = cell
        self._consumer = consumer
        self._events = events
        self._context = context
        self._bus = context.bus
        self._clock = context.clock
        self._kept: deque[tuple[float, Delivery, str]] = deque()
        self._some = asyncio.Event()

    async def run(self) -> None:
        """Move messages that were kept for too long to the dead letters. Raises BusUnavailable."""
        while True:
            await self._some.wait()
            until, delivery, reason = self._kept[0]
            await self._clock.sleep(max(0.0, until - self._clock.monotonic()))
            await self.park(delivery, reason)
            self._kept.popleft()
            if not self._kept:
                self._some.clear()

    async def keep_or_park(self, delivery: Delivery, error: InvalidMessage) -> None:
        """Keep a message if a newer master may know its type, else move it to the dead letters. Raises
        StoreUnavailable, BusUnavailable."""
        unknown = isinstance(error, UnknownMessage) and len(self._kept) < MAX_KEPT_MESSAGES
        if unknown and await self._newer_master():
            log.warning("kept for a newer master", cell=self._cell, type=delivery.type, reason=str(error))
            self._kept.append((self._clock.monotonic() + KEPT_MESSAGE_SECONDS, delivery, str(error)))
            self._some.set()
        else:
            await self.park(delivery, str(error))

    async def park(self, delivery: Delivery, reason: str, tries: int = 0) -> None:
        """Move a message to the dead letters. It is acknowledged only once it is safe there."""
        log.warning("dead-lettered", cell=self._cell, type=delivery.type, reason=reason)
        inbox = Queue(QueueKind.CELL_INBOX, str(self._cell))
        now = self._clock.time()
        dead = letter(delivery, inbox, reason, tries=tries, letter_id=self._context.new_id(), now=now)
        await park(self._bus, dead)
        text = f"a message {delivery.type[:64]} of cell {self._cell} is a dead letter: {reason[:200]}"
        self._events.add("letter.parked", (), text, cell=self._cell)
        self._consumer.acknowledge([delivery])

    async def _newer_master(self) -> bool:
        versions = {each.master_id: version(each.version) for each in await self._context.store.masters()}
        mine = versions.get(self._context.master_id)
        return mine is not None and any(each > mine for each in versions.values())


def version(text: str) -> tuple[int, ...]:
    """A version such as ``1.10.2`` as a tuple that can be compared; a part that is not a number counts as 0."""
    return tuple(whole_number(part) or 0 for part in text.split("."))
