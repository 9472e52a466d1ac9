"""The bounded window of messages that the broker has not confirmed yet. Both buses publish through one."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from broker_mesos.bus.signals import Signal
from broker_mesos.core.protocol.envelope import MAX_BODY
from broker_mesos.errors import BusUnavailable, InvalidInput
from broker_mesos.ports.bus import Outgoing

Returned = tuple[str, str, str]
"""The exchange, routing key and message id that identify a returned message."""


class _Pending(NamedTuple):
    future: asyncio.Future[bool]
    size: int
    since: float
    key: Returned | None


def failed(error: Exception) -> asyncio.Future[bool]:
    """A future that has failed already, and whose error need not be retrieved."""
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    _fail(future, error)
    return future


def _fail(future: asyncio.Future[bool], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # marks it as retrieved, so that asyncio does not log it


def too_large(message: Outgoing) -> InvalidInput | None:
    """The error for a message whose body no receiver would accept; None if it is small enough."""
    if len(message.body) <= MAX_BODY:
        return None
    return InvalidInput(
        f"{message.type}: a body of {len(message.body)} bytes; at most {MAX_BODY} fit into one message, send several"
    )


class Window:
    """Numbers messages from 1 in the order of publishing, as the confirms of a broker do, and ends their futures.

    The window is full at ``limit`` messages or ``limit_bytes`` of bodies. It is throttled from four fifths of that
    until it has fallen to half: a writer that checks between its batches is not refused, and wakes seldom with much
    to do.
    """

    def __init__(self, limit: int, limit_bytes: int = 64 << 20) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._pending: dict[int, _Pending] = {}
        self._by_key: dict[Returned, list[int]] = {}
        self._unroutable: set[int] = set()
        self._last = 0
        self._oldest = 1
        self._throttled = False
        self.changed = Signal()
        """A signal that fires when there is room again, and when everything pending has failed."""

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def full(self) -> bool:
        """Whether one more message must be refused."""
        return len(self._pending) >= self._limit or self._bytes >= self._limit_bytes

    @property
    def throttled(self) -> bool:
        """Whether writers should wait: the window was nearly full, and has not fallen to half since."""
        return self._throttled

    @property
    def oldest_since(self) -> float | None:
        """The time at which the oldest unconfirmed message was published, by the caller's clock."""
        for pending in self._pending.values():
            return pending.since
        return None

    def add(self, message: Outgoing, key: Returned, now: float) -> tuple[int, asyncio.Future[bool]]:
        """Add a message that is being sent. Returns its number and its future."""
        self._last += 1
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        size = len(message.body)
        if message.mandatory:
            self._by_key.setdefault(key, []).append(self._last)
        self._pending[self._last] = _Pending(future, size, now, key if message.mandatory else None)
        self._bytes += size
        if len(self._pending) * 5 >= self._limit * 4 or self._bytes * 5 >= self._limit_bytes * 4:
            self._throttled = True
        return self._last, future

    def returned(self, key: Returned) -> None:
        """Record that the oldest message with this key was returned as unroutable; its confirm follows."""
        for number in self._by_key.get(key, ()):
            if number not in self._unroutable:
                self._unroutable.add(number)
                return

    def routes(self) -> set[tuple[str, str]]:
        """Exchange and routing key of the mandatory messages that are not confirmed."""
        return {(exchange, key) for exchange, key, _ in self._by_key}

    def settle(self, number: int, *, multiple: bool = False, error: Exception | None = None) -> None:
        """Record that the broker has confirmed one message, or all up to it; with ``error``, that it refused them."""
        # `_oldest` only rises: over the life of a channel every number is passed once.
        if multiple:
            for each in range(self._oldest, number + 1):
                self._settle_one(each, error)
            self._oldest = max(self._oldest, number + 1)
        else:
            self._settle_one(number, error)
        if self._throttled and (len(self._pending) <= self._limit // 2 and self._bytes <= self._limit_bytes // 2):
            self._throttled = False
            self.changed.fire()

    def fail(self, reason: str) -> None:
        """End all pending futures with BusUnavailable. The numbers go on; later confirms are ignored."""
        pending, self._pending = self._pending, {}
        self._by_key.clear()
        self._unroutable.clear()
        self._bytes = 0
        self._throttled = False
        for each in pending.values():
            _fail(each.future, BusUnavailable(reason))
        self.changed.fire()

    def restart(self) -> None:
        """Number from 1 again, for a new channel. Nothing may be pending."""
        self._last = 0
        self._oldest = 1

    def _settle_one(self, number: int, error: Exception | None) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            return
        self._bytes -= pending.size
        routed = True
        if pending.key is not None:
            routed = number not in self._unroutable
            self._unroutable.discard(number)
            numbers = self._by_key[pending.key]
            numbers.remove(number)
            if not numbers:
                del self._by_key[pending.key]
        if pending.future.done():
            return
        if error is not None:
            _fail(pending.future, error)
        else:
            pending.future.set_result(routed)
