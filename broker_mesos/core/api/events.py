"""Operator requests for events. Answered by any master."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.api.stream_ids import StreamId
from broker_mesos.core.model.event import Event
from broker_mesos.core.model.part import Part, Short
from broker_mesos.core.protocol.wire import register


class EventList(Part):
    """Events in their order."""

    events: tuple[Event, ...] = ()
    lost: bool = False
    """Whether events behind ``after`` may be missing: the stream does not go back that far, or was begun anew."""
    last: str = ""
    """The id from which to go on with ``after``."""
    more: bool = False
    """Whether there are more events behind the last one already."""


@register
class GetEvents(Request):
    """Get events behind the id ``after``, in order; without ``after``, the latest ones, or the latest before the id
    ``before``. ``kinds`` are kinds of events, or first words of them, such as ``agent``."""

    TYPE = "GET_EVENTS"
    RIGHT = Right.VIEW
    ANSWER = EventList
    ROUTE = Route.MASTER
    FOR_USERS = True
    after: StreamId = ""
    before: StreamId = ""
    kinds: tuple[Short, ...] = Field(default=(), max_length=50)
    limit: int = Field(default=100, ge=1, le=1_000)
