"""The two kinds of store behind one face, for the contract suites."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from broker_mesos.core.protocol.records import Lease, OutboxEntry, RecordKind, Snapshot, Write
from broker_mesos.ports.store import Commit, Records, Store
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState
from broker_mesos.store.redis.records import RedisRecords
from broker_mesos.store.redis.store import RedisStore

KINDS = [pytest.param("memory"), pytest.param("redis", marks=pytest.mark.servers)]


class RealClock:
    """The system's time."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class StoreKind:
    """Makes clients of one server: each call another client, as each master has its own."""

    store: Callable[[], Store]
    records: Callable[..., Records]


def make_kind(request: pytest.FixtureRequest, cluster: str) -> StoreKind:
    """The kind that the test's parameter names."""
    clock = RealClock()
    if request.param == "memory":
        state = MemoryStoreState()
        return StoreKind(lambda: MemoryStore(state, clock), lambda space="batch": MemoryRecords(state, space=space))
    url = request.getfixturevalue("redis_url")
    return StoreKind(
        lambda: RedisStore(url, cluster=cluster, clock=clock),
        lambda space="batch": RedisRecords(url, cluster=cluster, clock=clock, space=space),
    )


def never_claimed(cell: int) -> Lease:
    """The lease of a cell that nobody has ever owned."""
    return Lease(cell, 0, "", "", 0, 0.0)


def entry(number: int, body: bytes = b"{}") -> OutboxEntry:
    return OutboxEntry(number, "bmesos.commands", "agent.a1", "LAUNCH", body, f"message-{number}")


def step(
    lease: Lease,
    number: int,
    writes: Sequence[Write] = (),
    *,
    commit_id: str = "",
    outbox: Sequence[OutboxEntry] = (),
    trim: Sequence[int] = (),
) -> Commit:
    return Commit(lease.cell, lease.term, lease.nonce, number, commit_id or f"c{number}", writes, outbox, trim)


def task(ident: str, value: bytes | None = b"{}") -> Write:
    return Write(RecordKind.TASKS, ident, value)


async def take(store: Store, nonce: str, seen: Lease | None = None, *, cell: int = 0, floor: int = 0) -> Snapshot:
    return await store.claim(cell, owner=f"owner-{nonce}", nonce=nonce, floor=floor, seen=seen or never_claimed(cell))
