"""The Bus port: messages in and out, and the queues on the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker_mesos.core.protocol.addresses import Address, Queue
from broker_mesos.core.protocol.envelope import MAX_TERM
from broker_mesos.core.protocol.users import MASTER_USER
from broker_mesos.errors import Conflict

if TYPE_CHECKING:  # a command that submits a job loads no models
    from broker_mesos.core.api.health import BusReport
    from broker_mesos.core.protocol.wire import Message

SENDER_HEADER = "bmesos-sender"
"""The header in which a master names the first sender of a message that it sends again from the dead letters."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. ``expiration`` is its time to live in seconds."""

    to: Address
    type: str
    body: bytes
    message_id: str
    mandatory: bool = False
    persistent: bool = True
    expiration: float | None = None
    reply_to: str = ""
    correlation_id: str = ""
    term: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


def outgoing(
    to: Address,
    message: Message,
    message_id: str,
    *,
    mandatory: bool = False,
    persistent: bool = True,
    expiration: float | None = None,
    reply_to: str = "",
    correlation_id: str = "",
    term: int = 0,
) -> Outgoing:
    """The message to publish for a wire message and an address."""
    return Outgoing(
        to=to,
        type=message.TYPE,
        body=message.encode(),
        message_id=message_id,
        mandatory=mandatory,
        persistent=persistent,
        expiration=expiration,
        reply_to=reply_to,
        correlation_id=correlation_id,
        term=term,
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was received. ``tag`` is meaningful only to the consumer that returned it."""

    type: str
    body: bytes
    message_id: str
    tag: int
    redelivered: bool = False
    reply_to: str = ""
    correlation_id: str = ""
    term: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    exchange: str = ""
    """The name of the exchange on the broker that it was published to."""
    routing_key: str = ""
    user_id: str = ""
    """The broker's user that published it, which the broker has verified; empty if the publisher named none."""
    problem: str = ""
    """The reason why the message must not be handled, in one line; it is then a dead letter. Empty if it may be
    handled."""

    @property
    def sender(self) -> str:
        """The user that the message is from: a master names the first sender of a message that it sends again."""
        return self.headers.get(SENDER_HEADER, self.user_id) if self.user_id == MASTER_USER else self.user_id


MAX_EXPIRATION_MS = 2**32 - 1
"""Maximum time to live of a message, in milliseconds: RabbitMQ closes the channel over a longer one."""


def bad_term(value: object) -> str:
    """The problem of a message's term; empty if it has none. An agent would store the term for good."""
    # An adapter may have a class of its own for large numbers, as pika does.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TERM:
        return ""
    return f"its term {str(value)[:40]!r} is no whole number from 0 to below 2**52"


def expiration_ms(seconds: float) -> int:
    """A time to live in whole milliseconds. One that is negative, infinite or not a number is limited to what the
    broker accepts."""
    return round(min(max(0.0, seconds * 1000), MAX_EXPIRATION_MS)) if seconds == seconds else 0


class QueueFacts(NamedTuple):
    """The current state of a queue: the number of messages that wait for a consumer, and the number of consumers."""

    messages: int
    consumers: int


class ConsumerClosed(Exception):
    """The consumer has ended: its channel or connection closed, its queue was deleted, or it was cancelled
    by the broker. What it had not acknowledged is delivered again, to one of the queue's consumers. Consume again."""


class QueueInUse(Conflict):
    """A queue with a name that is exclusive to another connection (an agent's commands)."""


class Consumer(Protocol):
    """A consumer on its own channel."""

    @property
    def queue_name(self) -> str:
        """The queue's name on the broker."""
        ...

    async def receive(self, limit: int = 500) -> list[Delivery]:
        """Wait for at least one delivery. Returns up to ``limit`` deliveries that have arrived, in order. Raises
        ConsumerClosed."""
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries of this consumer; ignored when it has ended. Several at once cost one frame when they are
        the oldest unsettled ones."""
        ...

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        """Give one delivery back to the queue, or drop it."""
        ...

    async def close(self) -> None:
        """Close the channel: unacknowledged messages go back in their order, before any other consumer receives later
        ones. Idempotent."""
        ...


class Bus(Protocol):
    """A connection to the broker, which reconnects by itself, with jittered back-off."""

    async def open(self, timeout: float) -> None:
        """Connect and declare the exchanges. Raises BusUnavailable (host and port, never a password) when
        that fails for good (credentials, vhost) or does not succeed within ``timeout`` seconds."""
        ...

    async def close(self) -> None:
        """Disconnect; pending publishes end with BusUnavailable. Idempotent."""
        ...

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        """Queue a message for publishing, in the order of calls. The future ends with True when the broker
        has confirmed it, False when it was returned as unroutable (``mandatory`` only), or with
        BusUnavailable when the connection is down, blocked for too long, lost before the confirm, or the
        bounded window of unconfirmed messages is full (then nothing was sent). A future that nobody awaits
        raises no warning."""
        ...

    async def writable(self) -> None:
        """Wait until the window of unconfirmed messages has room and the connection is not blocked.
        Raises BusUnavailable when the connection is down."""
        ...

    async def wait_connected(self) -> None:
        """Wait until both connections are up. Raises BusUnavailable once the bus is closed."""
        ...

    async def consume(self, queue: Queue, *, prefetch: int = 500) -> Consumer:
        """Declare the queue with its bindings, and consume it. Waits while a connection is down.

        Raises Conflict if the queue exists with other arguments, and BusUnavailable if the broker refuses it to
        this user; but a queue that this bus has consumed before is tried again until it succeeds, since a running
        daemon must outlive a passing mistake. Raises QueueInUse, for an exclusive queue with a name, when
        another process has it for longer than the broker needs to notice that a connection is dead."""
        ...

    async def declare(self, queue: Queue) -> None:
        """Declare the queue with its bindings, without consuming. Not for exclusive queues."""
        ...

    async def consumers(self, queue: Queue) -> int | None:
        """How many consumers the queue has (passive declare); None if there is no such queue. Raises
        BusUnavailable."""
        ...

    async def inspect(self, queue: Queue) -> QueueFacts | None:
        """A queue's length and consumers (passive declare); None if there is no such queue. Raises
        BusUnavailable."""
        ...

    async def health(self) -> BusReport:
        """The state of this connection. Raises BusUnavailable."""
        ...

    async def delete(self, queue: Queue) -> None:
        """Delete a queue; no error if it does not exist."""
        ...

    @property
    def connected(self) -> bool:
        """Whether both connections are up, and publishing is not blocked."""
        ...

    @property
    def user(self) -> str:
        """The name of the broker's user that this bus is connected as; empty for a broker without users."""
        ...

    @property
    def verifies(self) -> bool:
        """Whether the senders of messages are checked (the setting ``security``)."""
        ...

    def verify(self, delivery: Delivery, message: Message) -> None:
        """Check the sender of a decoded message, before it is obeyed; does nothing if senders are not checked. Raises
        WrongSender."""
        ...

    @property
    def blocked_reason(self) -> str:
        """The reason why the broker blocks publishers at the moment, in one line; empty if it does not."""
        ...

    @property
    def connected_since(self) -> float:
        """Monotonic time, in seconds, of the last connect or end of an alarm. A missing message from before that time
        is no sign that its sender is gone, since it could not arrive."""
        ...
