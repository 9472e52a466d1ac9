"""Logs over the gateway, of tasks wherever they run."""

from __future__ import annotations

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.cells import CellView, GetCell, TaskView
from broker_mesos.core.api.cluster import GetCluster
from broker_mesos.core.api.files import FileChunk, LogChunk, ReadFile, ReadLog
from broker_mesos.core.api.jobs import GetTask, JobTask
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import NotFound, Unavailable
from broker_mesos.operator.gateway import Gateway
from broker_mesos.runtime.clock import SystemClock
from tests.operator.daemons import (
    CELLS,
    Daemons,
    Handler,
    batch_with,
    refuse,
)


def file_of(text: bytes) -> Handler:
    async def handler(request: Request) -> Part:
        assert isinstance(request, ReadFile)
        data = text[request.offset : request.offset + request.length]
        return FileChunk.of(data, request.offset, len(text), ended=True)

    return handler


async def test_a_log_is_read_from_the_agent_that_ran_the_latest_attempt(daemons: Daemons) -> None:
    task = JobTask(task_id="job.0.2", index=0, attempt=2, state="finished", agent_id="a1")
    await daemons.batch(batch_with(task))
    await daemons.agent("a1", file_of(b"hello"))
    chunk = await daemons.gateway.handle(ReadLog(task_id="job", offset=1, length=3))
    assert isinstance(chunk, LogChunk)
    assert (chunk.task_id, chunk.agent_id, chunk.bytes(), chunk.offset, chunk.size) == (
        "job.0.2",
        "a1",
        b"ell",
        1,
        5,
    )


async def test_a_log_of_another_frameworks_task_is_found_by_the_cells(daemons: Daemons) -> None:
    await daemons.batch(batch_with(None))

    def cell(number: int) -> Handler:
        async def handler(request: Request) -> Part:
            assert isinstance(request, GetCell) and request.task_id == "mine"
            task = TaskView(
                task_id="mine",
                cell=number,
                framework_id="f",
                agent_id="a1",
                role="*",
                name="",
                resources=Resources.EMPTY,
                state=TaskState.RUNNING,
            )
            return CellView(cell=number, term=1, owner="m", tasks=(task,) if number == 2 else ())

        return handler

    for number in range(CELLS):
        await daemons.cell(number, cell(number))
    await daemons.agent("a1", file_of(b"x"))
    chunk = await daemons.gateway.handle(ReadLog(task_id="mine"))
    assert isinstance(chunk, LogChunk) and chunk.bytes() == b"x"


async def test_a_log_waits_until_the_task_has_an_agent(daemons: Daemons) -> None:
    states = iter(
        [
            JobTask(task_id="job.0", index=0, attempt=1, state="pending"),
            JobTask(task_id="job.0.1", index=0, attempt=1, state="staging", agent_id="a1"),
            JobTask(task_id="job.0.1", index=0, attempt=1, state="running", agent_id="a1"),
        ]
    )

    async def batch(request: Request) -> Part:
        assert isinstance(request, GetTask)
        return next(states)

    reads = 0

    async def agent(request: Request) -> Part:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise NotFound("no such task here yet")
        return await file_of(b"up")(request)

    await daemons.batch(batch)
    await daemons.agent("a1", agent)
    chunk = await daemons.gateway.handle(ReadLog(task_id="job", wait=5))
    assert isinstance(chunk, LogChunk) and chunk.bytes() == b"up" and chunk.task_id == "job.0.1"


async def test_a_log_of_a_task_that_waits_is_empty_and_of_one_that_never_ran_ended(daemons: Daemons) -> None:
    await daemons.batch(batch_with(JobTask(task_id="job.0", index=0, attempt=1, state="pending")))
    chunk = await daemons.gateway.handle(ReadLog(task_id="job"))
    assert isinstance(chunk, LogChunk) and not chunk.ended and chunk.data == ""


async def test_a_log_that_cannot_be_had_says_where_it_is(daemons: Daemons) -> None:
    task = JobTask(task_id="job.0.1", index=0, attempt=1, state="failed", agent_id="a1")
    await daemons.batch(batch_with(task))
    with pytest.raises(Unavailable, match=r"output of job\.0\.1 is on agent a1"):
        await daemons.gateway.handle(ReadLog(task_id="job"))
    await daemons.agent("a1", refuse(NotFound("no such sandbox")))
    with pytest.raises(NotFound, match="is gone"):
        await daemons.gateway.handle(ReadLog(task_id="job"))


async def test_a_log_of_an_unknown_task_is_not_found(daemons: Daemons) -> None:
    async def empty(request: Request) -> Part:
        return CellView(cell=0, term=1, owner="m")

    await daemons.batch(batch_with(None))
    for number in range(CELLS):
        await daemons.cell(number, empty)
    with pytest.raises(NotFound, match="no task nope"):
        await daemons.gateway.handle(ReadLog(task_id="nope"))


async def test_nobody_at_all_is_unavailable() -> None:
    clock = SystemClock()
    bus = MemoryBus(MemoryBroker(clock))
    await bus.open(1)
    requester = Requester(bus, clock, lambda: "id")
    try:
        with pytest.raises(Unavailable, match="GET_CLUSTER at master"):
            await Gateway(requester).handle(GetCluster())
    finally:
        await requester.close()
