"""What a task has been through, its earlier attempts, and when and where the tasks of a job ran."""

from __future__ import annotations

import pytest

from broker_mesos.core.model.task_history import MAX_STEPS
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.errors import NotFound
from broker_mesos.frameworks.batch.storage.records import MAX_ATTEMPTS
from broker_mesos.frameworks.batch.storage.timeline import timeline
from tests.batch.world import World, job, offer, status

S = TaskState


@pytest.fixture
def world() -> World:
    return World()


async def states(world: World, ident: str) -> list[str]:
    return [step.state for step in (await world.store.attempts.task(ident)).history]


async def test_a_task_tells_when_it_was_staged_began_and_ended_and_stores_no_step_for_that(world: World) -> None:
    await world.store.submit("j", job())
    assert await states(world, "j.0") == []
    world.clock.now = 100.0
    (task_id,) = await world.claim()
    assert await states(world, task_id) == ["staging"]
    await world.store.apply([status(task_id, S.RUNNING, started_at=101.5, timestamp=101.6)])
    assert await states(world, task_id) == ["staging", "running"]
    end = status(task_id, S.FAILED, started_at=101.5, timestamp=107.0, message="exited with code 3", exit_code=3)
    await world.store.apply([end])
    task = await world.store.attempts.task(task_id)
    assert [(each.state, each.at, each.reason) for each in task.history] == [
        ("staging", 100.0, ""),
        ("running", 101.5, ""),
        ("failed", 107.0, "exited with code 3"),
    ]
    (text,) = await world.records.get("results:j", ["0"])
    assert "history" not in text, "it follows from the other fields"


async def test_a_task_that_was_unreachable_for_a_while_tells_so(world: World) -> None:
    await world.store.submit("j", job())
    (task_id,) = await world.claim()
    gone = {"reason": Reason.AGENT_REMOVED}
    steps = [
        status(task_id, S.RUNNING, started_at=1.0, timestamp=1.0),
        status(task_id, S.UNREACHABLE, timestamp=5.0, **gone),
        status(task_id, S.RUNNING, started_at=1.0, timestamp=9.0),
        status(task_id, S.FINISHED, started_at=1.0, timestamp=12.0),
    ]
    for each in steps:
        await world.store.apply([each])
    task = await world.store.attempts.task(task_id)
    assert [(each.state, each.at) for each in task.history][1:] == [
        ("running", 1.0),
        ("unreachable", 5.0),
        ("running", 9.0),
        ("finished", 12.0),
    ]
    assert task.history[2].reason == "REASON_SLAVE_REMOVED" and not task.history_truncated


async def test_a_history_that_is_too_long_keeps_its_ends_and_says_so(world: World) -> None:
    await world.store.submit("j", job())
    (task_id,) = await world.claim()
    for number in range(2 * MAX_STEPS):
        state = S.UNREACHABLE if number % 2 else S.RUNNING
        await world.store.apply([status(task_id, state, started_at=1.0, timestamp=float(number))])
    await world.store.apply([status(task_id, S.FINISHED, timestamp=99.0)])
    task = await world.store.attempts.task(task_id)
    assert len(task.history) <= MAX_STEPS and task.history_truncated
    assert [each.state for each in task.history[:2]] == ["staging", "running"]
    assert [each.at for each in task.history[-3:]] == [2 * MAX_STEPS - 2, 2 * MAX_STEPS - 1, 99.0]


