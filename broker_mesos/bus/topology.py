"""The names and arguments of all exchanges and queues on the broker. No other code makes them.

Queues are quorum queues, or exclusive to one connection, so that the loss of one node of a RabbitMQ cluster takes none
of them away. Two that every job waits for are classic still, since a quorum queue is slower (decision 0037): offers,
and requests to a built-in framework. Everything is published to an exchange of the
cluster, never to the default exchange, since a right to that is a right to put messages into any queue. Exchanges
whose keys name a receiver are topic exchanges: RabbitMQ checks the rights to single keys on these alone.

A cluster named ``default`` has the prefix ``bmesos``, any other one ``bmesos-<cluster>``: two clusters on one broker
and vhost share nothing. A queue's arguments are fixed when it is first declared, so a change here is a change of
format: existing queues then cause a Conflict until they are deleted.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from broker_mesos.core.protocol.addresses import Address, Exchange, Queue, QueueKind
from broker_mesos.errors import Conflict, InvalidInput
from broker_mesos.ports.bus import QueueInUse

CLUSTER_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,40}")

_DAY_MS = 86_400_000
# -1 makes 3.10 drop every redelivered message, 4.x defaults to 20, and a small limit drops harmless messages after a
# few crashes: the cells count the tries of poison messages instead.
_DELIVERY_LIMIT = 1_000_000

Argument = str | int | bool


class QueueSpec(NamedTuple):
    """The arguments of a declaration. An empty ``name`` lets the broker choose one; ``bindings`` are pairs of
    exchange and routing key."""

    name: str
    durable: bool
    exclusive: bool
    auto_delete: bool
    arguments: dict[str, Argument]
    bindings: tuple[tuple[str, str], ...]


_INEQUIVALENT = re.compile(r"inequivalent arg '([^']*)' for .*: received (.*) but current is (.*)")


def conflict(name: str, reply: str = "") -> Conflict:
    """The error for a queue or exchange that exists with other arguments. ``reply`` is the broker's text, which names
    the argument. The error does not advise to delete it by hand, since its messages would be lost, and other
    releases may run."""
    found = _INEQUIVALENT.search(reply)
    what = f"with {found[1]} {_value(found[3])} instead of {_value(found[2])}" if found else "with other arguments"
    return Conflict(
        f"{name} exists on the broker {what}: another release or another program declared it, or a policy sets it; "
        "run one release everywhere, or use another --cluster; after an upgrade of all, stop the cluster and run "
        "`bmesos deploy reset-topology`"
    )


def _value(text: str) -> str:
    """The part ``10`` of ``the value '10' of type 'signedint'``."""
    found = re.search(r"'(.*?)'", text)
    return found[1] if found else text.strip()


def queue_in_use(name: str) -> QueueInUse:
    """The error for a queue that is exclusive to another connection."""
    return QueueInUse(
        f"another process consumes {name}: for an agent, one with the same id runs already, here or elsewhere "
        "(a copied work folder?); give each agent a work folder and an id of its own"
    )


def difference(wanted: QueueSpec, found: QueueSpec) -> str:
    """RabbitMQ's reply to the declaration of a queue that exists with other arguments."""
    for name in sorted(wanted.arguments.keys() | found.arguments.keys()):
        mine, other = (str(each.arguments.get(name, "none")).lower() for each in (wanted, found))
        if mine != other:
            return f"inequivalent arg '{name}' for queue: received {mine} but current is {other}"
    return ""


def restored(exchange: str) -> str:
    """The text of a report about an exchange that was missing."""
    return f"the exchange {exchange} was missing; it has been declared and bound again"


