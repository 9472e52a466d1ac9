"""The events of one master: kept in the stream of events, and published on the feed under the same ids.

Recording an event only adds it to a bounded list. One task of the master writes what is there several times a second,
over a connection of its own: a store that is slow, full or away loses events, which are counted, and delays nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from broker_mesos.core.cell.changes import Change
from broker_mesos.core.cell.decision import Decision
from broker_mesos.core.model.event import MAX_EVENT_IDS, Event
from broker_mesos.core.protocol.addresses import feed
from broker_mesos.core.protocol.feed_messages import Happened
from broker_mesos.errors import BrokerMesosError
from broker_mesos.master.context import MasterContext
from broker_mesos.ports.bus import outgoing
from broker_mesos.ports.streams import EVENTS
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

MAX_EVENTS = 20_000
"""About the number of events that are kept in the stream."""
MAX_WAITING = 2_000
"""Maximum number of events that wait to be written; further ones are dropped."""
MAX_GROUPS = 2_000
"""Maximum number of groups of task statuses that wait to be written: a cell, a state and a reason."""
MAX_AT_ONCE = 500
"""Maximum number of events that are written at once."""
FLUSH_SECONDS = 0.2
"""Time for which events are collected before they are written, in seconds."""
TASKS_SECONDS = 1.0
"""Time for which statuses of tasks are collected into one event, in seconds."""
WARNING_SECONDS = 60.0
"""Time between two warnings about lost events, in seconds."""


class EventLog:
    """Records events. ``run`` writes them; without streams nothing is recorded."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._streams = context.streams
        self._waiting: list[Event] = []
        self._tasks: dict[tuple[int, int, str, str], tuple[int, list[str]]] = {}
        """Number of tasks and the first ids, by cell, term, state and reason."""
        self._tasks_since = 0.0
        self._some = asyncio.Event()
        self._warned = float("-inf")
        self.dropped = 0
        """Number of events that were lost."""

    def add(self, kind: str, ids: Iterable[str], text: str, **more: object) -> None:
        """Record an event."""
        if self._streams is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        named = tuple(ids)
        fields = {"count": max(1, len(named)), **more}
        self._waiting.append(
            Event.model_construct(
                at=self._context.clock.time(),
                kind=kind,
                ids=named[:MAX_EVENT_IDS],
                text=text,
                **fields,  # type: ignore[arg-type]
            )
        )
        self._some.set()

    def record(self, cell: int, term: int, decision: Decision) -> None:
        """Record the events of a decision that was committed."""
        if self._streams is None or not (decision.changes or decision.statuses or decision.launched):
            return
        for change in decision.changes:
            self.add(change.kind, (change.ident,), _text(change), cell=cell, term=term)
        for status in decision.statuses:
            self._count(cell, term, status.state.short, status.reason or "", status.task_id)
        for task_id in decision.launched:
            self._count(cell, term, "staging", "", task_id)
        self._some.set()

    def _count(self, cell: int, term: int, state: str, reason: str, task_id: str) -> None:
        if not self._tasks:
            self._tasks_since = self._context.clock.monotonic()
        key = cell, term, state, reason
        count, ids = self._tasks.get(key, (0, None))
        if ids is None:
            if len(self._tasks) >= MAX_GROUPS:
                self.dropped += 1
                return
            ids = []
        if len(ids) < MAX_EVENT_IDS:
            ids.append(task_id)
        self._tasks[key] = count + 1, ids

    async def run(self) -> None:
        """Write events until cancelled; an error of the store loses those that were to be written."""
        clock = self._context.clock
        while True:
            await self._some.wait()
            await clock.sleep(FLUSH_SECONDS)
            await self.flush(everything=clock.monotonic() - self._tasks_since >= TASKS_SECONDS)
            if not (self._waiting or self._tasks):
                self._some.clear()

    async def flush(self, *, everything: bool = True) -> None:
        """Write the events that are waiting; ``everything``: also the statuses of tasks that are being collected."""
        if self._streams is None:
            return
        if everything:
            self._close_tasks()
        while self._waiting:
            events, self._waiting = self._waiting[:MAX_AT_ONCE], self._waiting[MAX_AT_ONCE:]
            try:
                bodies = [event.encode() for event in events]
                ids = await self._streams.append(EVENTS, bodies, MAX_EVENTS)
            except BrokerMesosError as error:
                self._lost(len(events), error)
                return
            for ident, event in zip(ids, events, strict=True):
                self._publish(event.model_copy(update={"id": ident}))

    def _close_tasks(self) -> None:
        tasks, self._tasks = self._tasks, {}
        for (cell, term, state, reason), (count, ids) in tasks.items():
            what = f"task {ids[0]}" if count == 1 else f"{count} tasks"
            because = f" ({reason.removeprefix('REASON_').lower().replace('_', ' ')})" if reason else ""
            fields = {"cell": cell, "term": term, "count": count, "reason": reason}
            self.add(f"task.{state}", ids, f"{what}: {state.replace('_', ' ')}{because}", **fields)

    def _publish(self, event: Event) -> None:
        bus = self._context.bus
        if not bus.connected:
            return
        message = outgoing(feed(event.kind), Happened(event=event), self._context.new_id(), persistent=False)
        try:
            future = bus.publish(message)
        except BrokerMesosError:
            return  # whoever misses it reads the stream
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _lost(self, count: int, error: BrokerMesosError) -> None:
        self.dropped += count
        now = self._context.clock.monotonic()
        if now - self._warned >= WARNING_SECONDS:
            self._warned = now
            log.warning("events are lost: they cannot be written", lost=self.dropped, error=str(error))


def _text(change: Change) -> str:
    what, _, state = change.kind.partition(".")
    verb = "has" if state == "left" else "is"
    return f"{what} {change.ident} {verb} {state}"
