"""Whatever is delivered twice, late or in another order, and whoever dies when: every index ends once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.storage.records import parse_task_id
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.store import Records
from broker_mesos.store.redis.records import RedisRecords
from tests.batch.world import StillClock, World, job, offer, status

S = TaskState


class Cell:
    """Offers end once; tasks are known by the offer they came on; a final status comes until acknowledged."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.open: set[str] = set()
        self.offers = 0
        self.tasks: dict[str, tuple[str, TaskStatus]] = {}
        self.accepted: set[str] = set()
        self.outgoing: list[TaskStatus] = []
        self.bad_ends: Counter[int] = Counter()
        self.launched: Counter[int] = Counter()
        self.finished: Counter[int] = Counter()

    def offer(self) -> Offer:
        self.offers += 1
        made = offer(f"o{self.offers}", f"cpus:{self.rng.randint(1, 6)};mem:1000")
        self.open.add(made.offer_id)
        return made

    def accept(self, offer_id: str, task_ids: list[str]) -> None:
        if offer_id in self.open:
            self.open.discard(offer_id)
            for task_id in task_ids:
                assert task_id not in self.accepted, "a task id was launched twice"
                self.accepted.add(task_id)
                self.tasks[task_id] = (offer_id, status(task_id, S.STAGING))
            return
        for task_id in task_ids:
            if task_id not in self.tasks or self.tasks[task_id][0] != offer_id:
                self.outgoing.append(status(task_id, S.DROPPED))

    def settle(self, task_id: str, offer_id: str) -> None:
        self.open.discard(offer_id)
        known = self.tasks.get(task_id)
        self.outgoing.append(known[1] if known else status(task_id, S.DROPPED))

    def step(self) -> None:
        """Some task moves on, or an end is told again."""
        if not self.tasks:
            return
        task_id = self.rng.choice(list(self.tasks))
        offer_id, last = self.tasks[task_id]
        name = parse_task_id(task_id)
        assert name is not None
        if not last.state.terminal:
            if last.state is S.STAGING:
                state = self.rng.choice([S.RUNNING, S.RUNNING, S.FINISHED, S.DROPPED])
            else:
                state = self.rng.choice([S.FINISHED, S.FINISHED, S.FAILED, S.LOST, S.UNREACHABLE])
                if last.state is S.UNREACHABLE and state is S.UNREACHABLE:
                    state = S.RUNNING
            self.launched[name.index] += state is not S.DROPPED and last.state is S.STAGING
            self.bad_ends[name.index] += state in (S.FAILED, S.LOST)
            self.finished[name.index] += state is S.FINISHED
            last = status(task_id, state, exit_code={S.FINISHED: 0, S.FAILED: 3}.get(state))
            self.tasks[task_id] = (offer_id, last)
        self.outgoing.append(last)

    def acknowledge(self, statuses: list[TaskStatus]) -> None:
        for each in statuses:
            if each.state.terminal and each.task_id in self.tasks and self.tasks[each.task_id][1] == each:
                del self.tasks[each.task_id]


