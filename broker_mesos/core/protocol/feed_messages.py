"""Messages that masters publish on the feed, for dashboards and taps."""

from __future__ import annotations

from broker_mesos.core.model.event import Event
from broker_mesos.core.protocol.wire import Message, register


@register
class Happened(Message):
    """Something has happened, which is in the stream of events under the same id. On the feed with the kind of the
    event as routing key, such as ``agent.unreachable``. A listener orders events by their ids, so that neither repeats
    nor order matter; one that missed some reads them by GET_EVENTS."""

    TYPE = "EVENT"
    event: Event
