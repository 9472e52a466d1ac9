"""What tests can do to the store in memory."""

from __future__ import annotations

import pytest

from broker_mesos.errors import StoreLostData, StoreUnavailable
from broker_mesos.store.memory import MemoryStore, MemoryStoreState
from tests.contract.stores import (
    RealClock,
    step,
    take,
    task,
)


async def test_memory_that_goes_back_in_time_is_noticed() -> None:
    state = MemoryStoreState()
    store = MemoryStore(state, RealClock())
    lease = (await take(store, "n1")).lease
    await store.commit(step(lease, 1, [task("t1")]))
    old = state.snapshot()
    await store.commit(step(lease, 2, [task("t2")]))
    state.restore(old)
    with pytest.raises(StoreLostData):
        await store.commit(step(lease, 3))
    again = await take(store, "n2", lease)
    assert again.recovering
    assert list(again.tasks) == ["t1"]
    state.wipe()
    with pytest.raises(StoreLostData):
        await store.renew(0, term=again.lease.term, nonce="n2")
    assert (await take(store, "n3")).recovering


async def test_memory_can_be_switched_off_and_can_lose_replies() -> None:
    state = MemoryStoreState()
    store = MemoryStore(state, RealClock())
    lease = (await take(store, "n1")).lease
    state.available = False
    with pytest.raises(StoreUnavailable):
        await store.commit(step(lease, 1, [task("t1")]))
    with pytest.raises(StoreUnavailable):
        await store.open(1)
    state.available = True
    state.lost_replies = 1
    with pytest.raises(StoreUnavailable):
        await store.commit(step(lease, 1, [task("t1")]))
    await store.commit(step(lease, 1, [task("t1")]))
    assert (await take(store, "n2", lease)).lease.commit == 1
