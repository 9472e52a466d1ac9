"""The kinds of store behind one face, for the contract suites."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from broker_mesos.core.protocol.records import Lease, OutboxEntry, RecordKind, Snapshot, Write
from broker_mesos.ports.store import Commit, Records, Store
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState
from broker_mesos.store.redis.records import RedisRecords
from broker_mesos.store.redis.store import RedisStore
from broker_mesos.store.sqlite import SqliteStoreState
from tests.contract.pooled import without_pipeline

KINDS = [
    pytest.param("memory"),
    pytest.param("sqlite"),
    pytest.param("redis", marks=pytest.mark.servers),
    # Whatever the shared pipeline does, redis-py's own way does the same.
    pytest.param("redis-pooled", marks=pytest.mark.servers),
]


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


@asynccontextmanager
async def make_kind(request: pytest.FixtureRequest, cluster: str) -> AsyncIterator[StoreKind]:
    """The kind that the test's parameter names."""
    clock = RealClock()
    if request.param.startswith("redis"):
        url = request.getfixturevalue("redis_url")
        made: Callable[[Any], Any] = without_pipeline if request.param == "redis-pooled" else lambda each: each
        yield StoreKind(
            lambda: made(RedisStore(url, cluster=cluster, clock=clock)),
            lambda space="batch": made(RedisRecords(url, cluster=cluster, clock=clock, space=space)),
        )
        return
    state = MemoryStoreState()
    if request.param == "sqlite":
        folder = request.getfixturevalue("tmp_path")
        state = SqliteStoreState(folder)
        await state.open()
    yield StoreKind(lambda: MemoryStore(state, clock), lambda space="batch": MemoryRecords(state, space=space))
    if isinstance(state, SqliteStoreState):
        await state.close()
        again = SqliteStoreState(folder)
        await again.open()
        assert durable(again) == durable(state)  # whatever the test has done
        await again.close()


def durable(state: MemoryStoreState) -> object:
    """What a state must have kept when its file is read again."""
    facts = state.facts
    leases = {
        number: (cell.term, cell.nonce, cell.owner, cell.commit, cell.commit_id, cell.records, cell.outbox)
        for number, cell in facts.cells.items()
    }
    return facts.cell_count, leases, facts.hashes, facts.zsets


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
