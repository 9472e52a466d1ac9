"""Messages that the owner of a cell sends to its own inbox, and to an agent that sends them back there."""

from __future__ import annotations

from broker_mesos.core.protocol.wire import Message, register


@register
class Ping(Message):
    """A message that wakes the consumer of an inbox. It carries no data; its sender measures how long it took. An agent
    sends one that has a token back to its cell."""

    TYPE = "PING"
    token: str = ""
