"""A worker believes what it stored itself, as long as nobody else was at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.task_states import TaskState as S
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.storage.cache import DISTRUST_SECONDS
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.store.memory import MemoryRecords, MemoryStoreState
from tests.batch.world import World, job, offer, status


class Counting:
    """Records that count what they are asked."""

    def __init__(self) -> None:
        self._records = MemoryRecords(MemoryStoreState())
        self.reads = self.writes = 0
        self.breaks = False

    def __getattr__(self, name: str) -> Any:
        self.reads += 1
        return getattr(self._records, name)

    async def transact(self, checks: Sequence[Any], changes: Sequence[Any]) -> list[int] | None:
        self.writes += 1
        values = await self._records.transact(checks, changes)
        if self.breaks:
            raise StoreUnavailable("it was applied, and nobody heard of it")
        return values


async def settled() -> tuple[World, Counting]:
    """A worker that has run a job, so that it knows that nothing is pending."""
    records: Any = Counting()
    world = World(records=records)
    await run_one(world, world.store, "first")
    records.reads = records.writes = 0
    return world, records


async def run_one(world: World, store: JobStore, job_id: str) -> Demand | None:
    demand = await store.submit(job_id, job())
    claimed = await store.claim([offer(f"offer of {job_id}".replace(" ", "-"))])
    if not claimed.pending:
        await store.idle()
    (launches,) = claimed.launches.values()
    await store.apply([status(each.name.task_id, S.FINISHED) for each in launches])
    return demand


async def test_a_job_of_one_task_takes_three_transactions_and_no_reading() -> None:
    world, records = await settled()
    demand = await world.store.submit("j", job())
    assert demand is not None
    waiting = world.store.cached("j")
    assert waiting is not None and waiting.state == "pending"
    assert await world.store.pending(50, demand.version)
    claimed = await world.store.claim([offer("o2")])
    assert claimed.demand is not None and not claimed.demand.wanted
    running = world.store.cached("j")
    assert running is not None and running.counts["running"] == 1
    await world.store.apply([status("j.0.1", S.FINISHED)])
    assert (records.writes, records.reads) == (3, 0)
    assert world.news[-1][1] is not None and world.news[-1][1].ended_at is not None
    summary = await world.store.summary("j")
    assert (summary.state, summary.exit_code) == ("finished", 0)


async def test_the_exit_code_of_a_task_that_fails_is_stored_with_its_status() -> None:
    world, records = await settled()
    await world.store.submit("j", job())
    await world.store.claim([offer("o2")])
    await world.store.apply([status("j.0.1", S.FAILED, exit_code=7)])
    assert records.writes == 3
    assert (await world.store.summary("j")).exit_code == 7


async def test_work_that_another_worker_stored_is_claimed_in_its_turn() -> None:
    world = World(workers=2)
    one, other = world.stores
    await run_one(world, one, "first")
    await one.submit("small", job())
    await other.submit("urgent", job(priority=5))
    claimed = await one.claim([offer("o2", "cpus:1;mem:10")])
    (launches,) = claimed.launches.values()
    assert [each.name.job_id for each in launches] == ["urgent"]


async def test_a_repeated_submit_is_no_second_job() -> None:
    world = World(workers=2)
    one, other = world.stores
    await run_one(world, one, "first")
    assert await one.submit("j", job()) is not None
    assert await one.submit("j", job()) is None
    assert await other.submit("j", job()) is None
    assert (await world.store.jobs(10)).total == 2


async def test_a_status_of_a_claim_that_another_worker_made_applies() -> None:
    world = World(workers=2)
    one, other = world.stores
    await one.submit("j", job(retries=1))
    await one.claim([offer("o1")])
    await other.apply([status("j.0.1", S.FAILED)])
    await other.claim([offer("o2")])
    await one.apply([status("j.0.2", S.FINISHED)])
    assert (await one.summary("j")).state == "finished"


async def test_a_job_that_another_worker_killed_does_not_run_again() -> None:
    world = World(workers=2)
    one, other = world.stores
    await one.submit("j", job(retries=5))
    await one.claim([offer("o1")])
    await other.kill("j")
    await one.apply([status("j.0.1", S.FAILED)])
    assert (await one.summary("j")).state == "failed"
    assert not await one.pending(10)


async def test_what_may_have_been_applied_is_read() -> None:
    world, records = await settled()
    records.breaks = True
    with pytest.raises(StoreUnavailable):
        await world.store.submit("j", job())
    records.breaks = False
    assert world.store.cached("j") is None
    assert await world.store.submit("j", job()) is None


async def test_what_another_worker_tells_makes_an_older_memory_void() -> None:
    world = World(workers=2)
    one, other = world.stores
    await run_one(world, one, "first")
    world.clock.now += DISTRUST_SECONDS
    await one.submit("j", job())
    assert one.cached("j") is not None
    await other.claim([offer("o2")])
    one.notified(await other.summary("j"))
    assert one.cached("j") is None
