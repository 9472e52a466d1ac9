"""Arrays with steps, lists and a number of tasks at a time; retries on some exit codes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from broker_mesos.core.model.job_array import index_at, offset_of, parse_array, size_of
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import InvalidInput
from tests.batch.world import World, job, offer, status

S = TaskState


@pytest.mark.parametrize(
    ("text", "indices", "max_running"),
    [
        ("3", [1, 2, 3], 0),
        ("0-2", [0, 1, 2], 0),
        ("1-10:3,20", [1, 4, 7, 10, 20], 0),
        ("20, 1-5:2", [1, 3, 5, 20], 0),
        ("0-9:4%2", [0, 4, 8], 2),
        ("7-7", [7], 0),
        ("4,6%1", [4, 6], 1),
    ],
)
def test_the_text_of_an_array_names_its_indices(text: str, indices: list[int], max_running: int) -> None:
    options = parse_array(text)
    spec = job(array=options.array, ranges=options.ranges, max_running=options.max_running)
    assert (spec.total, spec.max_running) == (len(indices), max_running)
    first, ranges = options.array[0], options.ranges
    assert [index_at(first, ranges, at) for at in range(size_of(options.array, ranges))] == indices
    found = {index: offset_of(first, spec.total, ranges, index) for index in range(-1, 25)}
    assert {index: at for index, at in found.items() if at is not None} == {i: at for at, i in enumerate(indices)}


@pytest.mark.parametrize("text", ["", "0", "a", "3-1", "1-5:0", "1-5%0", "1,,2", "1-3%", "-4", "1-5:2:3"])
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="array"):
        parse_array(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"array": (1, 9), "ranges": ((1, 5, 1), (5, 9, 1))},
        {"array": (1, 9), "ranges": ((1, 5, 1),)},
        {"ranges": ((1, 5, 1),)},
        {"max_running": 2},
        {"array": (1, 4), "gang": True, "max_running": 2},
        {"array": (0, 10_000_000)},
        {"retry_on": (75,)},
    ],
)
def test_a_job_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        job(**fields)


async def test_an_array_with_gaps_runs_its_indices_and_no_others() -> None:
    world = World()
    options = parse_array("1-10:3,20")
    await world.store.submit("j", job(array=options.array, ranges=options.ranges))
    assert await world.claim() == ["j.1.1", "j.4.1", "j.7.1", "j.10.1"]
    assert await world.claim() == ["j.20.1"]
    await world.store.apply([status(f"j.{index}.1", S.FINISHED, exit_code=0) for index in (1, 4, 7, 10)])
    _, record = await world.store.read.record("j")
    page = await world.store.read.page("j", record, 3, 10, ())
    assert [(each.index, each.state) for each in page.tasks] == [(10, "finished"), (20, "staging")]
    await world.store.apply([status("j.20.1", S.FAILED, exit_code=7)])
    page = await world.store.read.page("j", record, 0, 10, ("failed",))
    assert [each.index for each in page.tasks] == [20]
    assert (await world.store.summary("j")).exit_code == 7


async def test_no_more_tasks_of_a_job_run_than_it_allows_at_a_time() -> None:
    world = World()
    await world.store.submit("j", job(array=(1, 7), max_running=2, retries=1))
    await world.store.submit("k", job())
    assert await world.claim() == ["j.1.1", "j.2.1", "k.0.1"]
    assert await world.claim(offer("o2")) == []
    applied = await world.store.apply([status("j.1.1", S.FAILED, exit_code=1)])
    assert applied.demand is not None and applied.demand.wanted
    assert await world.claim(offer("o3")) == ["j.1.2"]
    await world.store.apply([status(task, S.FINISHED, exit_code=0) for task in ("j.2.1", "j.1.2", "k.0.1")])
    started = []
    while claimed := await world.claim(offer(f"o{len(started) + 4}")):
        assert len(claimed) <= 2
        started += claimed
        await world.store.apply([status(task, S.FINISHED, exit_code=0) for task in claimed])
    assert started == [f"j.{index}.1" for index in range(3, 8)]
    assert (await world.store.summary("j")).state == "finished"
    assert await world.leftovers() == {}


async def test_a_killed_job_that_limits_its_tasks_ends() -> None:
    world = World()
    await world.store.submit("j", job(array=(1, 7), max_running=2))
    claimed = await world.claim()
    await world.store.kill("j")
    await world.store.apply([status(task, S.KILLED) for task in claimed])
    assert (await world.store.summary("j")).state == "killed"
    assert await world.leftovers() == {}


@pytest.mark.parametrize(
    ("end", "again"),
    [
        ({"state": S.FAILED, "exit_code": 75}, True),
        ({"state": S.FAILED, "exit_code": 1}, False),
        ({"state": S.FAILED, "signal": 9}, True),
        ({"state": S.LOST}, True),
    ],
)
async def test_a_retry_is_used_only_after_the_exit_codes_that_are_named(end: dict[str, Any], again: bool) -> None:
    world = World()
    await world.store.submit("j", job(retries=1, retry_on=(75, 137)))
    await world.claim()
    await world.store.apply([status("j.0.1", **end)])
    assert await world.claim(offer("o2")) == (["j.0.2"] if again else [])


@pytest.mark.parametrize("name", [" ", "a\nb", "a\x1b[2Jb", "\t"])
async def test_a_name_that_is_blank_or_has_control_characters_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="--name"):
        await World().store.submit("j", job(name=name))
