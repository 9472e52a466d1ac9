"""Messages that the owner of a cell sends to its own inbox."""

from __future__ import annotations

from broker_mesos.core.protocol.wire import Message, register


@register
class Ping(Message):
    """A message that wakes the consumer of an inbox. It carries no data; its sender measures how long it took."""

    TYPE = "PING"
    token: str = ""
