"""The Store port (cells, leases, commits) and the Records port (transactions of frameworks)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from broker_mesos.core.api.health import StoreReport
from broker_mesos.core.protocol.records import Lease, OutboxEntry, Snapshot, Write
from broker_mesos.errors import InvalidInput


class FloorRefused(InvalidInput):
    """A claim's floor is so far above the store's clock that the agent that reported it must be wrong."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One fenced step of a cell: all of it, or nothing."""

    cell: int
    term: int
    nonce: str
    number: int
    """The last commit number plus one."""
    commit_id: str
    """Distinguishes a repeat of this commit from another one with the same number."""
    writes: Sequence[Write] = ()
    outbox: Sequence[OutboxEntry] = ()
    trim: Sequence[int] = ()
    """Numbers of outbox entries that the broker has confirmed (or returned)."""


class MasterInfo(NamedTuple):
    """A living master. ``age`` is the time since its last heartbeat by the store's clock, in seconds; ``policy`` is the
    digest of the access policy that is in force at it, empty if it has none."""

    master_id: str
    hostname: str
    pid: int
    version: str
    age: float
    policy: str = ""


class Pulse(NamedTuple):
    """The store's answer to a master's heartbeat."""

    masters: list[MasterInfo]
    """The living masters; see ``Store.masters``."""
    usage: dict[int, bytes]
    """The usage of all cells; see ``Store.usage``."""


class Store(Protocol):
    """The authoritative state of the cells. Every method raises StoreUnavailable within its time limit."""

    async def open(self, timeout: float) -> None:
        """Connect. Raises InvalidInput for a server with an evicting ``maxmemory-policy``."""
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...

    async def cell_count(self, wanted: int | None) -> int:
        """The cluster's number of cells. It is set once, by the first ``wanted``; with None it is only read (0 if it
        is not set). Raises Conflict when ``wanted`` differs from the stored number."""
        ...

    async def claim(self, cell: int, *, owner: str, nonce: str, floor: int, seen: Lease) -> Snapshot:
        """Take the lease by compare-and-set on ``seen``'s (term, nonce): new term = max(stored + 1, the
        store's time in ms, floor). Raises Fenced when another owner was faster."""
        ...

    async def renew(self, cell: int, *, term: int, nonce: str, commit: int = 0, recovered: bool = False) -> None:
        """Renew the lease without a commit. ``recovered``: the cell's recovery is over, also for later owners. Raises
        Fenced, or StoreLostData when the stored commit number is below ``commit``, the last one that the caller knows
        to be applied."""
        ...

    async def release(self, cell: int, *, term: int, nonce: str) -> None:
        """Give the lease up: it then has no owner, and keeps its term. No error if it belongs to another owner."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Apply a commit and renew the lease. A repeat of the last one is a no-op. Raises Fenced, or
        StoreLostData when the stored number is neither ``number - 1`` nor this commit's repeat."""
        ...

    async def leases(self) -> list[Lease]:
        """The lease of every cell, in order; the term is 0 for a cell that never had an owner."""
        ...

    async def beat(self, master: MasterInfo, ttl: float) -> Pulse:
        """Renew a master for another ``ttl`` seconds. Returns the living masters and the usage of all cells."""
        ...

    async def retire(self, master_id: str) -> None:
        """Remove a master that has ended."""
        ...

    async def masters(self) -> list[MasterInfo]:
        """The living masters, by id."""
        ...

    async def publish_usage(self, cell: int, usage: bytes) -> None:
        """Publish the usage of the roles in this cell, for the other cells (advisory, not fenced)."""
        ...

    async def usage(self) -> dict[int, bytes]:
        """The usage that every cell has published."""
        ...

    async def health(self) -> StoreReport:
        """The state of the server."""
        ...

    async def tries(self, cell: int) -> dict[str, int]:
        """The number of tries of each message that came back to this cell's inbox, by message id."""
        ...

    async def trying(self, cell: int, message_ids: Sequence[str], tried: Sequence[str] = ()) -> list[int]:
        """Count one more try of these messages, before it is made, so that it counts even if this process dies of
        it (not fenced). Returns their counts, which are forgotten a day after the last call. ``tried`` drops
        the counts of these, as the method of this name does, in the same call."""
        ...

    async def tried(self, cell: int, message_ids: Sequence[str]) -> None:
        """Drop the counts of messages that were handled, or that caused no failure."""
        ...


class Check(NamedTuple):
    """A condition of a transaction: the value of a field (None: it does not exist), or the size of a sorted set."""

    op: Literal["hash", "zcard"]
    key: str
    field: str = ""
    value: str | int | None = None


class Change(NamedTuple):
    """A write of a transaction.

    ``hset`` (key, field, value), ``hdel`` (key, field), ``hincrby`` (key, field, int), ``zadd`` (key,
    member=field, score=value), ``zadd_after`` (key, member=field, value: the score is the store's time plus
    this number of seconds), ``zadd_last`` (key, member=field, value: the score is at least this value and above the
    scores of all members that are there), ``zrem`` (key, member=field), ``del`` (key).
    """

    op: Literal["hset", "hdel", "hincrby", "zadd", "zadd_after", "zadd_last", "zrem", "del"]
    key: str
    field: str = ""
    value: str | int | float = ""


class Records(Protocol):
    """A built-in framework's own state: hashes and sorted sets under one name, changed together or not at
    all. Keys are short names such as ``jobs`` or ``results:<job>``. Raises StoreUnavailable in time."""

    async def open(self, timeout: float) -> None: ...

    async def close(self) -> None: ...

    async def transact(self, checks: Sequence[Check], changes: Sequence[Change]) -> list[int] | None:
        """Apply all changes if all checks hold, else none and return None. Returns the new values of the
        ``hincrby`` changes, in order. A call whose connection broke may have been applied: callers make
        their changes conditional, and look again."""
        ...

    async def get(self, key: str, fields: Sequence[str]) -> list[str | None]:
        """The values of fields of a hash."""
        ...

    async def get_all(self, key: str) -> dict[str, str]:
        """All fields of a hash (for small ones)."""
        ...

    async def size(self, key: str) -> int:
        """The number of fields of a hash or members of a sorted set."""
        ...

    async def range(self, key: str, *, limit: int, max_score: float | None = None) -> list[tuple[str, float]]:
        """The first members of a sorted set with their scores, lowest first, up to a score."""
        ...

    async def due(self, key: str, *, limit: int, horizon: float) -> list[tuple[str, float]]:
        """At most ``limit`` members of a sorted set whose score, a time, is not above the store's time, with
        their scores, lowest first; then those whose score lies more than ``horizon`` seconds above it, which
        no caller can have meant. Members are written with ``zadd_after``."""
        ...

    async def now(self) -> float:
        """The store's time, in seconds since the epoch; it is the same for every process."""
        ...

    async def scan(self, key: str, cursor: str, limit: int) -> tuple[str, dict[str, str]]:
        """About ``limit`` fields of a large hash from a cursor ("0" first and, returned, last)."""
        ...
