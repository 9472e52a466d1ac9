"""The Streams port: Redis and the memory of a process behave alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker_mesos.core.api.stream_ids import id_key
from broker_mesos.errors import StoreUnavailable
from broker_mesos.ports.streams import Streams
from broker_mesos.store.memory import MemoryStoreState
from broker_mesos.store.memory_streams import MemoryStreams
from broker_mesos.store.redis.streams import RedisStreams
from tests.contract.stores import RealClock


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
async def streams(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[Streams]:
    made: Streams
    if request.param == "redis":
        made = RedisStreams(request.getfixturevalue("redis_url"), cluster=cluster_name, clock=RealClock())
    else:
        made = MemoryStreams(MemoryStoreState())
    await made.open(10)
    yield made
    await made.close()


async def test_entries_come_back_in_order_with_rising_ids(streams: Streams) -> None:
    ids = await streams.append("events", [b"1", b"2"], 100) + await streams.append("events", [b"\xff3"], 100)
    assert [id_key(each) for each in ids] == sorted({id_key(each) for each in ids})
    found = await streams.read("events", limit=10)
    assert found == list(zip(ids, [b"1", b"2", b"\xff3"], strict=True))
    assert await streams.read("other", limit=10) == []
    assert await streams.append("events", [], 100) == []


async def test_bounds_are_exclusive_and_the_latest_come_in_order_too(streams: Streams) -> None:
    ids = await streams.append("events", [b"%d" % number for number in range(6)], 100)

    async def read(**bounds: object) -> list[int]:
        return [int(each.body) for each in await streams.read("events", **bounds)]  # type: ignore[arg-type]

    assert await read(after=ids[1], limit=2) == [2, 3]
    assert await read(before=ids[4], limit=2, latest=True) == [2, 3]
    assert await read(after=ids[1], before=ids[4], limit=10) == [2, 3]
    assert await read(after=ids[5], limit=10) == []
    assert await read(after="0", limit=1) == [0] and await read(limit=2, latest=True) == [4, 5]


async def test_only_about_so_many_of_the_latest_entries_are_kept(streams: Streams) -> None:
    for _ in range(10):
        await streams.append("events", [b"x" * 100] * 100, 200)
    found = await streams.read("events", limit=10_000)
    assert 200 <= len(found) <= 400
    assert (await streams.read("events", limit=1, latest=True))[0] == found[-1]


async def test_a_stream_that_is_closed_refuses_at_once(streams: Streams) -> None:
    await streams.close()
    with pytest.raises(StoreUnavailable):
        await streams.append("events", [b"1"], 10)
