"""What the owner of a cell sends to its own inbox."""

from __future__ import annotations

from broker_mesos.core.protocol.wire import Message, register


@register
class Ping(Message):
    """Wakes the consumer of an inbox; says nothing but how long it took, to whoever sent it."""

    TYPE = "PING"
    token: str = ""
