"""A master's answers to requests for events."""

from __future__ import annotations

from collections.abc import Sequence

from broker_mesos.core.api.events import EventList, GetEvents
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.stream_ids import id_key
from broker_mesos.core.model.event import Event
from broker_mesos.errors import Unavailable
from broker_mesos.master.event_log import MAX_EVENTS
from broker_mesos.ports.streams import EVENTS, Entry, Streams

CHUNK = 500
"""Number of events that are decoded without a pause."""
MAX_ANSWER = 700_000
"""Maximum size of the events in an answer, in bytes; the rest of 1 MiB is for characters that must be escaped."""


class EventReader:
    """Reads the stream of events."""

    def __init__(self, streams: Streams | None) -> None:
        self._streams = streams

    def add_to(self, handlers: Handlers) -> None:
        """Register the handlers."""
        handlers.add(GetEvents, self.read)

    async def read(self, request: GetEvents) -> EventList:
        """Answer a request. Raises Unavailable if events are not kept or cannot be read."""
        if self._streams is None:
            raise Unavailable("this master keeps no events")
        latest = not request.after
        found: list[Event] = []
        size, read = 0, 0
        lost = bool(request.after) and await self._has_lost(self._streams, request.after)
        after, before = "" if lost else request.after, request.before
        first, last, more = "", after, False
        while read < 2 * MAX_EVENTS:
            bounds = {"after": after, "before": before}
            entries = await self._streams.read(EVENTS, **bounds, limit=CHUNK, latest=latest)
            read += len(entries)
            for entry in reversed(entries) if latest else entries:
                event = _decode(entry, request.kinds)
                size += 0 if event is None else len(entry.body) + 100
                if event is not None and (len(found) >= request.limit or (found and size > MAX_ANSWER)):
                    more = True
                    break
                if event is not None:
                    found.append(event)
                first, last = (first or entry.entry_id, entry.entry_id) if latest else ("", entry.entry_id)
            if more or len(entries) < CHUNK:
                break
            if latest:
                before = entries[0].entry_id
            else:
                after = entries[-1].entry_id
        if latest:
            found.reverse()
            return EventList(events=tuple(found), last=first or request.before or "0", more=False)
        return EventList(events=tuple(found), lost=lost, last=last or "0", more=more)

    @staticmethod
    async def _has_lost(streams: Streams, after: str) -> bool:
        """Whether entries behind an id may be missing. The id was that of an entry: it is between the first and the
        last one, unless the stream was cut or begun anew. 0 stands for the beginning of all."""
        if id_key(after) == (0, 0):
            return False
        oldest = await streams.read(EVENTS, limit=1)
        newest = await streams.read(EVENTS, limit=1, latest=True)
        if not oldest or not newest:
            return True
        return not id_key(oldest[0].entry_id) <= id_key(after) <= id_key(newest[0].entry_id)


def _decode(entry: Entry, kinds: Sequence[str]) -> Event | None:
    """The event of an entry; None if it is not of these kinds, or of a newer release."""
    try:
        event = Event.model_validate_json(entry.body)
    except ValueError:
        return None
    if kinds and event.kind not in kinds and event.kind.partition(".")[0] not in kinds:
        return None
    return event.model_copy(update={"id": entry.entry_id})
