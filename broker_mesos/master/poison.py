"""Finds poison messages: those that make their handler, or the whole process, fail. Other messages of the same batch
are not blamed.

A batch that fails comes back, to this master or to another one. Then each of its messages is counted in the store
before it is tried again: at first all of them together, and each message that has a count already alone. So a message
that ends every owner runs out of tries, while a message that was only in the same batch has been handled by then.
Messages that were not part of a failure are neither counted nor looked up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from zlib import crc32

from broker_mesos.ports.bus import Delivery
from broker_mesos.ports.store import Store

MAX_TRIES = 3
"""Maximum number of tries of a message after it has come back; then it becomes a dead letter."""


class PoisonDetector:
    """The messages of one cell that came back. There is one detector for as long as the master is a standby for the
    cell."""

    def __init__(self, store: Store, cell: int) -> None:
        self._store = store
        self._cell = cell
        self._tries: dict[str, int] | None = None
        self._trying: list[str] = []
        self._done: list[str] = []
        self._errors: dict[str, str] = {}

    def begin(self) -> None:
        """Start a new term: another master may have counted tries meanwhile."""
        self._tries = None

    async def load(self, inbox: deque[Delivery]) -> None:
        """Look up the counts, if that was not done in this term and the first message came back. Must be called
        before ``take``.

        Raises StoreUnavailable.
        """
        if self._tries is None and inbox and inbox[0].redelivered:
            # A message whose try ended with the term for another reason, such as an unavailable store, is not to
            # blame.
            self._done += self._trying
            self._trying = []
            await self._forget()
            self._tries = await self._store.tries(self._cell)

    def take(self, inbox: deque[Delivery], limit: int, max_bytes: int = 1 << 30) -> list[Delivery]:
        """The next batch, of up to ``limit`` messages and ``max_bytes`` of bodies (but at least one message). It
        contains either new messages only, or messages that came back only."""
        batch: list[Delivery] = []
        size = 0
        while inbox and len(batch) < limit:
            size += len(inbox[0].body)
            if batch and size > max_bytes:
                break
            alone = inbox[0].redelivered and self.tries(inbox[0]) > 0
            if batch and (alone or inbox[0].redelivered != batch[0].redelivered):
                break
            batch.append(inbox.popleft())
            if alone:
                break
        return batch

    def tries(self, delivery: Delivery) -> int:
        """The number of tries since a message came back."""
        return self._tries.get(name_of(delivery), 0) if self._tries else 0

    def verdict(self, delivery: Delivery) -> str:
        """The reason why a message must not be tried again; empty if it may be."""
        tries = self.tries(delivery)
        if tries < MAX_TRIES:
            return ""
        error = self._errors.get(name_of(delivery))
        return f"{tries} tries failed: {error}" if error else f"{tries} masters ended while they tried it"

    async def trying(self, deliveries: Sequence[Delivery]) -> None:
        """Count a try of messages that came back, before it is made. Raises StoreUnavailable; then they must not be
        tried."""
        names = [name_of(delivery) for delivery in deliveries]
        self._trying = names
        counts = await self._store.trying(self._cell, names, self._done)
        self._done = []
        if self._tries is not None:
            self._tries.update(zip(names, counts, strict=True))

    def failed(self, error: Exception) -> None:
        """Record that the try has failed: the counts stay as they are."""
        if len(self._trying) == 1:
            self._errors[self._trying[0]] = f"{type(error).__name__}: {error}"
        self._trying = []

    async def settled(self, deliveries: Iterable[Delivery], inbox: deque[Delivery]) -> None:
        """Record that messages were handled or became dead letters. Once no other message is suspected, the counts
        are dropped."""
        for delivery in deliveries:
            name = name_of(delivery)
            self._done.append(name)
            self._errors.pop(name, None)
            if self._tries is not None:
                self._tries.pop(name, None)
        self._trying = []
        if not (inbox and inbox[0].redelivered):
            await self._forget()

    async def _forget(self) -> None:
        if self._done:
            await self._store.tried(self._cell, self._done)
            self._done = []


def name_of(delivery: Delivery) -> str:
    """The key under which a message is counted: its id, or a checksum of its content if it has none."""
    return delivery.message_id or f"{delivery.type}.{crc32(delivery.body)}"
