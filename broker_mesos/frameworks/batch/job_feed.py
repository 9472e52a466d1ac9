"""News of jobs: to those who wait in this process, and over the feed to those of the other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.core.protocol.addresses import Queue, QueueKind, feed
from broker_mesos.core.protocol.registry import decode
from broker_mesos.errors import InvalidMessage, NotFound, StoreUnavailable
from broker_mesos.frameworks.batch.messages import JobChanged
from broker_mesos.ports.bus import Bus, ConsumerClosed, outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

PROGRESS_INTERVAL = 0.2
"""Seconds between two messages about the progress of one job; its end is told at once."""
MAX_OWN = 10_000
MAX_AT_ONCE = 200
"""Jobs whose progress is told in one interval."""


class JobWatch:
    """One waiter's ear."""

    def __init__(self) -> None:
        self._latest: JobSummary | None = None
        self._event = asyncio.Event()

    def tell(self, summary: JobSummary) -> None:
        """News; an older summary that comes late is passed over."""
        if self._latest is None or _later(summary, self._latest):
            self._latest = summary
            self._event.set()

    async def next_change(self, seconds: float) -> JobSummary | None:
        """The latest summary, as soon as there is a new one; None if none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return None
        self._event.clear()
        return self._latest


def _later(one: JobSummary, other: JobSummary) -> bool:
    return (one.ended_at is not None, one.version) > (other.ended_at is not None, other.version)


class JobFeed:
    """Tells and hears. ``told`` is called with what other workers tell; ``on_lost`` when something of it may
    have been lost."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        new_id: NewId,
        summary: Callable[[str], Awaitable[JobSummary]],
        told: Callable[[JobSummary], None] = lambda summary: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._summary = summary
        self._told = told
        self._on_lost = on_lost
        self._own: set[str] = set()
        """Ids of messages that were told here, and have not come back."""
        self._watches: dict[str, set[JobWatch]] = {}
        self._moved: dict[str, None] = {}
        self._some_moved = asyncio.Event()
        self.listening = asyncio.Event()
        """Set while the feed is consumed."""

    @contextmanager
    def watch(self, job_id: str) -> Iterator[JobWatch]:
        """Hear of a job."""
        watch = JobWatch()
        self._watches.setdefault(job_id, set()).add(watch)
        try:
            yield watch
        finally:
            left = self._watches[job_id]
            left.discard(watch)
            if not left:
                del self._watches[job_id]

    def changed(self, job_id: str, summary: JobSummary | None) -> None:
        """A job moved on; with a summary it has ended."""
        if summary is None:
            self._moved[job_id] = None
            self._some_moved.set()
        else:
            self._moved.pop(job_id, None)
            self._tell(summary)

    def _tell(self, summary: JobSummary) -> None:
        self._hear(summary)
        # Whoever waits here is answered first.
        asyncio.get_running_loop().call_soon(self._publish, summary)

    def _publish(self, summary: JobSummary) -> None:
        message = outgoing(feed(f"job.{summary.job_id}"), JobChanged(summary=summary), self._new_id(), persistent=False)
        if len(self._own) >= MAX_OWN:
            self._own.clear()
        self._own.add(message.message_id)
        self._bus.publish(message)  # if it is lost, those who wait look for themselves

    def _hear(self, summary: JobSummary) -> None:
        for watch in self._watches.get(summary.job_id, ()):
            watch.tell(summary)

    async def tell_progress(self) -> None:
        """Serve until cancelled: what moved, now and then. A job that ends at once makes no progress."""
        while True:
            await self._some_moved.wait()
            await self._clock.sleep(PROGRESS_INTERVAL)
            moved = list(self._moved)[:MAX_AT_ONCE]
            for job_id in moved:
                self._moved.pop(job_id, None)
            if not self._moved:
                self._some_moved.clear()
            for job_id in moved:
                try:
                    self._tell(await self._summary(job_id))
                except NotFound:
                    pass
                except StoreUnavailable as error:
                    log.debug("progress not told", error=str(error))
                    break

    async def listen(self) -> None:
        """Serve until cancelled: hear what other workers tell."""
        while True:
            # A job's id may hold dots, which are several words to the broker.
            consumer = await self._bus.consume(Queue(QueueKind.FEED, "job.#"))
            self.listening.set()
            self._on_lost()
            try:
                while True:
                    deliveries = await consumer.receive()
                    consumer.acknowledge(deliveries)
                    for delivery in deliveries:
                        if delivery.message_id in self._own:
                            self._own.discard(delivery.message_id)
                            continue
                        try:
                            message = decode(delivery.type, delivery.body)
                        except InvalidMessage:
                            continue
                        if isinstance(message, JobChanged):
                            self._told(message.summary)
                            self._hear(message.summary)
            except ConsumerClosed:
                pass
            finally:
                self.listening.clear()
                self._own.clear()
                await consumer.close()
