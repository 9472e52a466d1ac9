"""The one model of live updates of a web process: it asks the cluster once for all of its readers, and not at all when
there is none.

Events are read from the stream of events behind the last id, so that every reader gets them in one order, without gaps,
from any web process. A reader that follows agents gets what has changed since it came; it fetches the rest itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from broker_mesos.bus.current_caller import answering
from broker_mesos.core.api.agent_rows import columns, rows_of
from broker_mesos.core.api.agent_table import AgentColumns, GetAgents
from broker_mesos.core.api.events import EventList, GetEvents
from broker_mesos.core.api.overview import GetOverview
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.registry import decode
from broker_mesos.errors import BrokerMesosError, InvalidMessage
from broker_mesos.operator.gateway import OperatorApi
from broker_mesos.operator.job_changes import JobChanged
from broker_mesos.ports.bus import Bus, ConsumerClosed
from broker_mesos.runtime.logs import get_logger
from broker_mesos.web.viewer import Frame, Viewer, frame, resync

log = get_logger(__name__)

INTERVAL_SECONDS = 1.0
"""Time between two requests of one kind, in seconds."""
MAX_STREAMS = 500
"""Maximum number of streams of one process."""
MAX_AGENTS = 300
"""Maximum number of agents in one update, so that it is a frame; if more have changed, there are several updates."""
AGENTS_BYTES_PER_SECOND = 20_000
"""Compressed size of updates about agents that a reader gets in a second; if more changes, it is asked less often."""
MAX_INTERVAL_SECONDS = 10.0
"""Maximum time between two requests for changes of agents, in seconds."""
FIRST = "0"
"""The id before all events."""


class LiveModel:
    """Feeds the viewers. ``bus`` is for changes of jobs; without one there are none."""

    def __init__(
        self,
        gateway: OperatorApi,
        bus: Bus | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        limit: int = MAX_STREAMS,
    ) -> None:
        self._gateway = gateway
        self._bus = bus
        self._sleep = sleep
        self._limit = limit
        self._viewers: set[Viewer] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._last = ""
        """The id of the last event that was given to the viewers; empty before the first request."""
        self._missing: tuple[MissingCell, ...] = ()
        """The cells without an answer in the last table of agents."""
        self._started = asyncio.Event()
        self._stopped = False

    @property
    def full(self) -> bool:
        """Whether there is no room for one more stream."""
        return len(self._viewers) >= self._limit or self._stopped

    @property
    def viewers(self) -> Collection[Viewer]:
        """The viewers that are fed."""
        return self._viewers

    @contextmanager
    def watching(self, viewer: Viewer) -> Iterator[None]:
        """Feed a viewer for as long as the context is open."""
        self._viewers.add(viewer)
        if not self._tasks:
            self._start()
        try:
            yield
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._end()

    async def position(self) -> str:
        """The id behind which the viewers get events."""
        await self._started.wait()
        return self._last

    def stop(self) -> None:
        """End all streams: each reader connects again, to another process."""
        self._stopped = True
        for viewer in self._viewers:
            viewer.end("this server ends: connect again")

    def policy_changed(self) -> None:
        """Have it checked at once who may read on: a token may have been revoked."""
        for viewer in self._viewers:
            viewer.check()

    def _start(self) -> None:
        self._started.clear()
        self._last = ""
        work: list[Coroutine[Any, Any, None]] = [self._events(), self._agents(), self._overviews()]
        if self._bus is not None:
            work.append(self._jobs(self._bus))
        # It asks for this server, not for the principal whose stream happens to be the first.
        with answering(None):
            self._tasks = [asyncio.create_task(each) for each in work]

    def _end(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()

    def _give(self, topic: str, new: Frame) -> None:
        for viewer in self._viewers:
            if viewer.wants(topic):
                viewer.put(new)

    def _wanted(self, topic: str) -> bool:
        return any(viewer.wants(topic) for viewer in self._viewers)

    # -- what is asked of the cluster ----------------------------------------------------------------------

    async def _events(self) -> None:
        while True:
            try:
                if not self._last:
                    found = await self._gateway.handle(GetEvents(limit=1))
                    assert isinstance(found, EventList)
                    self._last = found.last or FIRST
                    self._started.set()
                await self._new_events()
            except BrokerMesosError as error:
                log.debug("no events", error=str(error))
                self._started.set()  # streams begin without a position
            await self._sleep(INTERVAL_SECONDS)

    async def _new_events(self) -> None:
        more = True
        while more:
            found = await self._gateway.handle(GetEvents(after=self._last, limit=200))
            assert isinstance(found, EventList)
            if found.lost:
                self._give("events", resync("events were lost"))
            for event in found.events:
                self._give("events", frame("event", event.model_dump_json(), event_id=event.id))
            self._last, more = found.last or self._last, found.more

    async def _agents(self) -> None:
        token = ""
        while True:
            pause = INTERVAL_SECONDS
            if not self._wanted("agents"):
                token = ""
            else:
                try:
                    token, size = await self._changes(token)
                    pause = min(MAX_INTERVAL_SECONDS, max(pause, size / AGENTS_BYTES_PER_SECOND))
                except BrokerMesosError as error:
                    log.debug("no changes of agents", error=str(error))
            await self._sleep(pause)

    async def _changes(self, token: str) -> tuple[str, int]:
        """Give the viewers what has changed; returns the next token, and the compressed size of what was given."""
        begins, more, size = not token, True, 0
        while more:
            found = await self._gateway.handle(GetAgents(follow=True, changed_since=token))
            assert isinstance(found, AgentColumns)
            token, more = found.token, found.more
            # Readers fetch what there is when they begin.
            has_changed = found.ids or found.removed or found.reset or found.missing != self._missing
            self._missing = found.missing
            if begins or not has_changed:
                continue
            for some in _parts(found):
                update = _delta("agents", some.model_dump_json())
                size += len(update.packed)
                self._give("agents", update)
                await asyncio.sleep(0)
        return token, size

    async def _overviews(self) -> None:
        while True:
            if self._wanted("overview"):
                try:
                    found = await self._gateway.handle(GetOverview())
                    self._give("overview", _delta("overview", found.model_dump_json(), key="overview"))
                except BrokerMesosError as error:
                    log.debug("no overview", error=str(error))
            await self._sleep(2 * INTERVAL_SECONDS)

    async def _jobs(self, bus: Bus) -> None:
        while True:
            try:
                consumer = await bus.consume(Queue(QueueKind.FEED, "job.#"))
            except BrokerMesosError as error:  # such as no right to the feed, as of an earlier release
                log.warning("changes of jobs are not shown live", error=str(error))
                await self._sleep(60 * INTERVAL_SECONDS)
                continue
            try:
                while True:
                    deliveries = await consumer.receive()
                    consumer.acknowledge(deliveries)
                    for delivery in deliveries:
                        try:
                            message = decode(delivery.type, delivery.body)
                        except InvalidMessage:
                            continue
                        if isinstance(message, JobChanged):
                            self._give_job(message)
            except ConsumerClosed:
                for topic in ("jobs", *{each for viewer in self._viewers for each in viewer.topics if ":" in each}):
                    self._give(topic, resync("changes of jobs may be lost"))
            finally:
                await consumer.close()

    def _give_job(self, message: JobChanged) -> None:
        summary = message.summary
        for topic in ("jobs", f"job:{summary.job_id}"):
            if self._wanted(topic):
                self._give(topic, _delta(topic, f"[{summary.model_dump_json()}]", key=f"{topic} {summary.job_id}"))


def _parts(found: AgentColumns) -> Iterator[AgentColumns]:
    """A table of changes as several smaller ones. What is forgotten is in the first."""
    rows = rows_of(found, -1)
    for at in range(0, max(1, len(rows)), MAX_AGENTS):
        first = at == 0
        yield AgentColumns(
            **columns(rows[at : at + MAX_AGENTS]),
            cells=found.cells[at : at + MAX_AGENTS],
            removed=found.removed if first else [],
            reset=found.reset if first else [],
            total=found.total,
            missing=found.missing,
        )


def _delta(topic: str, data: str, key: str = "") -> Frame:
    return frame("delta", f'{{"topic":{json.dumps(topic)},"data":{data}}}', key=key)