async def test_each_attempt_is_kept_and_found_by_its_id_if_that_is_asked_for(world: World) -> None:
    await world.store.submit("j", job(array=(4, 5), retries=2))
    for attempt in (1, 2):
        claimed = await world.claim(offer(f"o{attempt}"))
        assert f"j.4.{attempt}" in claimed
        end = {"exit_code": attempt, "started_at": 10.0 * attempt, "timestamp": 10.0 * attempt + 1}
        await world.store.apply([status(f"j.4.{attempt}", S.FAILED, **end)])
    waiting = await world.store.attempts.task("j.4")
    assert (waiting.state, waiting.attempt) == ("pending", 3)
    assert [(each.task_id, each.exit_code) for each in waiting.attempts] == [("j.4.1", 1), ("j.4.2", 2)]
    assert await world.claim(offer("o3")) == ["j.4.3"]
    with pytest.raises(NotFound, match=r"replaced by j\.4\.3"):
        await world.store.attempts.task("j.4.1")
    first = await world.store.attempts.task("j.4.1", earlier=True)
    assert (first.state, first.exit_code, first.latest, first.agent_id) == ("failed", 1, "j.4.3", "a1")
    assert [each.state for each in first.history] == ["staging", "running", "failed"]
    assert len(first.attempts) == 2
    with pytest.raises(NotFound):
        await world.store.attempts.task("j.4.9", earlier=True)


async def test_a_retry_by_a_person_keeps_the_attempt_that_failed(world: World) -> None:
    await world.store.submit("j", job())
    (task_id,) = await world.claim()
    await world.store.apply([status(task_id, S.FAILED, exit_code=7)])
    await world.store.retry("j")
    assert [each.exit_code for each in (await world.store.attempts.task("j.0")).attempts] == [7]


async def test_a_claim_that_was_never_launched_is_no_attempt(world: World) -> None:
    await world.store.submit("j", job())
    (task_id,) = await world.claim()
    await world.store.apply([status(task_id, S.DROPPED)])
    assert await world.claim(offer("o2")) == ["j.0.1-2"]
    assert (await world.store.attempts.task("j.0")).attempts == ()


async def test_only_the_latest_attempts_are_kept_and_none_of_a_forgotten_job(world: World) -> None:
    world = World(keep_ended=0)
    await world.store.submit("j", job(retries=MAX_ATTEMPTS + 4))
    for number in range(1, MAX_ATTEMPTS + 6):
        (task_id,) = await world.claim(offer(f"o{number}"))
        await world.store.apply([status(task_id, S.FAILED, exit_code=number)])
    task = await world.store.attempts.task("j.0")
    assert task.attempt == MAX_ATTEMPTS + 5 and task.attempts_truncated
    assert [each.attempt for each in task.attempts] == list(range(5, MAX_ATTEMPTS + 5))
    assert await world.records.size("attempts:j") == MAX_ATTEMPTS
    while await world.upkeep.prune():
        pass
    assert await world.records.size("attempts:j") == await world.records.size("specs") == 0


async def test_the_timeline_has_a_row_for_each_task_in_its_state(world: World) -> None:
    world.clock.now = 50.0
    await world.store.submit("j", job(array=(1, 4)))
    world.clock.now = 52.0
    await world.claim(offer("o1", "cpus:2;mem:100"), offer("o2", "cpus:1;mem:100", agent_id="a2"))
    await world.store.apply([status("j.1.1", S.RUNNING, started_at=53.0)])
    await world.store.apply([status("j.2.1", S.FINISHED, started_at=53.0, timestamp=54.25)])
    found = await timeline(world.store.read, "j", 5_000)
    assert found.since == 50.0 and not found.truncated
    assert found.index == (1, 2, 3, 4)
    assert [found.states[each] for each in found.state] == ["running", "finished", "staging", "pending"]
    assert [found.agents[each] if each >= 0 else "" for each in found.agent] == ["a1", "a1", "a2", ""]
    assert found.claimed == (2.0, 2.0, 2.0, None)
    assert found.started == (3.0, 3.0, None, None) and found.ended == (None, 4.25, None, None)
    with pytest.raises(NotFound):
        await timeline(world.store.read, "nowhere", 5_000)


async def test_a_large_job_is_shown_by_tasks_from_all_over_its_array_and_says_so(world: World) -> None:
    await world.store.submit("j", job(array=(0, 999_999)))
    found = await timeline(world.store.read, "j", 4)
    assert found.index == (0, 250_000, 500_000, 750_000)
    assert found.truncated and found.total == 1_000_000
