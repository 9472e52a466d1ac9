"""Listing jobs by filters, and running failed tasks again."""

from __future__ import annotations

import random
from typing import Any

import pytest

from broker_mesos.core.api.jobs import JobFilter
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import Conflict, StoreUnavailable
from broker_mesos.frameworks.batch.storage.records import Counts
from broker_mesos.frameworks.batch.storage.store import JobStore
from tests.batch.world import World, job, offer, status

S = TaskState


async def ended(world: World, job_id: str, code: int = 0, **fields: object) -> None:
    await world.store.submit(job_id, job(**fields))
    [task_id] = await world.claim(offer(f"o-{job_id}"))
    state = S.FAILED if code else S.FINISHED
    await world.store.apply([status(task_id, state, exit_code=code)])


async def listed(world: World, limit: int = 10, **which: Any) -> list[str]:
    return [each.job_id for each in (await world.store.jobs(limit, JobFilter(**which))).jobs]


async def test_jobs_are_listed_by_state_name_user_and_time() -> None:
    world = World()
    await ended(world, "a", name="train-1", user="ann")
    world.clock.now += 100
    await ended(world, "b", 1, name="train-2", user="bob")
    world.clock.now += 100
    await ended(world, "c", name="eval", user="ann")
    await world.store.submit("d", job(name="train-3", user="ann"))
    now = world.clock.now
    assert await listed(world) == ["d", "c", "b", "a"]
    assert await listed(world, kind="ended") == ["c", "b", "a"]
    assert await listed(world, kind="active") == ["d"]
    assert await listed(world, states=("failed",)) == ["b"]
    assert await listed(world, name="train-*", kind="ended") == ["b", "a"]
    assert await listed(world, user="ann") == ["d", "c", "a"]
    assert await listed(world, since=now - 150, until=now - 50) == ["b"]
    assert await listed(world, name="train-[13]", user="ann", states=("pending",)) == ["d"]


@pytest.mark.parametrize("kind", ["all", "ended"])
async def test_a_listing_that_is_cut_says_so_and_goes_on_where_it_ended(kind: Any) -> None:
    world = World()
    for number in range(7):
        await ended(world, f"j{number}", number % 2)
    choices: list[dict[str, Any]] = [{}, {"states": ("finished",)}]
    for which in choices:
        found: list[str] = []
        after: int | None = None
        while True:
            filtered = JobFilter(kind=kind, after=after, **which)
            listing = await world.store.jobs(2, filtered)
            found += [each.job_id for each in listing.jobs]
            after = listing.after
            if after is None:
                break
            assert len(listing.jobs) == 2
        assert found == [f"j{number}" for number in range(6, -1, -1) if not (which and number % 2)]


async def test_failed_tasks_run_again_under_the_same_job_and_the_others_do_not() -> None:
    world = World()
    await world.store.submit("j", job(array=(1, 3)))
    await world.claim()
    ends = [("j.1.1", 0), ("j.2.1", 5), ("j.3.1", 0)]
    await world.store.apply([status(t, S.FAILED if code else S.FINISHED, exit_code=code) for t, code in ends])
    assert (await world.store.summary("j")).exit_code == 5
    summary, demand = await world.store.retry("j")
    assert (summary.state, summary.counts["finished"], summary.counts["pending"]) == ("running", 2, 1)
    assert summary.ended_at is None and demand.wanted
    assert await listed(world, kind="ended") == [] and await listed(world, kind="active") == ["j"]
    assert await world.claim(offer("o2")) == ["j.2.2"]
    await world.store.apply([status("j.2.2", S.FINISHED, exit_code=0)])
    summary = await world.store.summary("j")
    assert (summary.state, summary.exit_code, summary.counts["finished"]) == ("finished", 0, 3)
    assert (await world.store.attempts.task("j.2")).attempt == 2
    assert await world.leftovers() == {}
    with pytest.raises(Conflict, match="no failed task"):
        await world.store.retry("j")


async def test_a_job_that_has_not_ended_is_not_run_again() -> None:
    world = World()
    await world.store.submit("j", job())
    with pytest.raises(Conflict, match="has not ended"):
        await world.store.retry("j")


async def failed_array(world: World) -> None:
    """A job of two tasks that have failed."""
    await world.store.submit("j", job(array=(0, 1)))
    await world.claim()
    await world.store.apply([status(f"j.{index}.1", S.FAILED, exit_code=3) for index in (0, 1)])


async def test_a_job_that_was_closed_and_opened_again_meanwhile_is_not_closed_with_its_old_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    other = JobStore(world.records, world.clock, random.Random(2))
    read = world.store.read.exit_code

    async def slow(job_id: str, counts: Counts) -> int:
        monkeypatch.undo()
        assert (await other.summary("j")).ended_at is not None
        await other.retry("j")
        return await read(job_id, counts)

    monkeypatch.setattr(world.store.read, "exit_code", slow)
    await failed_array(world)
    found = await world.store.summary("j")
    assert (found.ended_at, found.counts["pending"], found.counts["failed"]) == (None, 2, 0)
    assert sorted(await world.claim()) == ["j.0.2", "j.1.2"]


async def test_a_job_of_which_all_tasks_have_ended_can_be_retried_before_anybody_has_closed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def dies(*args: object) -> None:
        raise StoreUnavailable("no")

    monkeypatch.setattr(world.store._ends, "close", dies)
    with pytest.raises(StoreUnavailable):
        await failed_array(world)
    monkeypatch.undo()
    summary, _ = await world.store.retry("j")
    assert (summary.ended_at, summary.counts["pending"]) == (None, 2)


async def test_a_task_that_was_killed_before_its_next_attempt_has_no_id_of_that_attempt() -> None:
    world = World()
    await world.store.submit("j", job(array=(0, 1), retries=1))
    await world.claim()
    await world.store.apply([status("j.0.1", S.FAILED, exit_code=3)])
    await world.store.kill("j", 0)
    assert (await world.store.attempts.task("j.0")).task_id == "j.0"
