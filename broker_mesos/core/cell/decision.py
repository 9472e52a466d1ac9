"""The decision of a cell: the writes and messages of one commit, and hints that need no commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from broker_mesos.core.cell.changes import Change
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.protocol.addresses import Address
from broker_mesos.core.protocol.records import OutboxEntry, Write
from broker_mesos.core.protocol.wire import Message
from broker_mesos.core.quota.gang_token import TokenRequest
from broker_mesos.core.quota.ledger import EscrowRequest
from broker_mesos.errors import BrokerMesosError


class Hint(NamedTuple):
    """A message that is published after the commit and not stored. Its loss causes a delay, but never an
    inconsistency."""

    to: Address
    message: Message
    expiration: float | None = None
    mandatory: bool = False


@dataclass(slots=True)
class Decision:
    """The result of one batch of messages. Nothing of it is published unless the commit has succeeded."""

    writes: list[Write] = field(default_factory=list)
    outbox: list[OutboxEntry] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    count_consumers: list[str] = field(default_factory=list)
    """Ids of frameworks whose consumers of offers are to be counted; the result is an input (ConsumersCounted)."""
    delete_queues: list[str] = field(default_factory=list)
    """Ids of frameworks whose queues are to be deleted."""
    escrow: dict[str, EscrowRequest] = field(default_factory=dict)
    """Requests to the ledger by role, to be sent after the commit; each answer is an input (EscrowSet)."""
    token: TokenRequest | None = None
    """Request for the gang token; the answer is an input (TokenSet)."""
    changes: list[Change] = field(default_factory=list)
    """States that agents and frameworks have entered, for operators."""
    statuses: list[TaskStatus] = field(default_factory=list)
    """Statuses by which tasks have entered other states, for operators."""
    launched: list[str] = field(default_factory=list)
    """Ids of tasks that were accepted, for operators."""
    refusals: list[tuple[object, BrokerMesosError]] = field(default_factory=list)
    """Inputs of operators that were refused, with the errors."""
    warnings: list[str] = field(default_factory=list)
    """Warnings for the operators of the cluster, one line each; the daemon logs them."""
    reclaim: int | None = None
    """The lowest term with which the lease must be claimed again; None if it need not be."""

    @property
    def commits(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.writes or self.outbox)
