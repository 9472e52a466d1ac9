"""Which user of the broker may send which message: one table, which receivers check before they obey a message.

It is checked when the setting ``security`` is ``on``. Each daemon then has a user of its own on the broker, whose name
is its id: an agent's user is its agent id and begins with ``agent-``, a framework's is its framework id, and all
masters are the user ``master``. The broker has verified the user of every message (its ``user_id``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from broker_mesos.core.protocol import agent_messages, events, framework_messages
from broker_mesos.core.protocol.addresses import Exchange
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.users import SenderKind, kind_of
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import WrongSender


class SenderRule(NamedTuple):
    """The senders that one type of message may have."""

    exchanges: frozenset[Exchange]
    """The exchanges that it may come by."""
    kinds: frozenset[SenderKind]
    """The kinds of users that may send it."""
    names: Callable[[Any], Iterable[str]] = lambda message: ()
    """The names in the message that must be the sender's, unless a master has sent it."""


_AGENTS = frozenset({SenderKind.AGENT})
_FRAMEWORKS = frozenset({SenderKind.OTHER})
_MASTERS = frozenset({SenderKind.MASTER})
_ANYONE = frozenset(SenderKind)


def _rule(
    exchange: Exchange, kinds: frozenset[SenderKind], names: Callable[[Any], Iterable[str]] = lambda message: ()
) -> SenderRule:
    return SenderRule(frozenset({exchange}), kinds, names)


def _framework_of(message: framework_messages.Call) -> Iterable[str]:
    return (message.framework_id,)


# Frameworks believe the agent that a status names: an agent could otherwise report the end of a task of another one.
def _agents_of_statuses(message: agent_messages.UpdateStatuses) -> Iterable[str]:
    return (message.agent_id, *(status.agent_id for status in message.statuses))


def _agents_of_list(message: agent_messages.AgentListed | agent_messages.UnregisterAgent) -> Iterable[str]:
    return (message.agent_id, *(status.agent_id for status in message.list.outcomes))


def _agents_of_registration(message: agent_messages.RegisterAgent) -> Iterable[str]:
    return (message.agent.agent_id, *(status.agent_id for status in message.list.outcomes))


RULES: dict[str, SenderRule] = {
    agent_messages.RegisterAgent.TYPE: _rule(Exchange.UPDATES, _AGENTS, _agents_of_registration),
    agent_messages.AgentListed.TYPE: _rule(Exchange.UPDATES, _AGENTS, _agents_of_list),
    agent_messages.UnregisterAgent.TYPE: _rule(Exchange.UPDATES, _AGENTS, _agents_of_list),
    agent_messages.UpdateStatuses.TYPE: _rule(Exchange.UPDATES, _AGENTS, _agents_of_statuses),
    agent_messages.AgentHeartbeat.TYPE: _rule(Exchange.HEARTBEATS, _AGENTS, lambda message: (message.agent_id,)),
    framework_messages.FrameworkHeartbeat.TYPE: _rule(Exchange.HEARTBEATS, _FRAMEWORKS, _framework_of),
    # It has no data: it makes an owner receive a message, and an agent sends one back that has a token.
    Ping.TYPE: SenderRule(
        frozenset({Exchange.UPDATES, Exchange.CALLS, Exchange.HEARTBEATS, Exchange.COMMANDS}), _AGENTS | _MASTERS
    ),
    **{
        kind.TYPE: _rule(Exchange.CALLS, _FRAMEWORKS, _framework_of)
        for kind in (
            framework_messages.Subscribe,
            framework_messages.Accept,
            framework_messages.Accepts,
            framework_messages.Decline,
            framework_messages.AnswerInverseOffers,
            framework_messages.Revive,
            framework_messages.Suppress,
            framework_messages.Kill,
            framework_messages.Acknowledge,
            framework_messages.Reconcile,
            framework_messages.Settle,
        )
    },
    framework_messages.FrameworkAbsent.TYPE: _rule(Exchange.CALLS, _MASTERS),
    framework_messages.Teardown.TYPE: _rule(Exchange.CALLS, _FRAMEWORKS | _MASTERS, _framework_of),
    **{
        kind.TYPE: _rule(Exchange.COMMANDS, _MASTERS)
        for kind in (
            agent_messages.LaunchTasks,
            agent_messages.KillTasks,
            agent_messages.SetReservations,
            agent_messages.AgentRegistered,
            agent_messages.AgentRefused,
            agent_messages.Reregister,
            agent_messages.ListTasks,
            agent_messages.SetHeartbeat,
            agent_messages.AcknowledgeStatuses,
        )
    },
    events.Offers.TYPE: _rule(Exchange.OFFERS, _MASTERS),
    events.Rescind.TYPE: _rule(Exchange.OFFERS, _MASTERS),
    events.EarlyStatuses.TYPE: _rule(
        Exchange.OFFERS, _AGENTS, lambda message: {status.agent_id for status in message.statuses}
    ),
    **{
        kind.TYPE: _rule(Exchange.EVENTS, _MASTERS)
        for kind in (
            events.Subscribed,
            events.InverseOffers,
            events.OperationsUpdated,
            events.Update,
            events.Failure,
            events.Error,
        )
    },
    # Operator requests are named here only if their rule is not the one of all others, which is below.
    "EVENT": _rule(Exchange.FEED, _MASTERS),
    "HELLO": _rule(Exchange.OPERATOR, _ANYONE, lambda message: (message.agent_id,) if message.agent_id else ()),
    "GET_CELL_USAGE": _rule(Exchange.OPERATOR, _MASTERS),
    "APPLY_CONFIG": _rule(Exchange.OPERATOR, _MASTERS),
    # Agents know no policy: the web server, or a master, asks for a person whose right it has checked.
    "READ_FILE": _rule(Exchange.OPERATOR, frozenset({SenderKind.WEB, SenderKind.MASTER})),
    "READ_USAGE": _rule(Exchange.OPERATOR, frozenset({SenderKind.WEB, SenderKind.MASTER})),
    "AGENT_EXEC": _rule(Exchange.OPERATOR, frozenset({SenderKind.WEB, SenderKind.MASTER})),
}
"""The rules by message type."""

REQUESTS = _rule(Exchange.OPERATOR, _ANYONE - _AGENTS)
"""The rule of operator requests that ``RULES`` does not name. Whether a person has the right is decided after it."""


def check_sender(message: Message, exchange: Exchange | None, user: str, rule: SenderRule) -> None:
    """Check a message's sender. ``exchange`` is the one that it came by, None if that is not of this cluster; ``user``
    is its sender, empty if the broker has verified none. Raises WrongSender, with both names in one line."""
    if exchange not in rule.exchanges:
        raise WrongSender(f"{message.TYPE} came by the wrong exchange ({exchange or 'unknown'}), from {_quoted(user)}")
    if not user:
        raise WrongSender(f"{message.TYPE} has no sender that the broker has verified")
    kind = kind_of(user)
    if kind not in rule.kinds:
        allowed = " or ".join(sorted(rule.kinds))
        raise WrongSender(f"{message.TYPE} came from {_quoted(user)}, and only {allowed} may send it")
    if kind is SenderKind.MASTER:
        return
    for name in rule.names(message):
        if name != user:
            raise WrongSender(f"{message.TYPE} of {_quoted(name)} came from {_quoted(user)}")


def _quoted(name: str) -> str:
    return repr(name[:100]) if name else "nobody"
