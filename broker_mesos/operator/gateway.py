"""The gateway: it receives one request of a user, sends the needed requests over the bus, and returns one answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from pydantic_core import PydanticSerializationError

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.agent_table import GetAgents
from broker_mesos.core.api.agents import MarkAgentGone
from broker_mesos.core.api.cells import CellView, GetCell, KillTask
from broker_mesos.core.api.cluster import ClusterView, GetCluster
from broker_mesos.core.api.doctor import DoctorReport, GetDoctor
from broker_mesos.core.api.enrolment import AgentForgotten, RevokeAgent
from broker_mesos.core.api.exec import StartExec, UseExec
from broker_mesos.core.api.explain import Explain, PlanJob
from broker_mesos.core.api.files import FolderView, ListFiles, ListSandbox, ReadLog, ReadSandboxFile
from broker_mesos.core.api.findings import Finding, worst
from broker_mesos.core.api.frameworks import ReadmitFramework, TearDownFramework
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.health import DaemonReport, GetHealth, GetMasterHealth, HealthView, MasterReport
from broker_mesos.core.api.jobs import KillById
from broker_mesos.core.api.maintenance import (
    AgentsRequest,
    GetMaintenance,
    MaintenanceView,
    ScheduleMaintenance,
)
from broker_mesos.core.api.overview import GetOverview
from broker_mesos.core.api.paging import decode
from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.api.search import Search
from broker_mesos.core.api.state import GetState, StateView
from broker_mesos.core.api.story import GetStory, StoryView
from broker_mesos.core.api.usage import GetUsage
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import operator_agent, operator_enroll, operator_framework, operator_master
from broker_mesos.errors import BrokerMesosError, InvalidInput, NotFound, TimedOut, Unavailable
from broker_mesos.frameworks.registry import framework_for
from broker_mesos.operator.agent_tables import AgentTables
from broker_mesos.operator.calls import Calls, not_all_cells
from broker_mesos.operator.daemon_reports import enrolment_report, worker_reports
from broker_mesos.operator.doctor import find_problems
from broker_mesos.operator.exec_sessions import ExecGateway
from broker_mesos.operator.explain import Explainer
from broker_mesos.operator.frameworks import readmit, tear_down
from broker_mesos.operator.json_requests import answered_within, not_utf8
from broker_mesos.operator.kill import Killer
from broker_mesos.operator.merge import merge
from broker_mesos.operator.overview import get_overview
from broker_mesos.operator.search import search
from broker_mesos.operator.task_logs import TaskLogs, TaskPlace
from broker_mesos.operator.task_usage import get_usage

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
"""Timeout for an answer, in seconds, beyond the time that the request itself allows to wait."""


class OperatorApi(Protocol):
    """The interface of the gateway, in this process or behind HTTP."""

    async def handle(self, request: Request, timeout: float = TIMEOUT_SECONDS) -> Part:
        """Answer a request. Raises the errors of ``broker_mesos.errors``."""
        ...


class Gateway:
    """Answers the requests of users over a bus. ``sleep`` is that of the clock; ``of_person`` says whether the process
    is that of a person, whose requests some daemons do not answer.

    A request is sent to the destination that its class declares. Requests whose answer is combined from the answers
    to other requests have a handler here.
    """

    def __init__(
        self,
        requester: Requester,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        own_report: Callable[[], DaemonReport] | None = None,
        *,
        of_person: bool = False,
    ) -> None:
        """``own_report`` makes the report of the daemon that this gateway is in; None if it is in none."""
        self._requester = requester
        self._own_report = own_report
        self._calls = calls = Calls(requester, sleep)
        self._killer = Killer(calls)
        self._logs = TaskLogs(requester, self.find_task, sleep)
        self._explainer = Explainer(calls)
        self._tables = AgentTables(calls)
        self._execs = ExecGateway(calls, of_person)

    def handlers(self, timeout: float) -> Handlers:
        """The handlers of requests whose answer the gateway combines. ``timeout`` applies to each request, in
        seconds."""
        calls = self._calls
        found = Handlers("the gateway")
        found.add(GetHealth, lambda request: self._health(timeout))
        found.add(GetState, lambda request: self._state(request, timeout))
        found.add(GetAgents, lambda request: self._tables.answer(request, timeout))
        found.add(GetOverview, lambda request: get_overview(calls, timeout))
        found.add(GetStory, lambda request: self._story(request, timeout))
        found.add(KillTask, lambda request: self._killer.task(request, timeout))
        found.add(KillById, lambda request: self._killer.by_id(request, timeout))
        found.add(TearDownFramework, lambda request: tear_down(calls, request, timeout))
        found.add(ReadmitFramework, lambda request: readmit(calls, request, timeout))
        found.add(MarkAgentGone, lambda request: self._gone(request, timeout))
        found.add(AgentsRequest, lambda request: self._maintain(request, timeout))
        found.add(Explain, lambda request: self._explainer.explain(request, timeout))
        found.add(PlanJob, lambda request: self._explainer.plan(request, timeout))
        found.add(GetUsage, lambda request: get_usage(self._calls, request, timeout))
        found.add(ReadLog, lambda request: self._read_log(request, timeout))
        found.add(StartExec, lambda request: self._execs.start(request, timeout))
        found.add(UseExec, lambda request: self._execs.use(request, timeout))
        found.add(ReadSandboxFile, lambda request: self._read_log(request, timeout))
        found.add(ListFiles, lambda request: self._list_files(request, timeout))
        found.add(GetDoctor, lambda request: self._doctor(timeout))
        found.add(Search, lambda request: search(calls, request, timeout))
        return found

    async def handle(self, request: Request, timeout: float = TIMEOUT_SECONDS) -> Part:
        """Answer a request with an instance of its ``ANSWER``.

        Raises the error that a daemon answers with; TimedOut after ``timeout`` seconds beyond the time that the
        request allows to wait; Unavailable when no daemon consumes the destination; InvalidInput for a request that
        is not for users.
        """
        if not request.FOR_USERS:
            raise InvalidInput(f"{request.TYPE} is sent within the cluster only; for parts of cells send GET_STATE")
        _check_text(request)
        limit = timeout + request.wait_seconds
        async with answered_within(limit, request.TYPE, self._requester):
            return await self._dispatch(request, timeout)

    async def _dispatch(self, request: Request, timeout: float) -> Part:
        match request.ROUTE:
            case Route.MASTER:
                return await self._requester.request(operator_master(), request, timeout + request.wait_seconds)
            case Route.FRAMEWORK:
                framework = framework_for(request.TYPE)
                assert framework is not None, request.TYPE
                to = operator_framework(framework.name)
                return await self._requester.request(to, request, timeout + request.wait_seconds)
            case Route.ENROLL:
                return await self._enroll(request, timeout)
            case Route.CELL if not isinstance(request, MarkAgentGone):
                agent_id: str = request.agent_id  # type: ignore[attr-defined]  # a test checks that it has one
                return await self._calls.cell_of_agent(agent_id, request, timeout)
        return await self.handlers(timeout).answer(request)

    # -- all masters ----------------------------------------------------------------------------------

    async def _health(self, timeout: float) -> HealthView:
        """The reports of all daemons. Those that are no masters have less time, and may be missing."""
        view, workers, enrolment = await asyncio.gather(
            self._masters(timeout),
            worker_reports(self._calls, 0.4 * timeout),
            enrolment_report(self._calls, 0.4 * timeout),
        )
        daemons = workers if enrolment is None else [*workers, enrolment.daemon]
        if self._own_report is not None:
            daemons.append(self._own_report())
        enrolled = () if enrolment is None else enrolment.agent_ids
        return view.model_copy(update={"daemons": tuple(daemons), "enrolled": enrolled})

    async def _masters(self, timeout: float) -> HealthView:
        """The reports of all masters. The masters take requests in turn, so requests are sent until each has answered
        or should have."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 0.8 * timeout
        cluster: ClusterView | None = None
        reports: dict[str, MasterReport] = {}
        try:
            cluster = await self._calls.request(operator_master(), GetCluster(), ClusterView, timeout / 2)
        except Unavailable as error:
            log.info("no view of the cluster: %s", error)  # the store may be away, which a master can report
        expected = len(cluster.masters) if cluster else 1
        for _ in range(2 * expected):
            left = deadline - loop.time()
            if len(reports) >= expected or (reports and left <= 0):
                break
            try:
                report = await self._calls.request(operator_master(), GetMasterHealth(), MasterReport, max(0.5, left))
            except TimedOut:
                if not reports:
                    raise TimedOut(f"no master answers within {timeout:g} s") from None
                break
            reports[report.master_id] = report
        return HealthView(
            masters=tuple(reports[name] for name in sorted(reports)), expected=max(expected, len(reports))
        )

    # -- the enrolment server --------------------------------------------------------------------------

    async def _enroll(self, request: Request, timeout: float) -> Part:
        try:
            return await self._requester.request(operator_enroll(), request, timeout)
        except TimedOut:
            raise
        except Unavailable as error:
            raise Unavailable(f"the enrolment server (`bmesos enroll-server`): {error}") from None

    # -- one cell -------------------------------------------------------------------------------------

    async def _gone(self, request: MarkAgentGone, timeout: float) -> Part:
        """Mark an agent as gone, and have its user on the broker deleted if there is an enrolment server. An agent that
        runs registers again at once, so it is marked once more when it cannot."""
        answer = await self._calls.cell_of_agent(request.agent_id, request, timeout)
        try:
            revoke = RevokeAgent(agent_id=request.agent_id)
            revoked = await self._calls.request(operator_enroll(), revoke, AgentForgotten, timeout / 2)
        except Unavailable as error:
            log.info("the user of %s on the broker is not deleted now: %s", request.agent_id, error)
        except BrokerMesosError as error:
            log.warning("the user of %s on the broker is not deleted: %s", request.agent_id, error)
        else:
            if revoked.existed:
                await self._calls.cell_of_agent(request.agent_id, request, timeout)
                return answer.model_copy(update={"revoked": True})
        return answer

    # -- output ---------------------------------------------------------------------------------------

    async def _read_log(self, request: ReadLog | ReadSandboxFile, timeout: float) -> Part:
        return request.answer(await self._logs.read(request.model_dump(mode="json"), timeout))

    async def _list_files(self, request: ListFiles, timeout: float) -> FolderView:
        place = await self._logs.locate(request.task_id, timeout)
        if not place.agent_id:
            raise NotFound(f"task {place.task_id} has no sandbox: it was not launched")
        ask = ListSandbox(task_id=place.task_id, **request.model_dump(exclude={"task_id"}))
        found = await self._calls.request(operator_agent(place.agent_id), ask, FolderView, timeout)
        return found.model_copy(update={"task_id": place.task_id, "agent_id": place.agent_id})

    async def find_task(self, task_id: str, timeout: float) -> TaskPlace | None:
        """Where a task of any framework runs, by the cells; None if none knows it. Raises Unavailable if some do not
        answer, and the others do not know it."""
        ask = GetCell(parts=("tasks",), task_id=task_id, limit=1)
        views, missing = await self._calls.all_cells(ask, CellView, timeout)
        for view in views:
            for each in view.tasks:
                return TaskPlace(each.task_id, each.agent_id, each.state.terminal)
        if missing:
            raise not_all_cells(f"task {task_id}", missing)
        return None

    async def _doctor(self, timeout: float) -> DoctorReport:
        """What the doctor finds in the reports of the daemons. One that does not answer is a finding itself."""
        before = time.time()
        health = await self._health(timeout)
        clock = before, time.time()
        findings = [Finding(level="ok", subject="operator API", found=f"answers within {clock[1] - before:.2f} s")]
        cluster: ClusterView | None = None
        state: StateView | None = None
        try:
            cluster = await self._calls.request(operator_master(), GetCluster(), ClusterView, timeout)
            found = await self._state(GetState(parts=("agents", "frameworks"), limit=2_000), timeout)
            state = found if isinstance(found, StateView) else None
        except BrokerMesosError as error:
            text = "see what follows"
            findings.append(Finding(level="error", subject="operator API", found=str(error), advice=text))
        findings += find_problems(health, cluster, state, clock)
        return DoctorReport(worst=worst(findings), findings=tuple(findings))

    # -- all cells ------------------------------------------------------------------------------------

    async def _state(self, request: GetState, timeout: float) -> Part:
        decode(request.parts, request.after)  # an invalid cursor is refused here, once
        ask = GetCell(**request.model_dump())
        views, missing = await self._calls.all_cells(ask, CellView, timeout)
        return merge(views, missing, request)

    async def _story(self, request: GetStory, timeout: float) -> StoryView:
        answers, missing = await self._calls.all_cells(request, StoryView, timeout)
        found = sorted((each for answer in answers for each in answer.decisions), key=lambda each: each.at)
        if not found and missing:
            raise not_all_cells(request.id, missing)
        if not found:
            raise NotFound(
                f"no decision about {request.id} is remembered: an owner of a cell has those of its own term, and "
                "only the latest; the id must be that of a task, an agent, a framework or an offer"
            )
        return StoryView(
            decisions=tuple(found[-request.limit :]),
            since=max((answer.since for answer in answers if answer.since is not None), default=None),
            missing=tuple(each.cell for each in missing),
        )

    async def _maintain(self, request: AgentsRequest, timeout: float) -> MaintenanceView:
        """Schedule or end maintenance of all these agents, or of none: first it is checked that all of them exist."""
        if isinstance(request, ScheduleMaintenance):
            _check_not_over(request, time.time())
        if request.agent_ids and not isinstance(request, GetMaintenance):
            await self._maintain(GetMaintenance(agent_ids=request.agent_ids), timeout)
        answers, missing = await self._calls.all_cells(request, MaintenanceView, timeout)
        found = sorted((each for view in answers for each in view.agents), key=lambda each: each.agent_id)
        unknown = sorted(set(request.agent_ids) - {each.agent_id for each in found})
        if unknown and missing:
            raise not_all_cells(f"agent {unknown[0]}", missing)
        if unknown:
            raise NotFound(f"no agent {', '.join(unknown[:10])}; `bmesos agents` lists them")
        return MaintenanceView(agents=tuple(found), missing=tuple(each.cell for each in missing))


def _check_text(request: Request) -> None:
    try:
        request.encode()
    except (PydanticSerializationError, UnicodeError):
        raise not_utf8(request.TYPE) from None


def _check_not_over(request: ScheduleMaintenance, now: float) -> None:
    if request.duration is not None and request.start + request.duration <= now:
        raise InvalidInput("this absence is over already; give a later start, or a longer duration")
