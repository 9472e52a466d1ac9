"""The gateway: one request of a user in, the right requests over the bus out, one answer back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.agents import AgentGone, MarkAgentGone
from broker_mesos.core.api.cells import CellView, GetCell, KillTask, KillTaskAnswer
from broker_mesos.core.api.cluster import ClusterView, GetCluster, Hello, HelloAnswer
from broker_mesos.core.api.dead_letters import (
    DropDeadLetters,
    GetDeadLetter,
    ListDeadLetters,
    RetryDeadLetters,
)
from broker_mesos.core.api.explain import Explain, PlanJob
from broker_mesos.core.api.files import FileChunk, LogChunk, ReadFile, ReadLog
from broker_mesos.core.api.health import GetHealth, GetMasterHealth, HealthView, MasterReport
from broker_mesos.core.api.jobs import (
    GetJob,
    GetJobs,
    GetTask,
    JobSummary,
    JobTask,
    KillById,
    Killed,
    KillJob,
    SubmitJob,
    WaitJob,
)
from broker_mesos.core.api.maintenance import (
    AgentsRequest,
    GetMaintenance,
    MaintenanceView,
    ScheduleMaintenance,
)
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.reservations import ReservationRequest
from broker_mesos.core.api.roles import GetConfig, SetPolicy, SetRoles
from broker_mesos.core.api.state import GetState, MissingCell
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import (
    Address,
    cell_of,
    operator_agent,
    operator_cell,
    operator_framework,
    operator_master,
)
from broker_mesos.errors import BrokerMesosError, InvalidInput, NotFound, TimedOut, Unavailable
from broker_mesos.operator.explain import Explainer
from broker_mesos.operator.merge import merge
from broker_mesos.operator.waiting import waits

log = logging.getLogger(__name__)

BATCH = operator_framework("batch")
TIMEOUT_SECONDS = 5.0
"""Seconds for an answer, on top of what the request itself asks to wait for."""

_HANDOVER = 1.5
"""Seconds that a cell may be without an owner before it counts as missing: masters take over in less."""
_LOCATED = 4_096
_ENDED = frozenset(state.short for state in TaskState if state.terminal)

P = TypeVar("P", bound=Part)


class Asks(Protocol):
    """What the gateway is to its users, in this process or behind HTTP."""

    async def handle(self, request: Request, timeout: float = TIMEOUT_SECONDS) -> Part:
        """The answer to a request. Raises the errors of ``broker_mesos.errors``."""
        ...


class _Place(NamedTuple):
    """Where a task is. No agent: nowhere yet, or never, if it has ended."""

    task_id: str
    agent_id: str
    ended: bool


class Gateway:
    """Answers users' requests over a bus. ``sleep`` is the clock's."""

    def __init__(self, requester: Requester, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._requester = requester
        self._sleep = sleep
        self._cells: int | None = None
        self._located: OrderedDict[str, str] = OrderedDict()
        """Agents by task id, of tasks that were launched."""

    async def handle(self, request: Request, timeout: float = TIMEOUT_SECONDS) -> Part:
        """The answer to a request, an instance of its ``ANSWER``.

        Raises the error that was answered; TimedOut after ``timeout`` seconds beyond what the request asks
        to wait for; Unavailable when nobody listens; InvalidInput for a request that is not a user's.
        """
        limit = timeout + waits(request)
        try:
            async with asyncio.timeout(limit):
                return await self._dispatch(request, timeout)
        except TimeoutError:
            raise TimedOut(f"no answer to {request.TYPE} within {limit:g} s; try again") from None

    async def _dispatch(self, request: Request, timeout: float) -> Part:
        match request:
            case GetHealth():
                return await self._health(timeout)
            case (
                Hello()
                | GetCluster()
                | ListDeadLetters()
                | GetDeadLetter()
                | RetryDeadLetters()
                | DropDeadLetters()
                | GetConfig()
                | SetRoles()
                | SetPolicy()
            ):
                return await self._requester.request(operator_master(), request, timeout)
            case SubmitJob() | GetJobs() | GetJob() | WaitJob() | GetTask() | KillJob():
                return await self._requester.request(BATCH, request, timeout + waits(request))
            case GetState():
                return await self._state(request, timeout)
            case KillTask():
                known, missing = await self._kill_task(request, timeout)
                if not known and missing:
                    raise Unavailable(_partly(f"task {request.task_id}", missing))
                return KillTaskAnswer(known=known)
            case MarkAgentGone():
                return await self._mark_gone(request, timeout)
            case ReservationRequest():
                return await self._hold(request, timeout)
            case AgentsRequest():
                return await self._maintain(request, timeout)
            case KillById():
                return await self._kill(request, timeout)
            case Explain() | PlanJob():
                return await Explainer(self._requester, self._ask_cells).answer(request, timeout)
            case ReadLog():
                return await self._read_log(request, timeout)
        raise InvalidInput(f"{request.TYPE} is asked within the cluster only; for parts of cells use GET_STATE")

    async def _ask(self, to: Address, request: Request, kind: type[P], timeout: float) -> P:
        answer = await self._requester.request(to, request, timeout)
        assert isinstance(answer, kind)
        return answer

    # -- all masters ----------------------------------------------------------------------------------

    async def _health(self, timeout: float) -> HealthView:
        """Masters take requests in turn: ask until each has answered, or should have."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 0.8 * timeout
        cluster: ClusterView | None = None
        reports: dict[str, MasterReport] = {}
        try:
            cluster = await self._ask(operator_master(), GetCluster(), ClusterView, timeout / 2)
        except Unavailable as error:
            log.info("no view of the cluster: %s", error)  # the store may be away: a master can say that
        expected = len(cluster.masters) if cluster else 1
        for _ in range(2 * expected):
            left = deadline - loop.time()
            if len(reports) >= expected or (reports and left <= 0):
                break
            try:
                report = await self._ask(operator_master(), GetMasterHealth(), MasterReport, max(0.5, left))
            except TimedOut:
                if not reports:
                    raise TimedOut(f"no master answers within {timeout:g} s") from None
                break
            reports[report.master_id] = report
        return HealthView(
            masters=tuple(reports[name] for name in sorted(reports)), expected=max(expected, len(reports))
        )

    # -- all cells ------------------------------------------------------------------------------------

    async def _state(self, request: GetState, timeout: float) -> Part:
        ask = GetCell(
            parts=request.parts,
            task_id=request.task_id,
            framework_id=request.framework_id,
            agent_id=request.agent_id,
            limit=request.limit,
        )
        views, missing = await self._ask_cells(ask, CellView, timeout)
        return merge(views, missing)

    async def _ask_cells(self, request: Request, kind: type[P], timeout: float) -> tuple[list[P], list[MissingCell]]:
        """The answers of all cells that gave one. Raises Unavailable when none did."""
        loop = asyncio.get_running_loop()
        # Leave some of the time, so that a silent cell costs its own part of the answer only.
        deadline = loop.time() + 0.8 * timeout
        if self._cells is None:
            hello = await self._ask(operator_master(), Hello(), HelloAnswer, timeout)
            self._cells = hello.cells
        answers = await asyncio.gather(*(self._ask_cell(cell, request, kind, deadline) for cell in range(self._cells)))
        missing = [each for each in answers if isinstance(each, MissingCell)]
        if missing:
            self._cells = None  # the cluster may have been made ignore_filters, with another number of cells
        if len(missing) == len(answers):
            reason = missing[0].reason if missing else "there are none"
            raise Unavailable(f"no cell answers: {reason}; see `bmesos status`")
        return [each for each in answers if not isinstance(each, MissingCell)], missing

    async def _ask_cell(self, cell: int, request: Request, kind: type[P], deadline: float) -> P | MissingCell:
        loop = asyncio.get_running_loop()
        patience = min(loop.time() + _HANDOVER, deadline)
        pause = 0.05
        while True:
            left = max(0.05, deadline - loop.time())
            try:
                return await self._ask(operator_cell(cell), request, kind, left)
            except TimedOut:
                return MissingCell(cell=cell, reason="its owner did not answer in time")
            except Unavailable as error:
                if loop.time() + pause >= patience:
                    return MissingCell(cell=cell, reason=str(error))
            except BrokerMesosError as error:
                return MissingCell(cell=cell, reason=str(error))
            await self._sleep(pause)
            pause = min(2 * pause, 0.4)

    # -- kill -----------------------------------------------------------------------------------------

    async def _kill(self, request: KillById, timeout: float) -> Killed:
        batch_away: Unavailable | None = None
        try:
            return await self._kill_job(request.id, timeout)
        except NotFound:
            pass
        except Unavailable as error:
            batch_away = error
        known, missing = await self._kill_task(KillTask(task_id=request.id), timeout)
        if known:
            return Killed(kind="task")
        if batch_away is not None:
            raise batch_away
        if missing:
            raise Unavailable(_partly(request.id, missing))
        raise NotFound(f"no job or task {request.id}; `bmesos status` and `bmesos tasks` list them")

    async def _kill_job(self, ident: str, timeout: float) -> Killed:
        if len(ident) <= 128:  # as long as a job's id may be
            try:
                return Killed(kind="job", job=await self._ask(BATCH, KillJob(job_id=ident), JobSummary, timeout))
            except NotFound:
                pass
        task = await self._ask(BATCH, GetTask(task_id=ident), JobTask, timeout)
        if task.task_id != ident and not task.task_id.startswith(f"{ident}."):
            raise NotFound(f"task {ident} has ended; the latest attempt is {task.task_id}")
        for job_id, index in _split(ident):
            if index == task.index:
                kill = KillJob(job_id=job_id, index=index)
                return Killed(kind="task", job=await self._ask(BATCH, kill, JobSummary, timeout))
        raise NotFound(f"no job or task {ident}")

    async def _kill_task(self, request: KillTask, timeout: float) -> tuple[bool, list[MissingCell]]:
        answers, missing = await self._ask_cells(request, KillTaskAnswer, timeout)
        return any(answer.known for answer in answers), missing

    async def _mark_gone(self, request: MarkAgentGone, timeout: float) -> AgentGone:
        answers, missing = await self._ask_cells(request, AgentGone, timeout)
        for answer in answers:
            if answer.known:
                return answer
        if missing:
            raise Unavailable(_partly(f"agent {request.agent_id}", missing))
        raise NotFound(f"no agent {request.agent_id}; `bmesos agents` lists them")

    async def _hold(self, request: ReservationRequest, timeout: float) -> Part:
        """The agent's cell alone answers, which may just pass from one master to another."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + _HANDOVER
        if self._cells is None:
            hello = await self._ask(operator_master(), Hello(), HelloAnswer, timeout)
            self._cells = hello.cells
        cell = cell_of(request.agent_id, self._cells)
        while True:
            try:
                return await self._requester.request(operator_cell(cell), request, timeout)
            except TimedOut:
                raise
            except Unavailable as error:
                if loop.time() > patience:
                    self._cells = None
                    raise Unavailable(f"cell {cell} of agent {request.agent_id}: {error}") from None
            await self._sleep(0.1)

    # -- maintenance ----------------------------------------------------------------------------------

    async def _maintain(self, request: AgentsRequest, timeout: float) -> MaintenanceView:
        """All of the agents or none: first it is seen whether there are such agents."""
        if isinstance(request, ScheduleMaintenance):
            _check_not_over(request, time.time())
        if request.agent_ids and not isinstance(request, GetMaintenance):
            await self._maintain(GetMaintenance(agent_ids=request.agent_ids), timeout)
        answers, missing = await self._ask_cells(request, MaintenanceView, timeout)
        found = sorted((each for view in answers for each in view.agents), key=lambda each: each.agent_id)
        unknown = sorted(set(request.agent_ids) - {each.agent_id for each in found})
        if unknown and missing:
            raise Unavailable(_partly(f"agent {unknown[0]}", missing))
        if unknown:
            raise NotFound(f"no agent {', '.join(unknown[:10])}; `bmesos agents` lists them")
        return MaintenanceView(agents=tuple(found), missing=tuple(each.cell for each in missing))

    # -- logs -----------------------------------------------------------------------------------------

    async def _read_log(self, request: ReadLog, timeout: float) -> LogChunk:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait
        pause = 0.02
        while True:
            left = max(0.0, deadline - loop.time())
            place = await self._locate(request.task_id, timeout)
            if place.agent_id:
                chunk = await self._read_file(place, request, left, timeout)
                if chunk is not None:
                    return chunk
            elif place.ended:
                return LogChunk(task_id=place.task_id, ended=True)
            if left <= pause:
                return LogChunk(task_id=place.task_id, agent_id=place.agent_id, offset=request.offset)
            await self._sleep(pause)
            pause = min(2 * pause, 0.25)

    async def _read_file(self, place: _Place, request: ReadLog, wait: float, timeout: float) -> LogChunk | None:
        """None: the agent does not know the task yet."""
        read = ReadFile(
            task_id=place.task_id, name=request.name, offset=request.offset, length=request.length, wait=wait
        )
        try:
            chunk = await self._ask(operator_agent(place.agent_id), read, FileChunk, wait + timeout)
        except NotFound as error:
            self._located.pop(place.task_id, None)
            if place.ended:
                raise NotFound(f"the output of {place.task_id} is gone: {error}") from None
            return None
        except TimedOut:
            raise TimedOut(f"agent {place.agent_id}, which has the output of {place.task_id}, is silent") from None
        except Unavailable as error:
            self._located.pop(place.task_id, None)
            raise Unavailable(f"the output of {place.task_id} is on agent {place.agent_id}: {error}") from None
        return LogChunk(
            task_id=place.task_id,
            agent_id=place.agent_id,
            data=chunk.data,
            offset=chunk.offset,
            size=chunk.size,
            ended=chunk.ended,
        )

    async def _locate(self, task_id: str, timeout: float) -> _Place:
        agent_id = self._located.get(task_id)
        if agent_id is not None:
            self._located.move_to_end(task_id)
            return _Place(task_id, agent_id, ended=False)
        batch_away: Unavailable | None = None
        try:
            task = await self._ask(BATCH, GetTask(task_id=task_id), JobTask, timeout)
        except NotFound:
            pass
        except Unavailable as error:
            batch_away = error
        else:
            return self._remember(_Place(task.task_id, task.agent_id, task.state in _ENDED))
        ask = GetCell(parts=("tasks",), task_id=task_id, limit=1)
        views, missing = await self._ask_cells(ask, CellView, timeout)
        for view in views:
            for each in view.tasks:
                return self._remember(_Place(each.task_id, each.agent_id, each.state.terminal))
        if batch_away is not None:
            raise batch_away
        if missing:
            raise Unavailable(_partly(f"task {task_id}", missing))
        raise NotFound(f"no task {task_id}; `bmesos tasks` lists them")

    def _remember(self, place: _Place) -> _Place:
        # Not what has ended: once forgotten by its agent, the error should say that it is over.
        if place.agent_id and not place.ended:
            self._located[place.task_id] = place.agent_id
            if len(self._located) > _LOCATED:
                self._located.popitem(last=False)
        return place


def _check_not_over(request: ScheduleMaintenance, now: float) -> None:
    if request.duration is not None and request.start + request.duration <= now:
        raise InvalidInput("this absence is over already; give a later start, or a longer duration")


def _split(task_id: str) -> list[tuple[str, int]]:
    """Job id and index that a task id may be made of: ``JOB.INDEX.LAUNCH`` or ``JOB.INDEX``."""
    parts = task_id.split(".")
    return [
        (".".join(parts[:-count]), int(parts[-count]))
        for count in (2, 1)
        if len(parts) > count and parts[-count].isdecimal()
    ]


def _partly(what: str, missing: list[MissingCell]) -> str:
    cells = ", ".join(str(each.cell) for each in missing)
    return f"{what} is not known to the cells that answer, and cells {cells} do not; try again in a moment"
