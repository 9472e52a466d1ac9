"""Where messages go and where they are read, in the domain's words.

The names of exchanges, routing keys and queues on the broker are minted from these in
``broker_mesos.bus.topology`` and nowhere else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

SCHEMA_VERSION = 1
"""Version of the bodies' schema, in the header ``bmesos-schema``."""


def cell_of(ident: str, cells: int) -> int:
    """The cell of an agent, or the home cell of a framework: ``crc32(id) % cells``."""
    return crc32(ident.encode()) % cells


class Exchange(StrEnum):
    """The exchanges, as the design's table of messages lists them."""

    HEARTBEATS = "heartbeats"
    UPDATES = "updates"
    CALLS = "calls"
    OFFERS = "offers"
    EVENTS = "events"
    COMMANDS = "commands"
    OPERATOR = "operator"
    FEED = "feed"
    DEAD = "dead"
    REPLY = ""
    """The default exchange: the key is the reply queue's own name."""


class Address(NamedTuple):
    """An exchange and the routing key a message is published with."""

    exchange: Exchange
    key: str


def heartbeats(cell: int | None) -> Address:
    """To the owner of one cell, or of every cell."""
    return Address(Exchange.HEARTBEATS, _cell_key(cell))


def updates(cell: int) -> Address:
    """What an agent says, into its cell's inbox."""
    return Address(Exchange.UPDATES, _cell_key(cell))


def calls(cell: int | None) -> Address:
    """What a framework calls, into one inbox or all of them."""
    return Address(Exchange.CALLS, _cell_key(cell))


def offers(framework_id: str) -> Address:
    """Offers and rescinds to a framework."""
    return Address(Exchange.OFFERS, f"framework.{framework_id}")


def events(framework_id: str) -> Address:
    """Status updates and other events to a framework."""
    return Address(Exchange.EVENTS, f"framework.{framework_id}")


def commands(agent_id: str) -> Address:
    """Commands to an agent."""
    return Address(Exchange.COMMANDS, f"agent.{agent_id}")


def operator_master() -> Address:
    """An operator request that any master can answer."""
    return Address(Exchange.OPERATOR, "master")


def operator_cell(cell: int) -> Address:
    """An operator request to the owner of a cell."""
    return Address(Exchange.OPERATOR, _cell_key(cell))


def operator_framework(framework_id: str) -> Address:
    """An operator request to a built-in framework, e.g. ``batch``."""
    return Address(Exchange.OPERATOR, framework_id)


def operator_agent(agent_id: str) -> Address:
    """An operator request to an agent (its logs)."""
    return Address(Exchange.OPERATOR, f"agent.{agent_id}")


def feed(topic: str) -> Address:
    """What happened, for whoever listens: ``task.finished``, ``job.<id>``."""
    return Address(Exchange.FEED, topic)


def dead() -> Address:
    """What could not be handled."""
    return Address(Exchange.DEAD, "dead-letters")


def reply(queue: str) -> Address:
    """The answer to a request: straight to the queue that it named in ``reply_to``."""
    return Address(Exchange.REPLY, queue)


def _cell_key(cell: int | None) -> str:
    return "all" if cell is None else f"cell.{cell}"


class QueueKind(StrEnum):
    """What a queue is for; its arguments and bindings follow from it."""

    CELL_INBOX = "cell-inbox"
    """key = cell: updates ``cell.<n>``, calls ``cell.<n>`` and ``all``; quorum, single active consumer."""
    CELL_HEARTBEATS = "cell-heartbeats"
    """key = cell: heartbeats ``cell.<n>`` and ``all``; exclusive to the owner, drop-head."""
    OPERATOR_CELL = "operator-cell"
    """key = cell: operator ``cell.<n>``; exclusive to the owner."""
    OPERATOR_MASTER = "operator-master"
    """operator ``master``; shared by all masters."""
    OPERATOR_FRAMEWORK = "operator-framework"
    """key = framework id: operator ``<id>``; shared by the processes of a built-in framework."""
    OPERATOR_AGENT = "operator-agent"
    """key = agent id: operator ``agent.<id>``; exclusive."""
    FRAMEWORK_OFFERS = "framework-offers"
    """key = framework id: offers ``framework.<id>``; classic, durable, expires unused."""
    FRAMEWORK_EVENTS = "framework-events"
    """key = framework id: events ``framework.<id>``; quorum, expires after 8 days unused."""
    AGENT_COMMANDS = "agent-commands"
    """key = agent id: commands ``agent.<id>``; classic, durable, expires after a day unused."""
    FLEET_COMMANDS = "fleet-commands"
    """key = agent ids with blanks between: commands ``agent.<id>`` of each; exclusive to a process that
    simulates them."""
    REPLY = "reply"
    """server-named, exclusive: answers to requests."""
    FEED = "feed"
    """key = topic pattern (``job.*``, ``#``): exclusive, at most 10,000 messages, drop-head."""
    DEAD_LETTERS = "dead-letters"
    """dead ``dead-letters``; shared."""


class Queue(NamedTuple):
    """A queue to consume. ``competing`` matters for a framework's two queues: all its processes are
    active consumers, instead of one at a time."""

    kind: QueueKind
    key: str = ""
    competing: bool = False
