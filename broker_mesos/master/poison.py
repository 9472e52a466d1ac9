"""Finds the message that kills its handler, or the whole process, without blaming its neighbours.

A batch that fails comes back, to this master or to another one. Then each of its messages is counted in the
store before it is tried again: at first together, and whatever has a count already alone. So a message that
brings down every owner runs out of tries, while one that was only near has been handled by then. Messages
that nobody failed at are neither counted nor looked up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from zlib import crc32

from broker_mesos.ports.bus import Delivery
from broker_mesos.ports.store import Store

MAX_TRIES = 3
"""A message that was tried that often after it had come back is parked among the dead letters."""


class PoisonDetector:
    """The messages of one cell that came back. Lives as long as its master stands by for the cell."""

    def __init__(self, store: Store, cell: int) -> None:
        self._store = store
        self._cell = cell
        self._tries: dict[str, int] | None = None
        self._trying: list[str] = []
        self._done: list[str] = []
        self._errors: dict[str, str] = {}

    def begin(self) -> None:
        """A new term: another master may have counted meanwhile."""
        self._tries = None

    async def load(self, inbox: deque[Delivery]) -> None:
        """Before ``take``: look up the counts, if that was not done and the first message came back.

        Raises StoreUnavailable.
        """
        if self._tries is None and inbox and inbox[0].redelivered:
            # What ended with its term through no failure of its own, such as a lost store, is not to blame.
            self._done += self._trying
            self._trying = []
            await self._forget()
            self._tries = await self._store.tries(self._cell)

    def take(self, inbox: deque[Delivery], limit: int, most_bytes: int = 1 << 30) -> list[Delivery]:
        """The next batch, up to ``limit`` messages or ``most_bytes`` of bodies (but at least one): either
        fresh ones, or ones that came back."""
        batch: list[Delivery] = []
        size = 0
        while inbox and len(batch) < limit:
            size += len(inbox[0].body)
            if batch and size > most_bytes:
                break
            alone = inbox[0].redelivered and self.tries(inbox[0]) > 0
            if batch and (alone or inbox[0].redelivered != batch[0].redelivered):
                break
            batch.append(inbox.popleft())
            if alone:
                break
        return batch

    def tries(self, delivery: Delivery) -> int:
        """How often a message that came back was tried since."""
        return self._tries.get(name_of(delivery), 0) if self._tries else 0

    def verdict(self, delivery: Delivery) -> str:
        """Why a message is not tried any more; empty if it is."""
        tries = self.tries(delivery)
        if tries < MAX_TRIES:
            return ""
        error = self._errors.get(name_of(delivery))
        return f"{tries} tries failed: {error}" if error else f"{tries} masters ended while they tried it"

    async def trying(self, deliveries: Sequence[Delivery]) -> None:
        """Count messages that came back, before they are tried. Raises StoreUnavailable: do not try them."""
        names = [name_of(delivery) for delivery in deliveries]
        self._trying = names
        counts = await self._store.trying(self._cell, names, self._done)
        self._done = []
        if self._tries is not None:
            self._tries.update(zip(names, counts, strict=True))

    def failed(self, error: Exception) -> None:
        """The handling of what is tried has failed: its counts stand."""
        if len(self._trying) == 1:
            self._errors[self._trying[0]] = f"{type(error).__name__}: {error}"
        self._trying = []

    async def settled(self, deliveries: Iterable[Delivery], inbox: deque[Delivery]) -> None:
        """Messages were handled or parked: once no other one is a suspect, the counts are dropped."""
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
    """What a message is counted by: its id, or its content where it has none."""
    return delivery.message_id or f"{delivery.type}.{crc32(delivery.body)}"
