"""The clock of Redis' machine is set while the cluster runs. Here what is stored is moved the other way instead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from broker_mesos.ports.store import MasterInfo
from broker_mesos.store import keys
from broker_mesos.store.redis.store import RedisStore
from tests.contract.test_store_redis import make, never_claimed
from tests.servers import RedisServer

pytestmark = pytest.mark.servers

HOUR_MS = 3_600_000


@pytest.fixture
def raw(private_redis: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(private_redis.url) as client:
        yield client


@pytest.fixture
async def store(private_redis: RedisServer) -> RedisStore:
    made = make(private_redis.url)
    await made.cell_count(1)
    return made


def step(raw: Redis, by_ms: int) -> None:
    """The clock steps: all stored times are as far away from it as if it had."""
    lease = keys.cell("c", 0).lease
    if (renewed_at := raw.hget(lease, "renewed_at")) is not None:
        raw.hset(lease, "renewed_at", int(renewed_at) - by_ms)
    for master, value in raw.hgetall(keys.masters("c")).items():
        beat, expiry, text = value.split(b" ", 2)
        raw.hset(keys.masters("c"), master, b"%d %d %s" % (int(beat) - by_ms, int(expiry) - by_ms, text))


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
async def test_lease_of_an_owner_that_dies_at_the_step_is_stale_at_once(store: RedisStore, raw: Redis, by_ms: int):
    """A standby is then woken; before, it was up to an hour later after a step back."""
    claimed = await store.claim(0, owner="me", nonce="n", floor=0, seen=never_claimed(0))
    step(raw, by_ms)
    (lease,) = await store.leases()
    assert lease.age > 3_500
    await store.renew(0, term=claimed.lease.term, nonce="n")
    (lease,) = await store.leases()
    assert lease.age < 60
    await store.close()


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
async def test_master_that_dies_at_the_step_does_not_count_any_more(store: RedisStore, raw: Redis, by_ms: int):
    for master in ("m1", "m2"):
        await store.beat(MasterInfo(master, "h", 1, "1", 0.0), 60.0)
    step(raw, by_ms)
    assert await store.masters() == []
    pulse = await store.beat(MasterInfo("m1", "h", 1, "1", 0.0), 60.0)
    assert [each.master_id for each in pulse.masters] == ["m1"]
    assert [each.master_id for each in await store.masters()] == ["m1"]
    await store.close()


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
async def test_recovery_is_neither_over_nor_longer_by_a_step(store: RedisStore, raw: Redis, by_ms: int):
    first = await store.claim(0, owner="me", nonce="n1", floor=0, seen=never_claimed(0))
    step(raw, by_ms)
    second = await store.claim(0, owner="me", nonce="n2", floor=0, seen=first.lease)
    assert not second.recovered
    await store.renew(0, term=second.lease.term, nonce="n2", recovered=True)
    step(raw, -by_ms)
    third = await store.claim(0, owner="me", nonce="n3", floor=0, seen=second.lease)
    assert third.recovered
    assert first.lease.term < second.lease.term < third.lease.term
    await store.close()