class Run:
    """Two workers, a cell, and a network without manners."""

    def __init__(self, seed: int, records: Records | None = None) -> None:
        self.rng = random.Random(seed)
        self.world = World(2, rng=self.rng, records=records)
        self.cell = Cell(self.rng)
        self.calls: list[tuple[str, list[str]]] = []
        self.settles: list[tuple[str, str]] = []
        self.busy: set[asyncio.Task[None]] = set()
        self.faults = True

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self.busy.add(task)
        task.add_done_callback(self.busy.discard)

    def crash(self) -> bool:
        return self.faults and self.rng.random() < 0.15

    async def claim(self, offers: list[Offer]) -> None:
        try:
            claimed = await self.rng.choice(self.world.stores).claim(offers)
        except StoreUnavailable:
            return
        for offer_id, launches in claimed.launches.items():
            if not self.crash():
                self.calls += [(offer_id, [each.name.task_id for each in launches])] * (1 + self.crash())

    async def apply(self, statuses: list[TaskStatus]) -> None:
        try:
            await self.rng.choice(self.world.stores).apply(statuses)
        except StoreUnavailable:
            return
        if not self.crash():
            self.cell.acknowledge(statuses)

    async def sweep(self) -> None:
        try:
            found = await self.rng.choice(self.world.upkeeps).overdue()
        except StoreUnavailable:
            return
        self.settles += [(each.task_id, each.offer_id) for each in found if not self.crash()]

    def step(self) -> None:
        rng, cell = self.rng, self.cell
        match rng.randrange(8):
            case 0:
                if len(cell.open) < 6:
                    self.begin(self.claim([cell.offer() for _ in range(rng.randint(1, 3))]))
            case 1 | 2:
                if self.calls:
                    cell.accept(*self.calls.pop(rng.randrange(len(self.calls))))
            case 3 | 4:
                cell.step()
            case 5:
                if cell.outgoing:
                    batch = rng.sample(cell.outgoing, rng.randint(1, len(cell.outgoing)))
                    cell.outgoing = [each for each in cell.outgoing if self.crash() or each not in batch]
                    self.begin(self.apply(batch))
            case 6:
                self.world.passes(rng.random() * 5)
                self.begin(self.sweep())
                if self.settles:
                    cell.settle(*self.settles.pop(rng.randrange(len(self.settles))))
            case 7:
                if self.faults and rng.random() < 0.1:
                    self.world.state.lost_replies = 1
                elif cell.open and rng.random() < 0.3:
                    cell.open.discard(rng.choice(sorted(cell.open)))

    async def until_ended(self, job_id: str) -> None:
        for count in range(40_000):
            self.faults = count < 400
            if not self.faults:
                self.world.state.lost_replies = 0
            self.step()
            if self.rng.random() < 0.5:
                await asyncio.sleep(0)
            look = count % 50 == 0 and not self.faults
            if look and (await self.world.store.summary(job_id)).ended_at is not None:
                break
        else:
            raise AssertionError("the job never ended")
        await asyncio.gather(*self.busy, return_exceptions=True)
        # A sweep that planned while the last status came may have left a task among the unsettled ones; the
        # next one finds no claim of it.
        self.world.state.lost_replies = 0
        self.world.passes(11)
        assert await self.world.upkeep.overdue() == []


@pytest.mark.parametrize("seed", range(25))
async def test_every_index_ends_exactly_once_whoever_dies_and_whatever_is_repeated(seed: int) -> None:
    await every_index_ends_once(Run(seed))


@pytest.mark.parametrize("seed", range(3))
async def test_every_index_ends_exactly_once_on_redis(seed: int, redis_url: str, cluster_name: str) -> None:
    records = RedisRecords(redis_url, cluster=cluster_name, clock=StillClock())
    await records.open(10.0)
    await every_index_ends_once(Run(seed, records))
    await records.close()


async def every_index_ends_once(run: Run) -> None:
    total, retries = run.rng.randint(1, 40), run.rng.choice([0, 1, 1_000])
    spec = job(array=(5, 4 + total), retries=retries)
    await run.world.store.submit("job", spec)
    await run.until_ended("job")

    summary = await run.world.store.summary("job")
    results = await run.world.records.get_all("results:job")
    assert {int(index) for index in results} == set(range(5, 5 + total))
    assert summary.counts["finished"] + summary.counts["failed"] == total
    _, record = await run.world.store.read.record("job")
    for task in await run.world.store.read.tasks("job", record, range(5, 5 + total)):
        # Only a bad end uses up an attempt; what was dropped goes out again under a new id, for free.
        bad = run.cell.bad_ends[task.index]
        assert task.attempt == bad + (task.state == "finished")
        assert run.cell.finished[task.index] == (task.state == "finished")
        assert task.state == "finished" or bad == retries + 1
    assert await run.world.leftovers() == {}


@pytest.mark.parametrize("seed", range(10))
async def test_a_job_killed_at_any_moment_ends_with_every_index_accounted_for(seed: int) -> None:
    run = Run(1_000 + seed)
    await run.world.store.submit("job", job(array=(0, 29), retries=3))
    for _ in range(run.rng.randrange(300)):
        run.step()
        await asyncio.sleep(0)

    async def kill(store: JobStore) -> None:
        while True:
            try:
                await store.kill("job")
                return
            except StoreUnavailable:
                continue

    await asyncio.gather(*(kill(store) for store in run.world.stores))
    launched = run.cell.launched.total()
    pending_calls = sum(len(task_ids) for _, task_ids in run.calls)
    await run.until_ended("job")

    summary = await run.world.store.summary("job")
    assert sum(summary.counts.values()) == 30 and summary.counts["pending"] == summary.counts["running"] == 0
    assert run.cell.launched.total() <= launched + pending_calls + 30
    assert all(count <= 1 for count in run.cell.finished.values())
    assert summary.counts["finished"] == run.cell.finished.total()
    assert await run.world.leftovers() == {}
