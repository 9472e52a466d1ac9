"""Jobs that run after others."""

from __future__ import annotations

import pytest

from broker_mesos.core.model.job import Dependency
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import InvalidInput, NotFound
from tests.batch.world import World, job, offer, status

S = TaskState


def after(*texts: str) -> dict[str, object]:
    return {"after": tuple(map(Dependency.parse, texts))}


async def end(world: World, task_id: str, code: int = 0) -> None:
    state = S.FAILED if code else S.FINISHED
    await world.store.apply([status(task_id, state, exit_code=code)])


async def test_a_job_waits_until_the_one_before_it_has_succeeded() -> None:
    world = World()
    await world.store.submit("first", job(array=(1, 2)))
    await world.store.submit("second", job(**after("first")))
    assert await world.claim() == ["first.1.1", "first.2.1"]
    assert await world.claim(offer("o2")) == []
    await end(world, "first.1.1")
    assert await world.claim(offer("o3")) == []
    await end(world, "first.2.1")
    assert await world.claim(offer("o4")) == ["second.0.1"]
    await end(world, "second.0.1")
    assert (await world.store.summary("second")).state == "finished"
    assert await world.leftovers() == {}


async def test_a_job_after_one_that_fails_is_ended_with_the_reason_and_so_are_those_after_it() -> None:
    world = World()
    await world.store.submit("j0", job())
    # Longer than any recursion would carry.
    for number in range(1, 300):
        await world.store.submit(f"j{number}", job(array=(1, 3), **after(f"j{number - 1}")))
    assert await world.claim() == ["j0.0.1"]
    await end(world, "j0.0.1", code=3)
    second, last = await world.store.summary("j1"), await world.store.summary("j299")
    assert (second.state, second.counts["killed"]) == ("killed", 3)
    assert second.reason == "job j0, after which it runs, ended with exit code 3"
    assert last.state == "killed" and last.ended_at is not None
    assert await world.leftovers() == {}


async def test_after_any_end_a_failed_job_will_do() -> None:
    world = World()
    await world.store.submit("first", job())
    await world.store.submit("second", job(**after("any:first")))
    await world.claim()
    await end(world, "first.0.1", code=1)
    assert await world.claim(offer("o2")) == ["second.0.1"]


@pytest.mark.parametrize(("code", "state"), [(0, "pending"), (1, "killed")])
async def test_a_job_after_one_that_has_ended_already_is_decided_at_once(code: int, state: str) -> None:
    world = World()
    await world.store.submit("first", job())
    await world.claim()
    await end(world, "first.0.1", code)
    await world.store.submit("second", job(**after("first")))
    assert (await world.store.summary("second")).state == state
    assert await world.claim(offer("o2")) == (["second.0.1"] if not code else [])


async def test_a_job_after_several_waits_for_the_last_of_them() -> None:
    world = World(workers=2)
    first, second = world.stores
    await first.submit("a", job())
    await second.submit("b", job())
    await first.submit("c", job(**after("a", "b")))
    await world.claim()
    await second.apply([status("a.0.1", S.FINISHED, exit_code=0)])
    _, record = await first.read.record("c")
    assert (await first.dependencies.verdict(record)).waits_for == ("b",)
    await first.apply([status("b.0.1", S.FINISHED, exit_code=0)])
    assert await world.claim(offer("o2")) == ["c.0.1"]


async def test_a_killed_job_ends_the_one_after_it() -> None:
    world = World()
    await world.store.submit("first", job())
    await world.store.submit("second", job(**after("first")))
    await world.store.kill("first")
    assert (await world.store.summary("second")).state == "killed"
    assert await world.leftovers() == {}


async def test_a_job_that_waits_for_another_can_be_killed() -> None:
    world = World()
    await world.store.submit("first", job())
    await world.store.submit("second", job(**after("first")))
    summary, _ = await world.store.kill("second")
    assert (summary.state, summary.reason) == ("killed", "")
    await world.claim()
    await end(world, "first.0.1")
    assert await world.claim(offer("o2")) == []
    assert await world.leftovers() == {}


async def test_what_a_worker_that_died_did_not_release_is_released_later() -> None:
    world = World()
    await world.store.submit("first", job())
    await world.store.submit("second", job(**after("first")))
    await world.claim()

    async def died(job_id: str) -> None:
        pass

    world.store.dependencies.followers = died  # type: ignore[method-assign]
    await end(world, "first.0.1")
    assert await world.claim(offer("o2")) == []
    world.passes(31)
    await world.upkeep.tidy()
    assert await world.claim(offer("o3")) == ["second.0.1"]


async def test_a_job_after_one_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await World().store.submit("j", job(**after("nowhere")))


@pytest.mark.parametrize("text", ["", "never:j", "any:", "a b", "any:any:j"])
def test_what_names_no_job_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="any:JOB"):
        Dependency.parse(text)
