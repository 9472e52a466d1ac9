"""Daemons that answer on the bus in memory what a test tells them to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellLoad, CellView, FrameworkView, GetCell
from broker_mesos.core.api.cluster import Hello, HelloAnswer
from broker_mesos.core.api.jobs import GetTask, JobSummary, JobTask, KillJob
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.roles import RoleView
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus
from broker_mesos.errors import NotFound
from broker_mesos.operator.gateway import Gateway
from broker_mesos.runtime.clock import SystemClock

Handler = Callable[[Request], Awaitable[Part]]
CELLS = 3


class Daemons:
    """Answers on one in-memory broker; every request it got is in ``asked``."""

    def __init__(self) -> None:
        clock, numbers = SystemClock(), itertools.count()
        self._clock = clock
        self._new_id = lambda: f"id-{next(numbers)}"
        self._broker = MemoryBroker(clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.asked: list[Request] = []
        self.gateway: Gateway

    async def bus(self) -> MemoryBus:
        bus = MemoryBus(self._broker)
        await bus.open(1)
        return bus

    async def start(self) -> None:
        self._requester = Requester(await self.bus(), self._clock, self._new_id)
        self.gateway = Gateway(self._requester)
        await self.answer(Queue(QueueKind.OPERATOR_MASTER), self._master)

    async def answer(self, queue: Queue, handler: Handler) -> None:
        async def noting(request: Request) -> Part:
            self.asked.append(request)
            return await handler(request)

        responder = Responder(await self.bus(), queue, noting, self._clock, self._new_id)
        self._tasks.append(asyncio.create_task(responder.run()))
        await asyncio.wait_for(responder.consuming.wait(), 5)

    async def cell(self, number: int, handler: Handler) -> None:
        await self.answer(Queue(QueueKind.OPERATOR_CELL, str(number)), handler)

    async def batch(self, handler: Handler) -> None:
        await self.answer(Queue(QueueKind.OPERATOR_FRAMEWORK, "batch"), handler)

    async def agent(self, agent_id: str, handler: Handler) -> None:
        await self.answer(Queue(QueueKind.OPERATOR_AGENT, agent_id), handler)

    async def close(self) -> None:
        await self._requester.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _master(self, request: Request) -> Part:
        assert isinstance(request, Hello)
        return HelloAnswer(cluster="default", cells=CELLS)


def agent_view(agent_id: str, cell: int) -> AgentView:
    return AgentView(
        agent_id=agent_id,
        cell=cell,
        hostname=f"host-{agent_id}",
        state=AgentStatus.REGISTERED,
        total=Resources.parse("cpus:4;ports:[31000-31009]"),
        offered=Resources.EMPTY,
        used=Resources.EMPTY,
    )


def cell_view(cell: int) -> CellView:
    held = Resources.parse("cpus:1;ports:[31000-31000]")
    state = FrameworkStatus.SUBSCRIBED if cell else FrameworkStatus.DISCONNECTED
    return CellView(
        cell=cell,
        term=1,
        owner="m",
        load=CellLoad(cell=cell, behind=0.5 * cell, decisions=9, rounds=4),
        agents=(agent_view(f"a{9 - cell}", cell),),
        frameworks=(
            FrameworkView(
                framework_id="batch",
                cell=cell,
                name="batch",
                roles=("*",),
                state=state,
                wanted=cell == 1,
                allocated=held,
                offered=Resources.EMPTY,
                tasks=2,
                offers=1,
                dominant_share=0.25,
            ),
        ),
        roles=(
            RoleView(
                role="*",
                cell=cell,
                weight=1,
                frameworks=1,
                allocated=held,
                offered=Resources.EMPTY,
                dominant_share=0.25,
            ),
        ),
        counts={"agents": 1, "frameworks": 1, "tasks": 2, "offers": 1},
    )


async def answer_view(request: Request, cell: int) -> Part:
    assert isinstance(request, GetCell)
    return cell_view(cell)


def answering(cell: int) -> Handler:
    return lambda request: answer_view(request, cell)


def refuse(error: Exception) -> Handler:
    async def handler(request: Request) -> Part:
        raise error

    return handler


def summary(job_id: str = "j") -> JobSummary:
    return JobSummary(job_id=job_id, name="", state="running", total=1, counts={}, submitted_at=0)


def batch_with(task: JobTask | None, job_id: str = "job") -> Handler:
    async def handler(request: Request) -> Part:
        if isinstance(request, KillJob) and request.job_id == job_id:
            return summary(job_id)
        if isinstance(request, GetTask) and task is not None and task.task_id.startswith(request.task_id):
            return task
        raise NotFound("nothing like it")

    return handler
