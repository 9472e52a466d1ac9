"""What the daemons need from the outside, in few verbs: Bus, Store, Records, Containerizer, Clock.

Adapters: ``bus/`` (RabbitMQ, memory), ``store/`` (Redis, memory), ``containerizer/`` (processes). One
contract suite holds each pair to the same behaviour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from broker_mesos.core.addresses import SCHEMA_VERSION as SCHEMA_VERSION
from broker_mesos.core.addresses import Address, Queue
from broker_mesos.core.health import BusReport, StoreReport
from broker_mesos.core.messages import Message
from broker_mesos.core.records import Lease, OutboxEntry, Snapshot, Write


class Clock(Protocol):
    """Time. In a simulation it is virtual, together with the event loop's."""

    def time(self) -> float:
        """Seconds since the epoch; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point; never jumps. The same scale as the event loop's ``time()``."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


NewId = Callable[[], str]
"""Mints a short unique id (12 hex digits)."""


# -- bus ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. ``expiration`` is its time to live in seconds."""

    to: Address
    type: str
    body: bytes
    message_id: str
    mandatory: bool = False
    persistent: bool = True
    expiration: float | None = None
    reply_to: str = ""
    correlation_id: str = ""
    term: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


def outgoing(
    to: Address,
    message: Message,
    message_id: str,
    *,
    mandatory: bool = False,
    persistent: bool = True,
    expiration: float | None = None,
    reply_to: str = "",
    correlation_id: str = "",
    term: int = 0,
) -> Outgoing:
    """Encodes a message for publishing."""
    return Outgoing(
        to=to,
        type=message.TYPE,
        body=message.encode(),
        message_id=message_id,
        mandatory=mandatory,
        persistent=persistent,
        expiration=expiration,
        reply_to=reply_to,
        correlation_id=correlation_id,
        term=term,
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message received. ``tag`` is only meaningful to the consumer that yielded it."""

    type: str
    body: bytes
    message_id: str
    tag: int
    redelivered: bool = False
    reply_to: str = ""
    correlation_id: str = ""
    term: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    routing_key: str = ""


class QueueFacts(NamedTuple):
    """A queue at this moment: messages that wait for a consumer, and consumers."""

    messages: int
    consumers: int


class ConsumerClosed(Exception):
    """The consumer has ended: its channel or connection closed, its queue was deleted, or it was cancelled
    by the broker. What it had not acknowledged is delivered again, to somebody. Consume anew."""


class Consumer(Protocol):
    """One consumer on a channel of its own."""

    @property
    def queue_name(self) -> str:
        """The queue's name on the broker (for ``reply_to``)."""
        ...

    async def receive(self, limit: int = 500) -> list[Delivery]:
        """Waits for at least one delivery; returns up to ``limit`` that are there, in order.

        Raises ConsumerClosed.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settles deliveries of this consumer; ignored when it has ended. Several at once cost one frame
        when they are the oldest unsettled ones."""
        ...

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        """Gives one delivery back, or drops it."""
        ...

    async def close(self) -> None:
        """Closes the channel: unacknowledged messages go back in their order, before any other consumer
        sees later ones. Idempotent."""
        ...


class Bus(Protocol):
    """Messages. Connects and re-connects by itself, with jittered back-off."""

    async def open(self, timeout: float) -> None:
        """Connect and declare the exchanges. Raises BusUnavailable (host and port, never a password) when
        that fails for good (credentials, vhost) or does not succeed within ``timeout`` seconds."""
        ...

    async def close(self) -> None:
        """Disconnect; pending publishes end with BusUnavailable. Idempotent."""
        ...

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        """Queue a message for publishing, in the order of calls. The future ends with True when the broker
        has confirmed it, False when it was returned as unroutable (``mandatory`` only), or with
        BusUnavailable when the connection is down, blocked for too long, lost before the confirm, or the
        bounded window of unconfirmed messages is full (then nothing was sent). A future that nobody awaits
        raises no warning."""
        ...

    async def writable(self) -> None:
        """Wait until the window of unconfirmed messages has room and the connection is not blocked.
        Raises BusUnavailable when the connection is down."""
        ...

    async def wait_connected(self) -> None:
        """Wait until both connections stand. Raises BusUnavailable once the bus is closed."""
        ...

    async def consume(self, queue: Queue, *, prefetch: int = 500) -> Consumer:
        """Declare the queue with its bindings, and consume it. Waits while a connection is down."""
        ...

    async def declare(self, queue: Queue) -> None:
        """Declare the queue with its bindings, without consuming. Not for exclusive queues."""
        ...

    async def consumers(self, queue: Queue) -> int | None:
        """How many consumers the queue has (passive declare); None if there is no such queue. Raises
        BusUnavailable."""
        ...

    async def inspect(self, queue: Queue) -> QueueFacts | None:
        """A queue's length and consumers (passive declare); None if there is no such queue. Raises
        BusUnavailable."""
        ...

    async def health(self) -> BusReport:
        """How this connection is. Raises BusUnavailable."""
        ...

    async def delete(self, queue: Queue) -> None:
        """Delete a queue; no error if it does not exist."""
        ...

    @property
    def connected(self) -> bool:
        """Whether both connections stand, and publishing is not blocked."""
        ...

    @property
    def connected_since(self) -> float:
        """Monotonic time of the last (re)connect or end of a block; who was blind before it must not judge
        silence from before it."""
        ...


# -- store ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commit:
    """One fenced step of a cell: all of it, or nothing."""

    cell: int
    term: int
    nonce: str
    number: int
    """The last commit number plus one."""
    commit_id: str
    """Tells a repeat of this commit from another one with the same number."""
    writes: Sequence[Write] = ()
    outbox: Sequence[OutboxEntry] = ()
    trim: Sequence[int] = ()
    """Numbers of outbox entries that the broker has confirmed (or returned)."""


class MasterInfo(NamedTuple):
    """A living master. ``age`` is seconds since its last beat, by the store's clock."""

    master_id: str
    hostname: str
    pid: int
    version: str
    age: float


class Pulse(NamedTuple):
    """What a master learns at each beat."""

    masters: list[MasterInfo]
    """As ``Store.masters``."""
    usage: dict[int, bytes]
    """As ``Store.usage``."""


class Store(Protocol):
    """The authoritative state of the cells. Every method raises StoreUnavailable within its time limit."""

    async def open(self, timeout: float) -> None:
        """Connect; refuse a server with an evicting ``maxmemory-policy`` (InvalidInput)."""
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...

    async def cell_count(self, wanted: int | None) -> int:
        """The cluster's number of cells: set once, by the first ``wanted`` (None only reads: 0 if unset).
        Raises Conflict when ``wanted`` differs from what is set."""
        ...

    async def claim(self, cell: int, *, owner: str, nonce: str, floor: int, seen: Lease) -> Snapshot:
        """Take the lease by compare-and-set on ``seen``'s (term, nonce): new term = max(stored + 1, the
        store's time in ms, floor). Raises Fenced when somebody else was faster."""
        ...

    async def renew(self, cell: int, *, term: int, nonce: str, commit: int = 0) -> None:
        """Renew the lease without a commit. Raises Fenced, or StoreLostData when the stored commit number is
        below ``commit``, the last one that the caller knows to be applied."""
        ...

    async def release(self, cell: int, *, term: int, nonce: str) -> None:
        """Give the lease up: it has no owner then, and keeps its term. No error if it is another's."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Apply a commit and renew the lease. A repeat of the last one is a no-op. Raises Fenced, or
        StoreLostData when the stored number is neither ``number - 1`` nor this commit's repeat."""
        ...

    async def leases(self) -> list[Lease]:
        """The lease of every cell, in order; term 0 where there is none yet."""
        ...

    async def beat(self, master: MasterInfo, ttl: float) -> Pulse:
        """A master lives for another ``ttl`` seconds, and learns what there is to know."""
        ...

    async def retire(self, master_id: str) -> None:
        """A master is gone."""
        ...

    async def masters(self) -> list[MasterInfo]:
        """The living masters, by id."""
        ...

    async def publish_usage(self, cell: int, usage: bytes) -> None:
        """Tell the other cells what the roles use in this one (advisory, not fenced)."""
        ...

    async def usage(self) -> dict[int, bytes]:
        """What every cell has published."""
        ...

    async def health(self) -> StoreReport:
        """How the server is."""
        ...

    async def tries(self, cell: int) -> dict[str, int]:
        """How often messages that came back to this cell's inbox were tried since, by message id."""
        ...

    async def trying(self, cell: int, message_ids: Sequence[str], tried: Sequence[str] = ()) -> list[int]:
        """These are about to be tried once more: counted before, so that it counts even if this process
        dies of it (not fenced). Returns their counts. Forgotten a day after the last call. ``tried``: as in
        the method of this name, on the way."""
        ...

    async def tried(self, cell: int, message_ids: Sequence[str]) -> None:
        """These were handled, or are not to be blamed: their counts are dropped."""
        ...


class Check(NamedTuple):
    """A condition of a transaction: the field's value (None: absent), or a sorted set's size."""

    op: Literal["hash", "zcard"]
    key: str
    field: str = ""
    value: str | int | None = None


class Change(NamedTuple):
    """A write of a transaction.

    ``hset`` (key, field, value), ``hdel`` (key, field), ``hincrby`` (key, field, int), ``zadd`` (key,
    member=field, score=value), ``zrem`` (key, member=field), ``del`` (key).
    """

    op: Literal["hset", "hdel", "hincrby", "zadd", "zrem", "del"]
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
        """Values of fields of a hash."""
        ...

    async def get_all(self, key: str) -> dict[str, str]:
        """A whole hash (small ones)."""
        ...

    async def size(self, key: str) -> int:
        """Number of fields of a hash or members of a sorted set."""
        ...

    async def range(self, key: str, *, limit: int, max_score: float | None = None) -> list[tuple[str, float]]:
        """The first members of a sorted set with their scores, lowest first, up to a score."""
        ...

    async def scan(self, key: str, cursor: str, limit: int) -> tuple[str, dict[str, str]]:
        """About ``limit`` fields of a large hash from a cursor ("0" first and, returned, last)."""
        ...


# -- containerizer --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A process to start. ``shell`` gives the first argument to ``/bin/sh -c``."""

    task_id: str
    argv: tuple[str, ...]
    shell: bool
    env: Mapping[str, str]
    kill_grace: float
    volumes: tuple[tuple[str, str], ...] = ()
    """Pairs of a path in the sandbox and the id of the volume that appears there."""
    line: str = ""
    """Name of the line that it is of, if any; only for a containerizer that ``takes_turns``."""
    width: int = 0
    """Of one that waits in its line: it starts when fewer than so many of them run."""


class TaskStarted(NamedTuple):
    """The process runs."""

    task_id: str
    pid: int
    started_at: float


class TaskExited(NamedTuple):
    """The process ended, by itself or by a signal; neither is known if its supervisor was lost."""

    task_id: str
    exit_code: int | None
    signal: int | None
    at: float


class StartFailed(NamedTuple):
    """The process could not be started, for a reason in one line."""

    task_id: str
    message: str
    machine: bool = False
    """The machine is to blame (a full disk), and not the task: elsewhere it may well start."""


ContainerEvent = TaskStarted | TaskExited | StartFailed


class Recovered(NamedTuple):
    """A task that an earlier agent process had started: it still runs, or it ended unreported."""

    task_id: str
    running: bool
    started_at: float
    exited: TaskExited | None


class Chunk(NamedTuple):
    """A part of a file. ``size`` is the file's length now; ``data`` may be empty at its end."""

    data: bytes
    offset: int
    size: int


class Containerizer(Protocol):
    """Runs tasks as processes on this machine."""

    @property
    def takes_turns(self) -> bool:
        """Whether it can be given tasks that wait in a line (LaunchSpec.line), and starts each in its turn,
        first come, first served. Else whoever launches keeps them, and ``withdraw`` is not called."""
        ...

    async def start(self) -> list[Recovered]:
        """Begin; returns what an earlier agent process left."""
        ...

    def launch(self, spec: LaunchSpec) -> None:
        """Start a task; a TaskStarted or StartFailed event follows, then a TaskExited."""
        ...

    def kill(self, task_id: str, grace: float) -> None:
        """SIGTERM to the whole process tree, SIGKILL after ``grace`` seconds. Unknown ids are ignored."""
        ...

    def withdraw(self, task_id: str) -> None:
        """Forget a task that waits in its line: a StartFailed follows. Of one that has had its turn, and
        unknown ids, nothing."""
        ...

    def forget(self, task_id: str) -> None:
        """The outcome is safe elsewhere; it need not be recovered."""
        ...

    def drop_volumes(self, volume_ids: Iterable[str]) -> None:
        """Delete volumes with their data. Unknown ids are ignored; from here on an id names a new volume."""
        ...

    def usage(self) -> Mapping[str, tuple[float, int]]:
        """CPU seconds so far and bytes of memory of running tasks, as far as known; it may be a little
        old."""
        ...

    async def read(self, task_id: str, name: str, offset: int, length: int) -> Chunk:
        """Part of a file of the task's sandbox. Raises NotFound, InvalidInput."""
        ...

    async def sweep(self, keep_seconds: float, now: float) -> list[str]:
        """Delete sandboxes of forgotten tasks that nothing was written to for ``keep_seconds``; ``now`` is
        seconds since the epoch. Returns their task ids."""
        ...

    async def stop(self, *, kill_tasks: bool) -> None:
        """End; tasks live on unless ``kill_tasks``."""
        ...


OnContainerEvents = Callable[[Sequence[ContainerEvent]], None]
