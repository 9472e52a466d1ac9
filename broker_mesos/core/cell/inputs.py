"""What a cell decides on: messages, and what its daemon, its operators and the store report."""

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
class ConsumersCounted:
    """An input of the daemon's own: how many processes read a framework's offers; None: no such queue."""

    framework_id: str
    count: int | None


@dataclass(frozen=True, slots=True)
class OffersReturned:
    """The broker returned an OFFERS message: the framework has no queue."""

    framework_id: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The owner was blind until now: silence counts from here."""


@dataclass(frozen=True, slots=True)
class OperatorKill:
    """An operator wants a task to end."""

    task_id: str


@dataclass(frozen=True, slots=True)
class OperatorMarkGone:
    """An operator says that an agent never comes back."""

    agent_id: str


@dataclass(frozen=True, slots=True)
class OperatorReadmit:
    """An operator lifts the tombstone of a framework: its id may be used again."""

    framework_id: str


@dataclass(frozen=True, slots=True)
class OperatorMaintain:
    """An operator drains agents, takes them back, or plans when they are away."""

    request: AgentsRequest


@dataclass(frozen=True, slots=True)
class OperatorOperate:
    """An operator reserves, or makes a volume. What hinders it is in ``Decision.refusals``."""

    agent_id: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class Configured:
    """What the operators have set for the cluster, as it is now."""

    config: ClusterConfig


@dataclass(frozen=True, slots=True)
class EscrowSet:
    """The ledger's answer: what this cell holds of a role's limit now, in thousandths by name."""

    role: str
    amounts: Mapping[str, int]
    since: int = 0
    """RoleSettings.since of the limit that was asked about."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """Who has the gang token, as the store says."""

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
"""The messages that a cell knows what to do with; any other one does not belong into its inbox."""


Input = (
    Message
    | ConsumersCounted
    | OffersReturned
    | Reconnected
    | OperatorKill
    | OperatorMarkGone
    | OperatorReadmit
    | OperatorMaintain
    | OperatorOperate
    | Configured
    | EscrowSet
    | TokenSet
)
