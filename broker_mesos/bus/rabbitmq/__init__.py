"""The Bus over RabbitMQ: two pika connections in one asyncio loop, which reconnect by themselves.

One connection publishes, the other consumes and declares, since an alarm on the broker stops reading a publishing
connection, acknowledgements included. Every consumer has its own channel, because closing the channel is the only way
to give messages back in their order. No other package knows pika.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_mesos.bus.rabbitmq.bus import RabbitBus
    from broker_mesos.bus.rabbitmq.server import Timeouts

__all__ = ["RabbitBus", "Timeouts"]


def __getattr__(name: str) -> Any:
    # Imported when it is used: a part of this package can be used without asyncio and all messages.
    if name == "RabbitBus":
        from broker_mesos.bus.rabbitmq.bus import RabbitBus

        return RabbitBus
    if name == "Timeouts":
        from broker_mesos.bus.rabbitmq.server import Timeouts

        return Timeouts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
