"""The deliveries that a consumer has received and not settled yet, for the consumers of both buses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from broker_mesos.ports.bus import ConsumerClosed, Delivery


class Inbox:
    """Keeps deliveries until they are received, and their tags until they are settled."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery] = deque()
        self._unsettled: dict[int, Delivery] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._ended: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the inbox has ended: it neither takes nor hands out deliveries any more."""
        return self._ended is not None

    @property
    def unsettled(self) -> int:
        """Number of deliveries that count against the prefetch."""
        return len(self._unsettled)

    def put(self, delivery: Delivery) -> None:
        """Add a delivery that has arrived. Tags must rise."""
        if self._ended is not None:
            return
        self._waiting.append(delivery)
        self._unsettled[delivery.tag] = delivery
        self._wake()

    async def receive(self, limit: int) -> list[Delivery]:
        """See ``Consumer.receive``."""
        while True:
            if self._ended is not None:
                raise ConsumerClosed(self._ended)
            if self._waiting:
                if len(self._waiting) <= limit:
                    batch = list(self._waiting)
                    self._waiting.clear()
                    return batch
                return [self._waiting.popleft() for _ in range(limit)]
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def settle(self, deliveries: Sequence[Delivery]) -> tuple[int, list[int]]:
        """Forget deliveries. Returns the highest tag up to which everything unsettled is among them (0 if there is
        none), and the other tags. Deliveries that belong to another consumer or are settled already are left out,
        since an unknown tag would make the broker close the channel."""
        tags = sorted({each.tag for each in deliveries if self._unsettled.get(each.tag) is each})
        prefix = 0
        for tag, oldest in zip(tags, self._unsettled, strict=False):
            if tag != oldest:
                break
            prefix += 1
        for tag in tags:
            del self._unsettled[tag]
        if prefix:
            return tags[prefix - 1], tags[prefix:]
        return 0, tags

    def end(self, reason: str) -> None:
        """Hand out no more deliveries: those that wait here have gone back to the queue."""
        if self._ended is None:
            self._ended = reason
            self._waiting.clear()
            self._unsettled.clear()
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
