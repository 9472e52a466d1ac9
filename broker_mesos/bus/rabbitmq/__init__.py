"""The Bus over RabbitMQ: two connections of pika's in one asyncio loop, which come back by themselves.

One connection publishes, the other consumes and declares, since an alarm on the broker stops reading a
publishing connection, acknowledgements included. Every consumer has a channel of its own, because closing
the channel is the one way of giving messages back in their order. No other package knows pika.
"""

from broker_mesos.bus.rabbitmq.bus import RabbitBus
from broker_mesos.bus.rabbitmq.server import Timeouts

__all__ = ["RabbitBus", "Timeouts"]
