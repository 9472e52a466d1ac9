"""A place is kept ready for the next task that is like the last one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from broker_mesos.core.api.jobs import SubmitJob
from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import offers
from broker_mesos.core.protocol.events import Rescind
from broker_mesos.core.protocol.framework_messages import Accept, Decline
from broker_mesos.frameworks.batch import spare as spares
from broker_mesos.frameworks.batch.planning.claims import Launch
from broker_mesos.frameworks.batch.spare import Spare
from broker_mesos.frameworks.batch.storage import cache
from broker_mesos.frameworks.batch.storage.records import TaskName
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.bus import outgoing
from broker_mesos.runtime.clock import new_id
from tests.batch.cluster import LIMIT, Cluster
from tests.batch.world import World, job, offer, status

S = TaskState


class Kept:
    """A worker's store with a spare place, and what became of it."""

    def __init__(self, world: World) -> None:
        self.used: list[tuple[str, str, bool]] = []
        self.refused: list[str] = []
        self.spare = Spare(self._use, lambda each: self.refused.append(each.offer_id))
        self.store = JobStore(world.records, world.clock, random.Random(7), spare=self.spare)

    def _use(self, offer: Offer, launches: Sequence[Launch], demand: Demand) -> None:
        (launch,) = launches
        self.used.append((offer.offer_id, launch.name.task_id, demand.wanted))


async def settled(world: World) -> Kept:
    """It has run a job, so that it knows that nothing is pending, and keeps an offer."""
    kept = Kept(world)
    await kept.store.submit("first", job())
    await kept.store.claim([offer("o1")])
    await kept.store.apply([status("first.0.1", S.FINISHED, exit_code=0)])
    assert kept.store.nothing_pending
    kept.spare.keep(offer("o2", "cpus:1;mem:10", spare=True))
    return kept


async def test_a_job_that_a_place_is_ready_for_is_stored_and_claimed_in_one_step() -> None:
    world = World()
    kept = await settled(world)
    assert await kept.store.submit("j", job()) is None
    assert kept.used == [("o2", "j.0.1", False)]
    running = kept.store.cached("j")
    assert running is not None and running.counts["running"] == 1
    assert not (await world.store.demand()).wanted
    assert kept.store.nothing_pending
    await kept.store.apply([status("j.0.1", S.FINISHED, exit_code=0)])
    assert (await world.store.summary("j")).state == "finished"
    assert await world.leftovers() == {}


async def test_a_claim_on_a_kept_offer_is_settled_like_any_other() -> None:
    world = World()
    kept = await settled(world)
    await kept.store.submit("j", job())
    world.clock.now += 11
    (overdue,) = await world.upkeep.overdue()
    assert (overdue.task_id, overdue.offer_id) == ("j.0.1", "o2")
    applied = await world.store.apply([status("j.0.1", S.DROPPED)])
    assert applied.demand is not None and applied.demand.wanted
    assert await world.claim(offer("o3")) == ["j.0.1-2"]


@pytest.mark.parametrize(
    "spec",
    [
        job(array=(0, 1)),
        job(resources="cpus:2;mem:10"),
        job(gang=True, array=(0, 1)),
        job(resources="cpus:1;mem:10", revocable=True),
    ],
)
async def test_what_the_place_is_not_for_waits_for_offers(spec: JobSpec) -> None:
    world = World()
    kept = await settled(world)
    demand = await kept.store.submit("j", spec)
    assert demand is not None and demand.wanted and not kept.used


async def test_what_waits_already_comes_first() -> None:
    world = World()
    kept = await settled(world)
    await kept.store.submit("large", job(resources="cpus:2;mem:10"))
    demand = await kept.store.submit("j", job())
    assert demand is not None and not kept.used
    page = await kept.store.pending(50)
    assert page is not None and [each.job_id for each in page] == ["large", "j"]


async def test_work_that_another_worker_stored_meanwhile_is_noticed() -> None:
    world = World()
    kept = await settled(world)
    await world.store.submit("other", job())
    demand = await kept.store.submit("j", job())
    assert demand is not None and demand.wanted and not kept.used
    assert await kept.store.submit("j", job()) is None
    page = await kept.store.pending(50)
    assert page is not None and [each.job_id for each in page] == ["other", "j"]


async def test_a_repeated_submit_is_one_job_and_another_spec_is_refused() -> None:
    world = World()
    kept = await settled(world)
    await kept.store.submit("j", job())
    kept.spare.keep(offer("o3", "cpus:1;mem:10", spare=True))
    await kept.store.submit("j", job())
    assert len(kept.used) == 1
    names = await kept.store.read.claims_of("j")
    assert names == [(TaskName("j", 0, 1, 1).task_id, "a1")]


async def test_of_two_places_one_is_kept_and_one_that_has_ended_is_none() -> None:
    kept = await settled(World())
    kept.spare.keep(offer("o3", spare=True))
    assert kept.refused == ["o2"]
    kept.spare.drop("o3")
    assert await kept.store.submit("j", job()) is not None
    assert not kept.used


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster() as made:
        yield made


async def test_one_task_after_the_other_needs_one_demand_and_no_offer_is_left(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "DISTRUST_SECONDS", 0.0)  # that of its first second
    worker = await cluster.worker()
    cell = cluster.cell
    for number in range(5):
        ended = await cluster.ask(SubmitJob(job_id=f"j{number}", spec=job(), wait=20))
        assert ended.state == "finished"
        async with asyncio.timeout(LIMIT):
            while not worker.spare.ready:  # the next place is ready
                await asyncio.sleep(0)
    accepts = cell.of(Accept)
    assert [each.offer_ids for each in accepts] == [(f"o{n}",) for n in range(1, 6)]
    assert all(each.demand and each.demand.spare for each in accepts)
    await cell.until(lambda: cell.of(Decline) and not cell.open)


async def test_a_place_is_given_back_after_a_while(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "SPARE_SECONDS", 0.0)
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(), wait=20))
    await cluster.cell.until(lambda: [each.offer_ids for each in cluster.cell.of(Decline)] == [("o2",)])
    await cluster.ask(SubmitJob(job_id="j2", spec=job(), wait=20))


async def test_a_place_that_was_taken_back_is_not_used(cluster: Cluster) -> None:
    worker = await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(), wait=20))
    await cluster.cell.until(lambda: cluster.cell.offered == 2)
    cluster.cell._return("o2")
    bus = await cluster.bus()
    bus.publish(outgoing(offers("batch"), Rescind(offer_ids=("o2",)), new_id()))
    ended = await cluster.ask(SubmitJob(job_id="j2", spec=job(), wait=20))
    assert ended.state == "finished"
    assert (await worker.store.summary("j2")).counts["finished"] == 1
