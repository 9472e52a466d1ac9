"""The addresses that messages are published to, and the queues that they are consumed from.

The names of exchanges, routing keys and queues on the broker are derived from these in
``broker_mesos.bus.topology`` and nowhere else.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

SCHEMA_VERSION = 1
"""Version of the schema of message bodies, sent in the header ``bmesos-schema``."""


def cell_of(ident: str, cells: int) -> int:
    """The cell of an agent, or the home cell of a framework: ``crc32(id) % cells``."""
    return crc32(ident.encode()) % cells


class Exchange(StrEnum):
    """The exchanges of the broker."""

    HEARTBEATS = "heartbeats"
    UPDATES = "updates"
    CALLS = "calls"
    OFFERS = "offers"
    EVENTS = "events"
    COMMANDS = "commands"
    OPERATOR = "operator"
    FEED = "feed"
    DEAD = "dead"
    REPLIES = "replies"


class Address(NamedTuple):
    """The exchange and the routing key that a message is published with."""

    exchange: Exchange
    key: str


def heartbeats(cell: int | None) -> Address:
    """The address of heartbeats to the owner of one cell, or (None) of every cell."""
    return Address(Exchange.HEARTBEATS, _cell_key(cell))


def updates(cell: int) -> Address:
    """The address of an agent's messages to its cell's inbox."""
    return Address(Exchange.UPDATES, _cell_key(cell))


def calls(cell: int | None) -> Address:
    """The address of a framework's calls to one cell's inbox, or (None) to every inbox."""
    return Address(Exchange.CALLS, _cell_key(cell))


def offers(framework_id: str) -> Address:
    """The address of offers and rescinds to a framework."""
    return Address(Exchange.OFFERS, f"framework.{framework_id}")


def early_statuses(framework_id: str) -> Address:
    """The address of EARLY_STATUSES to a framework, which agents publish. It is not that of offers, so that an agent
    can be denied the right to publish offers."""
    return Address(Exchange.OFFERS, f"early.{framework_id}")


def events(framework_id: str) -> Address:
    """The address of status updates and other events to a framework."""
    return Address(Exchange.EVENTS, f"framework.{framework_id}")


def commands(agent_id: str) -> Address:
    """The address of commands to an agent."""
    return Address(Exchange.COMMANDS, f"agent.{agent_id}")


def operator_master() -> Address:
    """The address of operator requests that any master can answer."""
    return Address(Exchange.OPERATOR, "master")


def operator_cell(cell: int) -> Address:
    """The address of operator requests to the owner of a cell."""
    return Address(Exchange.OPERATOR, _cell_key(cell))


def operator_framework(framework_id: str) -> Address:
    """The address of operator requests to a built-in framework, such as ``batch``."""
    return Address(Exchange.OPERATOR, f"framework.{framework_id}")


def operator_agent(agent_id: str) -> Address:
    """The address of operator requests to an agent, such as those for logs."""
    return Address(Exchange.OPERATOR, f"agent.{agent_id}")


def operator_enroll() -> Address:
    """The address of operator requests to the enrolment server."""
    return Address(Exchange.OPERATOR, "enroll")


def feed(topic: str) -> Address:
    """The address of notices to all subscribers of a topic, such as ``task.finished`` or ``job.<id>``."""
    return Address(Exchange.FEED, topic)


def dead() -> Address:
    """The address of dead letters: messages that could not be handled."""
    return Address(Exchange.DEAD, "dead-letters")


def reply(key: str) -> Address:
    """The address of the answer to a request: the routing key that the request names in ``reply_to``."""
    return Address(Exchange.REPLIES, key)


def reply_key(user: str, unique: str) -> str:
    """A routing key for the answers to one process of a broker user. It begins with the user's name, so that a user
    can be denied the answers to others."""
    return f"r.{_NOT_IN_A_WORD.sub('_', user) or '_'}.{unique}"


_NOT_IN_A_WORD = re.compile(r"[^A-Za-z0-9_-]")
"""Characters that are no part of a word of a routing key, or that a broker's permissions would not match literally."""


def _cell_key(cell: int | None) -> str:
    return "all" if cell is None else f"cell.{cell}"


class QueueKind(StrEnum):
    """The purpose of a queue, which determines its arguments and bindings. For each kind: the meaning of the key,
    the exchanges and routing keys that it is bound to, and its properties."""

    CELL_INBOX = "cell-inbox"
    """key = cell: updates ``cell.<n>``, calls ``cell.<n>`` and ``all``; quorum, single active consumer."""
    CELL_HEARTBEATS = "cell-heartbeats"
    """key = cell: heartbeats ``cell.<n>`` and ``all``; exclusive to the owner, drop-head."""
    OPERATOR_CELL = "operator-cell"
    """key = cell: operator ``cell.<n>``; exclusive to the owner."""
    OPERATOR_MASTER = "operator-master"
    """no key; operator ``master``; shared by all masters; quorum."""
    OPERATOR_FRAMEWORK = "operator-framework"
    """key = framework id: operator ``framework.<id>``; shared by the processes of a built-in framework."""
    OPERATOR_AGENT = "operator-agent"
    """key = agent id: operator ``agent.<id>``; exclusive."""
    OPERATOR_ENROLL = "operator-enroll"
    """no key; operator ``enroll``; exclusive."""
    FRAMEWORK_OFFERS = "framework-offers"
    """key = framework id: offers ``framework.<id>`` and ``early.<id>``; classic, expires after 8 days unused."""
    FRAMEWORK_EVENTS = "framework-events"
    """key = framework id: events ``framework.<id>``; quorum, expires after 8 days unused."""
    AGENT_COMMANDS = "agent-commands"
    """key = agent id: commands ``agent.<id>``; exclusive, with a name, so that a second agent of the same id cannot
    declare it. An agent without its connection registers anew: no command waits for it."""
    FLEET_COMMANDS = "fleet-commands"
    """key = agent ids with blanks between: commands ``agent.<id>`` of each; exclusive to a process that
    simulates them."""
    REPLY = "reply"
    """key = the routing key that requests name in ``reply_to``: replies ``r.<user>.<unique>``; exclusive."""
    FEED = "feed"
    """key = topic pattern (``job.*``, ``#``): exclusive, at most 10,000 messages, drop-head."""
    DEAD_LETTERS = "dead-letters"
    """no key; dead ``dead-letters``; shared by all masters; quorum."""


class Queue(NamedTuple):
    """A queue to consume. ``competing`` applies to the two queues of a framework: if True, all processes of the
    framework are active consumers; if False, one at a time is."""

    kind: QueueKind
    key: str = ""
    competing: bool = False
