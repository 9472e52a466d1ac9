"""Jobs in the store, in memory and on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import Conflict, InvalidInput, NotFound
from broker_mesos.store.redis.records import RedisRecords
from tests.batch.world import StillClock, World, job, offer, status

S = TaskState


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
async def world(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[World]:
    if request.param == "memory":
        yield World(keep_ended=2)
        return
    url = request.getfixturevalue("redis_url")
    records = RedisRecords(url, cluster=cluster_name, clock=StillClock())
    await records.open(10.0)
    yield World(keep_ended=2, records=records)
    await records.close()


async def finish(world: World, task_ids: list[str], state: TaskState = S.FINISHED) -> None:
    code = {S.FINISHED: 0, S.FAILED: 3}.get(state)
    await world.store.apply([status(task_id, state, exit_code=code) for task_id in task_ids])


async def run_to_the_end(world: World, job_id: str, **fields: object) -> None:
    await world.store.submit(job_id, job(**fields))
    while task_ids := await world.claim():
        await finish(world, task_ids)


async def test_a_job_goes_from_submission_to_its_end(world: World) -> None:
    demand = await world.store.submit("j", job(array=(1, 6)))
    assert demand is not None and demand.wanted
    assert (await world.store.summary("j")).state == "pending"
    first = await world.claim()
    summary = await world.store.summary("j")
    assert (summary.state, summary.counts["running"], summary.counts["pending"]) == ("running", 4, 2)
    await finish(world, first)
    await finish(world, await world.claim())
    summary = await world.store.summary("j")
    assert (summary.state, summary.exit_code, summary.counts["finished"]) == ("finished", 0, 6)
    assert summary.ended_at is not None and summary.version == 12
    assert await world.leftovers() == {}
    assert world.news[-1] == ("j", summary)


async def test_a_repeat_of_a_submission_changes_nothing(world: World) -> None:
    assert await world.store.submit("j", job()) is not None
    assert await world.store.submit("j", job()) is None
    with pytest.raises(Conflict):
        await world.store.submit("j", job(retries=1))
    assert (await world.store.jobs(10)).total == 1


async def test_submissions_that_come_together_are_numbered_in_their_order(world: World) -> None:
    await asyncio.gather(*(world.store.submit(f"j{number}", job()) for number in range(150)))
    assert await world.claim(offer(resources="cpus:3;mem:100")) == ["j0.0.1", "j1.0.1", "j2.0.1"]
    assert [summary.job_id for summary in (await world.store.jobs(2)).jobs] == ["j149", "j148"]


async def test_priority_goes_first_and_then_the_older_job(world: World) -> None:
    for job_id, priority in (("low", -5), ("old", 0), ("new", 0), ("high", 1_000)):
        await world.store.submit(job_id, job(priority=priority))
    claimed = await world.claim(offer(resources="cpus:9;mem:100"))
    assert claimed == ["high.0.1", "old.0.1", "new.0.1", "low.0.1"]


async def test_more_jobs_than_one_look_takes_are_served_all_the_same(world: World) -> None:
    await asyncio.gather(*(world.store.submit(f"big{number}", job(resources="cpus:64;mem:1")) for number in range(600)))
    await world.store.submit("small", job())
    assert await world.claim() == ["small.0.1"]


async def test_demand_rises_with_work_and_ends_with_it(world: World) -> None:
    up = await world.store.submit("j", job())
    assert up is not None
    claimed = await world.store.claim([offer()])
    assert claimed.demand is not None and not claimed.demand.wanted
    assert claimed.demand.version > up.version
    back = await world.store.apply([status("j.0.1", S.DROPPED)])
    assert back.demand is not None and back.demand.wanted and back.demand.version > claimed.demand.version
    assert await world.store.demand() == back.demand
    assert await world.store.idle() == back.demand


async def test_a_stored_level_below_what_is_known_is_taken_anew(world: World) -> None:
    level = await world.store.demand(5_000)
    assert (level.version, level.wanted) == (5_001, False)
    submitted = await world.store.submit("j", job())
    assert submitted is not None and submitted.version == 5_002
    again = await world.store.demand(9_000)
    assert (again.version, again.wanted) == (9_001, True)


async def test_the_exit_code_is_that_of_the_first_failing_index(world: World) -> None:
    await world.store.submit("j", job(array=(0, 3)))
    tasks = await world.claim()
    await world.store.apply([status(tasks[3], S.FAILED, exit_code=9)])
    await world.store.apply([status(tasks[1], S.FAILED, signal=11)])
    await finish(world, [tasks[0], tasks[2]])
    summary = await world.store.summary("j")
    assert (summary.state, summary.exit_code) == ("failed", 139)


async def test_a_claim_without_news_is_asked_about_until_there_is_some(world: World) -> None:
    await world.store.submit("j", job(array=(0, 1)))
    first, second = await world.claim(offer("o7", cell=3))
    assert await world.upkeep.overdue() == []
    await world.store.apply([status(first, S.RUNNING)])
    world.passes(10.5)
    assert await world.upkeep.overdue() == [(3, second, "o7")]
    assert await world.upkeep.overdue() == []
    world.passes(10.5)
    assert await world.upkeep.overdue() == [(3, second, "o7")]
    await world.store.apply([status(first, S.UNKNOWN)])
    assert await world.upkeep.overdue() == [(3, first, "o7")]
    await finish(world, [first, second])
    world.passes(10.5)
    assert await world.upkeep.overdue() == []
    assert await world.leftovers() == {}


async def test_a_job_whose_end_nobody_saw_through_is_closed_later(world: World) -> None:
    await world.store.submit("j", job())
    task_ids = await world.claim()
    # The worker that applies the last status dies before it closes the job.
    world.store._ends.close = lambda *a, **k: asyncio.sleep(0, {})  # type: ignore[method-assign]
    await finish(world, task_ids)
    del world.store._ends.close
    world.passes(31)
    assert await world.upkeep.tidy() == []
    assert await world.leftovers() == {}
    assert (await world.store.summary("j")).ended_at is not None


async def test_kills_that_were_never_sent_are_found_again(world: World) -> None:
    await world.store.submit("j", job(array=(0, 7)))
    tasks = await world.claim()
    await world.store.kill("j")
    world.passes(31)
    assert sorted(await world.upkeep.tidy()) == [(task_id, "a1") for task_id in tasks]
    assert await world.upkeep.tidy() == []


async def test_a_page_of_tasks_shows_each_in_its_state(world: World) -> None:
    await world.store.submit("j", job(array=(10, 19), retries=1))
    tasks = await world.claim()
    await world.store.apply(
        [
            status(tasks[0], S.FINISHED, exit_code=0),
            status(tasks[1], S.RUNNING, started_at=7.0),
            status(tasks[2], S.LOST, message="x" * 1_000),
        ]
    )
    _, record = await world.store.read.record("j")
    page = await world.store.read.page("j", record, 0, 5, ())
    assert [(task.index, task.state) for task in page.tasks] == [
        (10, "finished"),
        (11, "running"),
        (12, "pending"),
        (13, "staging"),
        (14, "pending"),
    ]
    assert page.more == 5 and page.tasks[1].started_at == 7.0 and page.tasks[1].hostname == "h1"
    pending = await world.store.read.page("j", record, 3, 2, ("pending",))
    assert [task.index for task in pending.tasks] == [14, 15] and pending.more == 6
    assert (await world.claim(offer("o2", "cpus:1;mem:10"))) == ["j.12.2"]
    await world.store.apply([status("j.12.2", S.LOST, message="x" * 1_000)])
    failed = await world.store.read.page("j", record, 0, 10, ("failed", "lost"))
    assert [(task.index, task.attempt, len(task.message)) for task in failed.tasks] == [(12, 2, 300)]
    assert failed.more is None


async def test_a_task_is_found_by_each_of_its_names(world: World) -> None:
    await world.store.submit("a.1", job())
    await world.store.submit("a", job(array=(1, 3)))
    assert (await world.store.attempts.task("a.1.0")).task_id == "a.1.0"
    await world.claim()
    assert (await world.store.attempts.task("a.1.0.1")).task_id == "a.1.0.1"
    assert (await world.store.attempts.task("a.2")).task_id == "a.2.1"
    assert (await world.store.attempts.task("a.2.1")).index == 2
    await world.store.apply([status("a.2.1", S.DROPPED)])
    await world.claim()
    with pytest.raises(NotFound, match=r"a\.2\.1-2"):
        await world.store.attempts.task("a.2.1")
    assert (await world.store.attempts.task("a.2.1-2")).attempt == 1
    with pytest.raises(NotFound):
        await world.store.attempts.task("a.9")


async def test_old_jobs_are_forgotten_a_bit_at_a_time_and_their_ids_are_free_again(world: World) -> None:
    await run_to_the_end(world, "old", array=(0, 2_499), resources="cpus:0.001;mem:0.001")
    for job_id in ("b", "c"):
        world.clock.now += 1
        await run_to_the_end(world, job_id)
    rounds = 1
    while await world.upkeep.prune():
        rounds += 1
        assert rounds < 20
    assert rounds >= 3
    with pytest.raises(NotFound):
        await world.store.summary("old")
    assert [summary.job_id for summary in (await world.store.jobs(10)).jobs] == ["c", "b"]
    assert await world.records.size("results:old") == await world.records.size("specs") - 2 == 0
    # Another job under a forgotten id is its own, though this worker has run the first one.
    await world.store.submit("old", job(name="other", resources="cpus:2;mem:1"))
    claimed = await world.store.claim([offer()])
    assert claimed.launches["o1"][0].spec.name == "other"


async def test_a_million_tasks_take_a_few_short_values(world: World) -> None:
    await world.store.submit("j", job(array=(1, 1_000_000)))
    assert sum([await world.records.size(key) for key in ("jobs", "specs", "work", "claims")]) == 3
    assert (await world.store.summary("j")).counts["pending"] == 1_000_000
    summary, kills = await world.store.kill("j")
    assert kills == [] and summary.state == "killed" and summary.counts["killed"] == 1_000_000
    assert (await world.store.attempts.task("j.77")).state == "killed"


async def test_too_large_a_job_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="into a file"):
        await world.store.submit("j", job(command={"arguments": ["x" * 300_000]}))


async def test_many_large_jobs_at_once_are_stored_in_several_steps(world: World) -> None:
    spec = job(command={"arguments": ["x" * 200_000]})
    await asyncio.gather(*(world.store.submit(f"j{number}", spec) for number in range(30)))
    assert await world.records.size("specs") == 30
    assert len(await world.claim(offer(resources="cpus:30;mem:1000"))) == 2  # what one ACCEPT can carry
