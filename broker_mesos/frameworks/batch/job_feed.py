"""Changes of jobs: delivered to the waiting requests of this process, and over the feed to the other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.core.protocol.addresses import Queue, QueueKind, feed
from broker_mesos.core.protocol.registry import decode
from broker_mesos.errors import InvalidMessage, NotFound, StoreUnavailable
from broker_mesos.operator.job_changes import JobChanged
from broker_mesos.ports.bus import Bus, ConsumerClosed, outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within

log = get_logger(__name__)

PROGRESS_INTERVAL = 0.2
"""Minimum time between two messages about the progress of one job, in seconds; its end is published at once."""
MAX_OWN = 10_000
"""Maximum number of ids of own messages that are remembered."""
MAX_AT_ONCE = 200
"""Maximum number of jobs whose progress is published in one interval."""


class JobWatch:
    """One waiting request's subscription to the changes of a job."""

    def __init__(self) -> None:
        self._latest: JobSummary | None = None
        self._event = asyncio.Event()

    def update(self, summary: JobSummary) -> None:
        """Store a summary and wake the waiting request; a summary older than the latest one is ignored."""
        if self._latest is None or is_later(summary, self._latest):
            self._latest = summary
            self._event.set()

    async def next_change(self, seconds: float) -> JobSummary | None:
        """The latest summary, as soon as there is a new one; None if there is none within ``seconds``."""
        try:
            async with within(seconds):
                await self._event.wait()
        except TimeoutError:
            return None
        self._event.clear()
        return self._latest


def is_later(one: JobSummary, other: JobSummary) -> bool:
    """Whether a summary of a job shows a later state than another one. The end of a job has the version of its last
    task's end; a retry of the job has a higher one."""
    return (one.version, one.ended_at is not None) > (other.version, other.ended_at is not None)


class JobFeed:
    """Publishes this worker's changes of jobs and receives those of the other workers.

    ``on_change`` is called with each summary that another worker has published; ``on_lost`` whenever messages of
    theirs may have been lost.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        new_id: NewId,
        summary: Callable[[str], Awaitable[JobSummary]],
        on_change: Callable[[JobSummary], None] = lambda summary: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._summary = summary
        self._on_change = on_change
        self._on_lost = on_lost
        self._own: set[str] = set()
        """Ids of messages that this process has published and has not received itself yet."""
        self._watches: dict[str, set[JobWatch]] = {}
        self._progressed: dict[str, None] = {}
        self._some_progressed = asyncio.Event()
        self.listening = asyncio.Event()
        """Set while the feed is consumed."""

    @contextmanager
    def watch(self, job_id: str) -> Iterator[JobWatch]:
        """Subscribe to the changes of a job, for as long as the context is open."""
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
        """A job's counts changed. A summary is given only if the job has ended, and is published at once."""
        if summary is None:
            self._progressed[job_id] = None
            self._some_progressed.set()
        else:
            self._progressed.pop(job_id, None)
            self._share(summary)

    def _share(self, summary: JobSummary) -> None:
        self._wake(summary)
        # The requests that wait in this process are answered before the message is encoded and sent.
        asyncio.get_running_loop().call_soon(self._publish, summary)

    def _publish(self, summary: JobSummary) -> None:
        message = outgoing(feed(f"job.{summary.job_id}"), JobChanged(summary=summary), self._new_id(), persistent=False)
        if len(self._own) >= MAX_OWN:
            self._own.clear()
        self._own.add(message.message_id)
        self._bus.publish(message)  # if it is lost, waiting requests read the store (POLL_SECONDS)

    def _wake(self, summary: JobSummary) -> None:
        for watch in self._watches.get(summary.job_id, ()):
            watch.update(summary)

    async def publish_progress(self) -> None:
        """Publish the summaries of changed jobs every PROGRESS_INTERVAL seconds, until cancelled. Of a job that
        ends within the interval only the end is published."""
        while True:
            await self._some_progressed.wait()
            await self._clock.sleep(PROGRESS_INTERVAL)
            progressed = list(self._progressed)[:MAX_AT_ONCE]
            for job_id in progressed:
                self._progressed.pop(job_id, None)
            if not self._progressed:
                self._some_progressed.clear()
            for job_id in progressed:
                try:
                    self._share(await self._summary(job_id))
                except NotFound:
                    pass
                except StoreUnavailable as error:
                    log.debug("progress not published", error=str(error))
                    break

    async def listen(self) -> None:
        """Receive what other workers publish, until cancelled."""
        while True:
            # A job's id may contain dots, and the broker takes each part as a word of the routing key.
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
                            self._on_change(message.summary)
                            self._wake(message.summary)
            except ConsumerClosed:
                pass
            finally:
                self.listening.clear()
                self._own.clear()
                await consumer.close()
