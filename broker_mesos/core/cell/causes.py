"""What each input of a cell is called in its decision log, and which ids it names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

from broker_mesos.core.cell.inputs import (
    Configured,
    ConsumersCounted,
    EscrowSet,
    Input,
    OffersReturned,
    Reconnected,
    TokenSet,
)
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, RegisterAgent, UpdateStatuses
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.framework_messages import Accepts, FrameworkHeartbeat, Settle
from broker_mesos.core.protocol.wire import Message

QUIET = frozenset(
    (
        AgentHeartbeat,
        FrameworkHeartbeat,
        Ping,
        ConsumersCounted,
        OffersReturned,
        Reconnected,
        Configured,
        EscrowSet,
        TokenSet,
        str,
    )
)
"""Classes of causes that are kept only if they have effects. A text names a periodic check of the cell itself."""


Cause = tuple[str, str, tuple[str, ...]]
"""The name of a cause, the framework or agent that sent it (empty if none did), and the other ids that it names."""


def describe(each: Input | str) -> Cause:
    """The cause that an input or a periodic check is."""
    if isinstance(each, str):
        return each, "", ()
    kind: type = type(each)
    name, sender, ids = _readers(kind)
    return name, sender(each), ids(each)


@cache
def _readers(kind: type) -> tuple[str, Callable[[Any], str], Callable[[Any], tuple[str, ...]]]:
    """The name of a class of inputs, and the functions that return the sender and the ids of such an input.

    They are found once for each class: every message that a cell receives is described, and to look for a field that
    a message does not have takes longer than all the rest.
    """
    name, fields = kind.__name__, set(dir(kind))
    if issubclass(kind, Message):
        name, fields = kind.TYPE, set(kind.model_fields)
    senders = [SENDERS[kind]] if kind in SENDERS else [attrgetter(field) for field in SENDER_FIELDS if field in fields]
    ids = [IDS[kind]] if kind in IDS else [reader for field, reader in ID_FIELDS.items() if field in fields]
    return name, next(iter(senders), _nobody), next(iter(ids), _nothing)


def _nobody(each: Any) -> str:
    return ""


def _nothing(each: Any) -> tuple[str, ...]:
    return ()


def _ids_of_accepts(each: Accepts) -> tuple[str, ...]:
    return tuple(ident for one in each.accepts for ident in one.offer_ids)


def _ids_of_settle(each: Settle) -> tuple[str, ...]:
    return tuple(ident for claim in each.claims for ident in claim)


SENDER_FIELDS = ("framework_id", "agent_id")
"""The fields that name the sender of an input; the first one that its class has is read."""
SENDERS: dict[type, Callable[[Any], str]] = {RegisterAgent: attrgetter("agent.agent_id")}
"""How the sender of other inputs is found."""
ID_FIELDS: dict[str, Callable[[Any], tuple[str, ...]]] = {
    "offer_ids": attrgetter("offer_ids"),
    "task_ids": attrgetter("task_ids"),
    "task_id": lambda each: (each.task_id,),
}
"""The fields with the other ids of an input; the first one that its class has is read."""
IDS: dict[type, Callable[[Any], tuple[str, ...]]] = {
    UpdateStatuses: lambda each: tuple([status.task_id for status in each.statuses]),
    Accepts: _ids_of_accepts,
    Settle: _ids_of_settle,
}
"""How the ids of other inputs are found."""
