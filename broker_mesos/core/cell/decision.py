"""What a cell has decided: the writes and messages of one commit, and hints that need none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from broker_mesos.core.protocol.addresses import Address
from broker_mesos.core.protocol.records import OutboxEntry, Write
from broker_mesos.core.protocol.wire import Message
from broker_mesos.core.quota.gang_token import TokenAsk
from broker_mesos.core.quota.ledger import EscrowAsk
from broker_mesos.errors import BrokerMesosError


class Hint(NamedTuple):
    """A message that is published after the commit and not stored: losing it costs time, never facts."""

    to: Address
    message: Message
    expiration: float | None = None
    mandatory: bool = False


@dataclass(slots=True)
class Decision:
    """What one batch of messages leads to. Nothing of it is published unless the commit succeeded."""

    writes: list[Write] = field(default_factory=list)
    outbox: list[OutboxEntry] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    count_consumers: list[str] = field(default_factory=list)
    """Frameworks whose offers' queue is to be looked at; the answer is an input."""
    delete_queues: list[str] = field(default_factory=list)
    """Frameworks whose queues are to be deleted."""
    escrow: dict[str, EscrowAsk] = field(default_factory=dict)
    """What to ask of the ledger, by role, once this is committed; its answer is an input."""
    token: TokenAsk | None = None
    """What to ask of the gang token; who has it is an input."""
    refusals: list[tuple[object, BrokerMesosError]] = field(default_factory=list)
    """Inputs of operators that were not carried out, and why not."""
    warnings: list[str] = field(default_factory=list)
    """What the operators of the cluster should know; the daemon logs it."""
    reclaim: int | None = None
    """The lease must be claimed again, with at least this term."""

    @property
    def commits(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.writes or self.outbox)
