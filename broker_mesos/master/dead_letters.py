"""Lists, retries and drops dead letters for operators.

The letters stay in their queue: each request takes the letters that it needs through its own consumer, and closes the
consumer, which gives the letters back that it did not settle. In the meantime other masters cannot see the letters,
so a request waits until no other one reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from broker_mesos.bus.dead_letters import DEAD_LETTERS, check_origin, letter_id, original
from broker_mesos.core.api.dead_letters import (
    MAX_BODY_SHOWN,
    MAX_SEARCHED,
    DeadLetterDetail,
    DeadLetterList,
    DeadLettersSettled,
    DeadLetterView,
    DropDeadLetters,
    GetDeadLetter,
    ListDeadLetters,
    RetryDeadLetters,
)
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.errors import BrokerMesosError, Conflict, NotFound, Unavailable
from broker_mesos.ports.bus import Bus, Consumer, Delivery
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.timeouts import within

LOCK_TIMEOUT_SECONDS = 3.0
"""Maximum time that a request waits while another master reads the letters, in seconds."""
ARRIVAL_SECONDS = 1.0
"""Time without a further letter after which no more letters are expected, in seconds."""
MAX_FAILURES_REPORTED = 20


class DeadLetters:
    """The dead letters, as one master serves them."""

    def __init__(self, bus: Bus, clock: Clock, rng: random.Random) -> None:
        self._bus = bus
        self._clock = clock
        self._rng = rng
        self._turn = asyncio.Lock()

    def add_to(self, handlers: Handlers) -> None:
        """Register the handlers. They raise NotFound, Conflict, Unavailable."""
        handlers.add(ListDeadLetters, self._list)
        handlers.add(GetDeadLetter, self._show)
        handlers.add(RetryDeadLetters, lambda request: self._settle(request.letter_id, again=True))
        handlers.add(DropDeadLetters, lambda request: self._settle(request.letter_id, again=False))

    async def _settle(self, ident: str, *, again: bool) -> DeadLettersSettled:
        return await (self._settle_one(ident, again=again) if ident else self._settle_all(again=again))

    async def _list(self, request: ListDeadLetters) -> DeadLetterList:
        async with self._locked() as locked:
            skipped = 0
            if request.after:
                searched = await locked.take(MAX_SEARCHED)
                ids = [letter_id(each) for each in searched]
                if request.after not in ids:
                    raise NotFound(f"no dead letter {request.after} any more: list them from the first")
                skipped = ids.index(request.after) + 1
                found = searched[skipped : skipped + request.limit]
            else:
                found = await locked.take(request.limit)
            truncated = bool(found) and locked.total > skipped + len(found)
            return DeadLetterList(
                letters=tuple(_view(each, 200) for each in found),
                total=locked.total,
                truncated=truncated,
                after=letter_id(found[-1]) if truncated else "",
            )

    async def _show(self, request: GetDeadLetter) -> DeadLetterDetail:
        async with self._locked() as locked:
            found = await locked.find(request.letter_id)
            text = found.body.decode(errors="replace")
            return DeadLetterDetail(
                letter=_view(found, 1_000),
                body=text[:MAX_BODY_SHOWN],
                cut=len(text) > MAX_BODY_SHOWN or "size" in found.headers,
                headers={name[:100]: value[:1_000] for name, value in list(found.headers.items())[:50]},
            )

    async def _settle_one(self, ident: str, *, again: bool) -> DeadLettersSettled:
        async with self._locked() as locked:
            found = await locked.find(ident)
            if again:
                await self._send(found)
            locked.acknowledge([found])
            return DeadLettersSettled(settled=1, left=locked.total - 1)

    async def _settle_all(self, *, again: bool) -> DeadLettersSettled:
        """Settle as many letters as there are now: a letter that is sent again may come back as a new one."""
        settled, failures = 0, []
        async with self._locked() as locked:
            seen = 0
            while seen < locked.total:
                batch = await locked.take(min(MAX_SEARCHED, locked.total - seen))
                if not batch:
                    break
                seen += len(batch)
                results = await asyncio.gather(*(self._send(each) for each in batch if again), return_exceptions=True)
                good = batch
                if again:
                    good = [each for each, result in zip(batch, results, strict=True) if result is None]
                for result in results:
                    if isinstance(result, BrokerMesosError):
                        failures.append(str(result))
                    elif result is not None:
                        raise result
                locked.acknowledge(good)
                settled += len(good)
            return DeadLettersSettled(
                settled=settled, failed=tuple(failures[:MAX_FAILURES_REPORTED]), left=locked.total - settled
            )

    async def _send(self, letter: Delivery) -> None:
        """Send a letter back to the queue that it came from. After this returns, the message is safe there."""
        if self._bus.verifies:
            check_origin(letter)
        if not await self._bus.publish(original(letter)):
            raise Conflict(
                f"{letter_id(letter)}: its queue, {letter.headers.get('from')}, is gone, and so is its "
                "consumer: it can only be dropped"
            )

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[_LockedLetters]:
        async with self._turn:
            locked = await self._lock()
            try:
                yield locked
            finally:
                if locked.consumer is not None:
                    await locked.consumer.close()

    async def _lock(self) -> _LockedLetters:
        """Consume the dead letters alone. As many as can be searched are always taken: a quorum queue keeps what was
        returned in a queue of its own, and would put part of it behind the rest."""
        await self._bus.declare(DEAD_LETTERS)
        end = self._clock.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            before = await self._bus.inspect(DEAD_LETTERS)
            if before is not None and before.consumers == 0:
                if before.messages == 0:
                    return _LockedLetters(None, 0)
                consumer = await self._bus.consume(DEAD_LETTERS, prefetch=MAX_SEARCHED)
                now = await self._bus.inspect(DEAD_LETTERS)
                if now is not None and now.consumers == 1:
                    return _LockedLetters(consumer, before.messages)
                # Two consumers have begun at the same time and share the letters: neither receives them all.
                await consumer.close()
            if self._clock.monotonic() >= end:
                raise Unavailable("another process is reading the dead letters; try again in a moment")
            await self._clock.sleep(self._rng.uniform(0.02, 0.2))


class _LockedLetters:
    """The letters, while no other consumer receives any. ``total`` is their number."""

    def __init__(self, consumer: Consumer | None, total: int) -> None:
        self.consumer = consumer
        self.total = total

    async def take(self, count: int) -> list[Delivery]:
        """The next letters in order; fewer if no more arrive."""
        found: list[Delivery] = []
        count = min(count, self.total)
        with contextlib.suppress(TimeoutError):
            while self.consumer is not None and len(found) < count:
                async with within(ARRIVAL_SECONDS):
                    found += await self.consumer.receive(count - len(found))
        return found

    async def find(self, ident: str) -> Delivery:
        """The letter with this id. Raises NotFound, Conflict."""
        letters = await self.take(MAX_SEARCHED)
        found = [each for each in letters if letter_id(each) == ident]
        found = found or [each for each in letters if each.message_id == ident]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(letter_id(each) for each in found[:10])
            raise Conflict(f"{len(found)} dead letters are of message {ident}: name one of {ids}")
        where = "" if self.total <= MAX_SEARCHED else f" among the oldest {MAX_SEARCHED} of {self.total}"
        raise NotFound(f"no dead letter {ident}{where}; `bmesos dead-letters list` lists them")

    def acknowledge(self, letters: list[Delivery]) -> None:
        """Remove letters from the queue."""
        if self.consumer is not None:
            self.consumer.acknowledge(letters)


def _view(letter: Delivery, reason: int) -> DeadLetterView:
    headers = letter.headers
    return DeadLetterView(
        letter_id=letter_id(letter),
        message_id=letter.message_id,
        type=letter.type,
        reason=headers.get("reason", "")[:reason],
        source=headers.get("from", ""),
        tries=int(_number(headers.get("tries", ""))),
        at=_number(headers.get("at", "")),
        size=int(_number(headers.get("size", ""))) or len(letter.body),
    )


def _number(text: str) -> float:
    """The number in a header; 0 if it is not a number, since other programs may have written it."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value < 1e15 else 0.0
