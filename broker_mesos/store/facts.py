"""The data of a store in this process, and the journal of its changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from broker_mesos.core.protocol.records import Lease, OutboxEntry, RecordKind
from broker_mesos.ports.store import MasterInfo

Row = tuple[str, *tuple[str | int, ...]]
"""The name of a durable value: its table, then the columns of its primary key."""


@dataclass
class CellFacts:
    """A cell's lease, records and outbox."""

    term: int = 0
    nonce: str = ""
    owner: str = ""
    commit: int = 0
    commit_id: str = ""
    renewed_at: float = -math.inf
    run_id: int = 0
    recovering: bool = False
    recovered: bool = False
    recovery_term: int = 0
    records: dict[RecordKind, dict[str, bytes]] = field(default_factory=lambda: {kind: {} for kind in RecordKind})
    outbox: dict[int, OutboxEntry] = field(default_factory=dict)

    def lease(self, number: int, now: float) -> Lease:
        """The lease in the form that the Store port returns."""
        # A lease that was never renewed is as old as the epoch, as in Redis: finite, so that it can be encoded as
        # JSON.
        age = max(0.0, now - self.renewed_at) if math.isfinite(self.renewed_at) else 1e9
        return Lease(number, self.term, self.nonce, self.owner, self.commit, age)


@dataclass
class Facts:
    """All data of a store. Changes of durable data (the number of cells, leases, records, outboxes, hashes and sorted
    sets) are recorded in ``journal``; data about running processes only (masters, usage, tries, the age of a lease)
    and streams are not durable."""

    cell_count: int = 0
    cells: dict[int, CellFacts] = field(default_factory=dict)
    masters: dict[str, tuple[MasterInfo, float, float]] = field(default_factory=dict)
    usage: dict[int, bytes] = field(default_factory=dict)
    tries: dict[int, tuple[float, dict[str, int]]] = field(default_factory=dict)
    """By cell: the time at which the counts expire, and the number of tries by message id."""
    streams: dict[str, list[tuple[int, int, bytes]]] = field(default_factory=dict)
    """Entries of each stream: milliseconds, number, body. They are not durable."""
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    zsets: dict[str, dict[str, float]] = field(default_factory=dict)
    journal: set[Row] | None = None
    """Names of durable values that have changed since the journal was last taken; None records nothing."""

    def changed(self, *row: *Row) -> None:
        """Record that a durable value was changed or deleted."""
        if self.journal is not None:
            self.journal.add(row)