class Topology:
    """The names of one cluster. Raises InvalidInput for a cluster name that would not be safe in them."""

    def __init__(self, cluster: str = "default") -> None:
        if not CLUSTER_PATTERN.fullmatch(cluster):
            raise InvalidInput(f"cluster name {cluster[:64]!r}: use 1 to 40 letters, digits, '-' or '_', as in 'lab-2'")
        self.cluster = cluster
        self.prefix = "bmesos" if cluster == "default" else f"bmesos-{cluster}"
        self._exchange_names = {exchange: f"{self.prefix}.{exchange.value}" for exchange in Exchange}
        self._exchanges_by_name = {name: exchange for exchange, name in self._exchange_names.items()}

    def exchange(self, exchange: Exchange) -> str:
        """An exchange's name on the broker."""
        return self._exchange_names[exchange]

    def exchange_named(self, name: str) -> Exchange | None:
        """The exchange with this name on the broker; None if it is not one of this cluster's."""
        return self._exchanges_by_name.get(name)

    def exchanges(self) -> dict[str, str]:
        """The durable exchanges to declare: type by name."""
        return {name: "topic" if exchange in _TOPIC else "direct" for exchange, name in self._exchange_names.items()}

    def route(self, address: Address) -> tuple[str, str]:
        """The name of the exchange and the routing key to publish with."""
        return self._exchange_names[address.exchange], address.key

    def queue_spec(self, queue: Queue) -> QueueSpec:
        """The arguments with which a queue is declared."""
        kind, key = queue.kind, queue.key
        match kind:
            case QueueKind.CELL_INBOX:
                cell = f"cell.{key}"
                return self._shared(
                    queue,
                    (Exchange.UPDATES, cell),
                    (Exchange.CALLS, cell),
                    (Exchange.CALLS, "all"),
                    arguments=_quorum() | _single_active(),
                )
            case QueueKind.CELL_HEARTBEATS:
                return self._own(
                    (Exchange.HEARTBEATS, f"cell.{key}"),
                    (Exchange.HEARTBEATS, "all"),
                    arguments=_classic() | _drop_head(40_000),
                )
            case QueueKind.OPERATOR_CELL:
                return self._own((Exchange.OPERATOR, f"cell.{key}"), arguments=_classic())
            case QueueKind.OPERATOR_MASTER:
                return self._shared(queue, (Exchange.OPERATOR, "master"), arguments=_quorum() | _expires(1))
            case QueueKind.OPERATOR_FRAMEWORK:
                return self._shared(queue, (Exchange.OPERATOR, f"framework.{key}"), arguments=_classic() | _expires(1))
            case QueueKind.OPERATOR_AGENT:
                return self._own((Exchange.OPERATOR, f"agent.{key}"), arguments=_classic())
            case QueueKind.OPERATOR_ENROLL:
                return self._own((Exchange.OPERATOR, "enroll"), arguments=_classic())
            case QueueKind.FRAMEWORK_OFFERS:
                return self._shared(
                    queue,
                    (Exchange.OFFERS, f"framework.{key}"),
                    (Exchange.OFFERS, f"early.{key}"),
                    arguments=_classic() | _expires(8) | _drop_head(10_000) | _activity(queue),
                )
            case QueueKind.FRAMEWORK_EVENTS:
                return self._shared(
                    queue,
                    (Exchange.EVENTS, f"framework.{key}"),
                    arguments=_quorum() | _expires(8) | _activity(queue),
                )
            case QueueKind.AGENT_COMMANDS:
                # Of two agents with one id, each would receive the other's commands too: the name excludes one.
                own = self._own((Exchange.COMMANDS, f"agent.{key}"), arguments=_classic())
                return own._replace(name=self._name(queue))
            case QueueKind.FLEET_COMMANDS:
                agents = ((Exchange.COMMANDS, f"agent.{ident}") for ident in key.split())
                return self._own(*agents, arguments=_classic())
            case QueueKind.REPLY:
                return self._own((Exchange.REPLIES, key), arguments=_classic())
            case QueueKind.FEED:
                return self._own((Exchange.FEED, key), arguments=_classic() | _drop_head(10_000))
            case QueueKind.DEAD_LETTERS:
                return self._shared(
                    queue, (Exchange.DEAD, "dead-letters"), arguments=_quorum() | _drop_head(100_000, 256 << 20)
                )

    def destination(self, exchange: str, key: str) -> QueueSpec | None:
        """The queue that messages with this exchange and routing key are for; None if that is not one queue, or one
        that is exclusive, which nobody but its connection can bind. Whether it is competing is not known from the
        route, so it can be bound by this and not declared."""
        head, _, ident = key.partition(".")
        match self._exchanges_by_name.get(exchange), head:
            case ((Exchange.UPDATES | Exchange.CALLS), "cell"):
                queue = Queue(QueueKind.CELL_INBOX, ident)
            case Exchange.OFFERS, ("framework" | "early"):
                queue = Queue(QueueKind.FRAMEWORK_OFFERS, ident)
            case Exchange.EVENTS, "framework":
                queue = Queue(QueueKind.FRAMEWORK_EVENTS, ident)
            case Exchange.OPERATOR, "master":
                queue = Queue(QueueKind.OPERATOR_MASTER)
            case Exchange.OPERATOR, "framework":
                queue = Queue(QueueKind.OPERATOR_FRAMEWORK, ident)
            case Exchange.DEAD, _:
                queue = Queue(QueueKind.DEAD_LETTERS)
            case _:
                return None
        return self.queue_spec(queue)

    def shared_spec(self, queue: Queue) -> QueueSpec:
        """The arguments of a queue that several connections may use. Raises InvalidInput for exclusive queues, which
        exist only through their consumer."""
        spec = self.queue_spec(queue)
        if spec.exclusive:
            raise InvalidInput(f"a {queue.kind} queue belongs to its consumer: it can only be consumed")
        return spec

    def _shared(self, queue: Queue, *bindings: tuple[Exchange, str], arguments: dict[str, Argument]) -> QueueSpec:
        return QueueSpec(self._name(queue), True, False, False, arguments, self._bindings(bindings))

    def _name(self, queue: Queue) -> str:
        return ".".join(part for part in (self.prefix, queue.kind.value, queue.key) if part)

    def _own(self, *bindings: tuple[Exchange, str], arguments: dict[str, Argument]) -> QueueSpec:
        return QueueSpec("", False, True, True, arguments, self._bindings(bindings))

    def _bindings(self, bindings: tuple[tuple[Exchange, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((self._exchange_names[exchange], key) for exchange, key in bindings)


_TOPIC = frozenset(
    {Exchange.OFFERS, Exchange.EVENTS, Exchange.COMMANDS, Exchange.OPERATOR, Exchange.FEED, Exchange.REPLIES}
)


# The type is always given, since a vhost may have another default.
def _classic() -> dict[str, Argument]:
    return {"x-queue-type": "classic"}


def _quorum() -> dict[str, Argument]:
    return {"x-queue-type": "quorum", "x-delivery-limit": _DELIVERY_LIMIT}


def _single_active() -> dict[str, Argument]:
    return {"x-single-active-consumer": True}


def _activity(queue: Queue) -> dict[str, Argument]:
    return {} if queue.competing else _single_active()


def _drop_head(length: int, size: int = 0) -> dict[str, Argument]:
    """At most ``length`` messages, and ``size`` bytes of bodies if that is given."""
    limits: dict[str, Argument] = {"x-max-length": length, "x-overflow": "drop-head"}
    if size:
        limits["x-max-length-bytes"] = size
    return limits


def _expires(days: int) -> dict[str, Argument]:
    return {"x-expires": days * _DAY_MS}
