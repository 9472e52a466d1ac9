"""The inputs of a cell: messages, and reports of its daemon, its operators and the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker_mesos.core.api.maintenance import AgentsRequest
from broker_mesos.core.model.reservation import Operation
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentListed,
    RegisterAgent,
    UnregisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.framework_messages import Call, FrameworkHeartbeat
from broker_mesos.core.protocol.wire import Message
from broker_mesos.core.quota.cluster_config import ClusterConfig
from broker_mesos.core.quota.gang_token import GangToken


@dataclass(frozen=True, slots=True)
class FrameworkInput:
    """The base class of inputs about one framework."""

    framework_id: str


@dataclass(frozen=True, slots=True)
class ConsumersCounted(FrameworkInput):
    """The daemon has counted the consumers of a framework's offers. ``count`` is None if there is no such queue."""

    count: int | None


class OffersReturned(FrameworkInput):
    """The broker returned an OFFERS message: the framework has no queue."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The owner has connected to the broker again. It received no messages before, so that silence is counted from
    now."""


@dataclass(frozen=True, slots=True)
class OperatorKill:
    """An operator kills a task."""

    task_id: str


@dataclass(frozen=True, slots=True)
class AgentInput:
    """The base class of inputs about one agent."""

    agent_id: str


class OperatorMarkGone(AgentInput):
    """An operator marks an agent as gone for ever."""

    __slots__ = ()


class OperatorTearDown(FrameworkInput):
    """An operator tears a framework down."""

    __slots__ = ()


class OperatorReadmit(FrameworkInput):
    """An operator removes the tombstone of a framework, so that its id may be used again."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class OperatorMaintain:
    """An operator drains agents, activates them again, or plans absences."""

    request: AgentsRequest


@dataclass(frozen=True, slots=True)
class OperatorOperate(AgentInput):
    """An operator changes reservations or volumes of an agent. Errors are in ``Decision.refusals``."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class Configured:
    """The daemon has read the current cluster config."""

    config: ClusterConfig


@dataclass(frozen=True, slots=True)
class EscrowSet:
    """The ledger's answer: the part of a role's limit that this cell has now, in thousandths by name."""

    role: str
    amounts: Mapping[str, int]
    since: int = 0
    """RoleSettings.since of the limit in the request."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The gang that has the gang token according to the store; None if the token is free."""

    token: GangToken | None


CELL_MESSAGES = (
    AgentHeartbeat,
    FrameworkHeartbeat,
    UpdateStatuses,
    Call,
    RegisterAgent,
    AgentListed,
    UnregisterAgent,
    Ping,
)
"""The messages that a cell handles; any other message does not belong in its inbox."""


Input = (
    Message
    | ConsumersCounted
    | OffersReturned
    | Reconnected
    | OperatorKill
    | OperatorMarkGone
    | OperatorTearDown
    | OperatorReadmit
    | OperatorMaintain
    | OperatorOperate
    | Configured
    | EscrowSet
    | TokenSet
)
