"""What each input of a cell is called in its decision log, and which ids it names."""

from __future__ import annotations

from typing import NamedTuple

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


class Cause(NamedTuple):
    """The name of a cause, the framework or agent that sent it, and the other ids that it names."""

    name: str
    sender: str = ""
    ids: tuple[str, ...] = ()


def describe(each: Input | str) -> Cause:
    """The cause that an input or a periodic check is."""
    if isinstance(each, str):
        return Cause(each)
    name = each.TYPE if isinstance(each, Message) else type(each).__name__
    if isinstance(each, UpdateStatuses):
        return Cause(name, each.agent_id, tuple(status.task_id for status in each.statuses))
    if isinstance(each, RegisterAgent):
        return Cause(name, each.agent.agent_id)
    if isinstance(each, Accepts):
        return Cause(name, each.framework_id, tuple(ident for one in each.accepts for ident in one.offer_ids))
    if isinstance(each, Settle):
        return Cause(name, each.framework_id, tuple(ident for claim in each.claims for ident in claim))
    sender = getattr(each, "framework_id", "") or getattr(each, "agent_id", "")
    task_id = getattr(each, "task_id", "")
    ids = getattr(each, "offer_ids", ()) or getattr(each, "task_ids", ()) or ((task_id,) if task_id else ())
    return Cause(name, sender, ids)
