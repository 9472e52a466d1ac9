"""What jobs wait for, by the reason."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.jobs import JobFilter
from broker_mesos.core.api.waiting import MAX_REQUESTED, GetUnmetShapes, UnmetShape, UnmetShapes
from broker_mesos.core.model.job import Dependency
from broker_mesos.errors import Unavailable
from broker_mesos.frameworks.batch import waiting
from broker_mesos.frameworks.batch.waiting import WaitingReasons
from tests.batch.world import World, job, offer

GPUS = "cpus:1;gpus:1"


class Cells:
    """Two cells, of which none has gpus, and which have only small agents."""

    def __init__(self) -> None:
        self.asked: list[GetUnmetShapes] = []
        self.away = False

    async def ask(self, request: GetUnmetShapes) -> list[UnmetShapes]:
        if self.away:
            raise Unavailable("nobody answers")
        self.asked.append(request)
        found = tuple(
            UnmetShape(
                framework_id="batch",
                shape=each,
                absent=("gpus",) if each.resources.get("gpus") else (),
                too_large=each.resources.get("cpus") > 8_000,
                limited=each.role == "eng",
            )
            for each in request.shapes
        )
        return [UnmetShapes(shapes=found)] * 2


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def cells() -> Cells:
    return Cells()


@pytest.fixture
def reasons(world: World, cells: Cells) -> WaitingReasons:
    return WaitingReasons(world.store, cells.ask, world.clock)


async def test_waiting_jobs_and_tasks_are_counted_by_the_reason(
    world: World, cells: Cells, reasons: WaitingReasons
) -> None:
    await world.store.submit("first", job())
    await world.claim(offer(resources="cpus:1;mem:10"))
    for number in range(3):
        await world.store.submit(f"g{number}", job(array=(1, 10), resources=GPUS))
    await world.store.submit("big", job(resources="cpus:9", gang=True, array=(1, 2)))
    await world.store.submit("eng", job(role="eng"))
    await world.store.submit("later", job(after=(Dependency(job_id="big"),), array=(1, 4)))
    await world.store.submit("small", job())
    counted = await reasons.counted()
    assert {each.group: (each.jobs, each.tasks) for each in counted.view.groups} == {
        "no gpus": (3, 30),
        "other jobs": (1, 4),
        "too large": (1, 2),
        "quota eng": (1, 1),
        "resources in use": (1, 1),
    }
    assert (counted.view.jobs, counted.view.tasks, counted.view.truncated) == (7, 38, False)
    assert "first" not in counted.groups, "it does not wait"
    assert len(cells.asked) == 1 and len(cells.asked[0].shapes) == 4, "jobs of one shape are asked about once"
    await reasons.counted()
    assert len(cells.asked) == 1, "what was counted is used for a while"
    listing = await world.store.jobs(10, JobFilter(), {"g1", "g2"})
    assert [each.job_id for each in listing.jobs] == ["g2", "g1"]


async def test_jobs_of_a_page_have_their_reason_at_once(world: World, reasons: WaitingReasons) -> None:
    await world.store.submit("g", job(resources=GPUS))
    await world.store.submit("later", job(after=(Dependency(job_id="g"),)))
    records = await world.store.read.records(["g", "later"])
    found = await reasons.groups({ident: record.score for ident, record in records.items()})
    assert found == {"g": "no gpus", "later": "other jobs"}


async def test_without_an_answer_of_the_cells_jobs_wait_for_what_is_not_known(
    world: World, cells: Cells, reasons: WaitingReasons
) -> None:
    cells.away = True
    await world.store.submit("g", job(resources=GPUS))
    counted = await reasons.counted()
    assert counted.view.groups == () and counted.view.truncated and counted.view.tasks == 1


async def test_jobs_and_shapes_beyond_the_bounds_are_left_out_and_that_is_said(
    world: World, cells: Cells, reasons: WaitingReasons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_COUNTED", MAX_REQUESTED + 5)
    monkeypatch.setattr(waiting, "MAX_SHAPES", MAX_REQUESTED)
    monkeypatch.setattr(waiting, "SLICE", 7)
    for number in range(MAX_REQUESTED + 10):
        await world.store.submit(f"j{number}", job(resources=f"cpus:{1 + number / 1000:g};gpus:1"))
    counted = await reasons.counted()
    assert counted.view.truncated and counted.view.jobs == MAX_REQUESTED + 5
    assert [(each.group, each.jobs) for each in counted.view.groups] == [("no gpus", MAX_REQUESTED)]
    assert max(len(each.shapes) for each in cells.asked) == MAX_REQUESTED
