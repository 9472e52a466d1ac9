"""Dead letters: messages that could not be handled, with all that is needed to find out why and to send them again.

A letter has the body, type and id of the original message, and these headers besides the message's own: ``letter``
(the letter's id, since one message may have several letters), ``reason`` (one line), ``from`` (its queue, as
``cell-inbox.3`` or ``agent-commands.<id>``), ``tries`` (the number of failed attempts to handle it; 0 if it could not
be decoded), ``at`` (seconds since the epoch), ``user`` (the message's sender as the broker has verified it, if it has)
and, if the body was truncated, ``size`` (that of the whole body, in bytes).
"""

from __future__ import annotations

from broker_mesos.core.model.part import whole_number
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Address, Queue, QueueKind
from broker_mesos.core.protocol.users import MASTER_USER
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import BusUnavailable, Conflict, Denied
from broker_mesos.ports.bus import SENDER_HEADER, Bus, Delivery, Outgoing

DEAD_LETTERS = Queue(QueueKind.DEAD_LETTERS)
_HEADERS = ("letter", "reason", "from", "tries", "at", "size", "user")
_OVERSIZED_BODY_BYTES = 65_536
"""Number of bytes that are kept of a body larger than a message may be: the beginning shows where it came from."""


def letter(delivery: Delivery, queue: Queue, reason: str, *, tries: int, letter_id: str, now: float) -> Outgoing:
    """The dead letter for a message from ``queue``. ``now`` is seconds since the epoch."""
    size = len(delivery.body)
    headers = _own_headers(delivery)
    headers |= {
        "letter": letter_id,
        "reason": " ".join(reason.split())[:1_000],
        "from": f"{queue.kind}.{queue.key}",
        "tries": str(tries),
        "at": f"{now:.3f}",
    }
    if delivery.sender:
        headers["user"] = delivery.sender
    if size > MAX_BODY:
        headers["size"] = str(size)
    return Outgoing(
        to=addresses.dead(),
        type=delivery.type,
        body=delivery.body if size <= MAX_BODY else delivery.body[:_OVERSIZED_BODY_BYTES],
        message_id=delivery.message_id or letter_id,
        mandatory=True,
        term=delivery.term,
        headers=headers,
    )


async def park(bus: Bus, message: Outgoing) -> None:
    """Publish a letter, and return once the broker has confirmed it. Raises BusUnavailable; then the message must not
    be acknowledged."""
    if await bus.publish(message):
        return
    # Masters declare the queue when they start; agents and frameworks may have no right to.
    try:
        await bus.declare(DEAD_LETTERS)
    except Conflict as error:
        raise BusUnavailable(str(error)) from None
    if not await bus.publish(message):
        raise BusUnavailable("the queue of dead letters is missing, although it was just declared; trying again")


def letter_id(delivery: Delivery) -> str:
    """A letter's id. A message that another program has put into the queue has none; then its message id is used."""
    return delivery.headers.get("letter") or delivery.message_id


def original(delivery: Delivery) -> Outgoing:
    """The original message of a letter, addressed to the queue that it came from, with its first sender in a header.
    Raises Conflict if the queue or the whole body is not known."""
    if "size" in delivery.headers:
        raise Conflict(
            f"{letter_id(delivery)} was too large ({delivery.headers['size']} bytes), and its body was truncated: "
            "it can only be dropped"
        )
    headers = _own_headers(delivery)
    if delivery.headers.get("user"):
        headers[SENDER_HEADER] = delivery.headers["user"]
    return Outgoing(
        to=_way_back(delivery),
        type=delivery.type,
        body=delivery.body,
        message_id=delivery.message_id,
        mandatory=True,
        term=delivery.term,
        headers=headers,
    )


def _own_headers(delivery: Delivery) -> dict[str, str]:
    """The headers of the message itself, without those of a letter, and without a sender that it may have claimed."""
    return {name: value for name, value in delivery.headers.items() if name not in (*_HEADERS, SENDER_HEADER)}


def check_origin(delivery: Delivery) -> None:
    """Check that the publisher of a letter, whom the broker has verified, receives the messages of the queue that the
    letter names: whoever may publish letters could else let a master publish anything anywhere. Raises Denied."""
    user, source = delivery.user_id, delivery.headers.get("from", "")
    kind, _, key = source.partition(".")
    own = (QueueKind.AGENT_COMMANDS, QueueKind.FRAMEWORK_EVENTS, QueueKind.FRAMEWORK_OFFERS)
    if user == MASTER_USER or (user and key == user and kind in own):
        return
    raise Denied(
        f"{letter_id(delivery)} was published by the user {user!r}, who receives no messages of the queue "
        f"{source[:100]!r}: the letter is forged, and can only be dropped"
    )


def _way_back(delivery: Delivery) -> Address:
    kind, _, key = delivery.headers.get("from", "").partition(".")
    match kind:
        case QueueKind.CELL_INBOX if (cell := whole_number(key)) is not None:
            return addresses.updates(cell)
        case QueueKind.AGENT_COMMANDS if key:
            return addresses.commands(key)
        case QueueKind.FRAMEWORK_EVENTS if key:
            return addresses.events(key)
        case QueueKind.FRAMEWORK_OFFERS if key:
            return addresses.offers(key)
    raise Conflict(f"{letter_id(delivery)} has no header with its queue: it can only be dropped")
