"""Exec sessions on behalf of a gateway: finds the task, and passes requests on to its agent."""

from __future__ import annotations

import time

from broker_mesos.bus.current_caller import current
from broker_mesos.core.api.cells import CellView, GetCell
from broker_mesos.core.api.exec import AgentExec, ExecState, PassExec, StartExec, UseExec
from broker_mesos.core.api.jobs import GetJob, GetTask, JobSummary, JobTask, JobView
from broker_mesos.core.api.whoami import Identity, WhoAmI
from broker_mesos.core.protocol.addresses import operator_agent, operator_master
from broker_mesos.errors import BusUnavailable, Conflict, InvalidInput, NotFound, TimedOut, Unavailable
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls, not_all_cells

MAX_CHOICES = 5
"""The most tasks that are named where a job has several."""
_MAX_JOB_ID = 128
UNKNOWN = "unknown message type"
"""The beginning of the answer of a daemon that does not know a request."""


class ExecGateway:
    """Answers START_EXEC and USE_EXEC. ``of_person`` says that the gateway is in the process of a person: where rights
    are checked, agents do not answer that, and a master passes its requests on."""

    def __init__(self, calls: Calls, of_person: bool) -> None:
        self._calls = calls
        self._direct: bool | None = None if of_person else True

    async def start(self, request: StartExec, timeout: float) -> ExecState:
        """Start a session. Raises NotFound for an unknown task, Conflict for one that does not run, Unavailable for an
        agent that does not answer or is of an earlier release."""
        task_id, agent_id = await self._find(request.task_id, timeout)
        return await self._send(agent_id, request.model_copy(update={"task_id": task_id}), None, timeout)

    async def use(self, request: UseExec, timeout: float) -> ExecState:
        """Exchange input and output with a session."""
        return await self._send(request.agent_id, None, request, timeout + request.wait)

    async def _send(self, agent_id: str, start: StartExec | None, use: UseExec | None, timeout: float) -> ExecState:
        if self._direct is None:
            self._direct = not (await self._calls.request(operator_master(), WhoAmI(), Identity, timeout)).checked
        try:
            if not self._direct:
                passed = PassExec(agent_id=agent_id, start=start, use=use)
                return await self._calls.request(operator_master(), passed, ExecState, timeout)
            request = AgentExec.of(current(), start, use)
            return await self._calls.request(operator_agent(agent_id), request, ExecState, timeout)
        except TimedOut:
            raise TimedOut(f"agent {agent_id} does not answer") from None
        except BusUnavailable:
            raise
        except Unavailable as error:
            raise Unavailable(f"agent {agent_id}: {error}") from None
        except InvalidInput as error:
            # What an error is travels as its code, which a wrong command has as well.
            if not str(error).startswith(UNKNOWN):
                raise
            raise Unavailable(f"agent {agent_id}, or a master, is of an earlier release, without exec") from None

    async def _find(self, ident: str, timeout: float) -> tuple[str, str]:
        """The id of a task that runs, and of its agent."""
        jobs_away: Unavailable | None = None
        try:
            return await self._task_of_job(ident, timeout)
        except NotFound:
            pass
        except Unavailable as error:
            jobs_away = error
        views, missing = await self._calls.all_cells(
            GetCell(parts=("tasks",), task_id=ident, limit=1), CellView, timeout
        )
        for view in views:
            for task in view.tasks:
                if task.state.terminal or not task.agent_id:
                    at = 0.0 if task.status is None else task.status.timestamp
                    raise _not_running(ident, task.state.short, at)
                return task.task_id, task.agent_id
        if jobs_away is not None:
            raise jobs_away
        if missing:
            raise not_all_cells(f"task {ident}", missing)
        raise NotFound(f"no job or task {ident}; `bmesos status` and `bmesos tasks` list them")

    async def _task_of_job(self, ident: str, timeout: float) -> tuple[str, str]:
        if len(ident) <= _MAX_JOB_ID:
            try:
                return _only(ident, *await self._running(ident, timeout))
            except NotFound:
                pass
        task = await self._calls.request(JOBS_FRAMEWORK, GetTask(task_id=ident), JobTask, timeout)
        if task.task_id != ident and not task.task_id.startswith(f"{ident}."):
            raise NotFound(f"task {ident} has ended; the latest attempt is {task.task_id}")
        if task.state != "running" or not task.agent_id:
            raise _not_running(task.task_id, task.state, task.ended_at or task.started_at or 0.0, task.message)
        return task.task_id, task.agent_id

    async def _running(self, job_id: str, timeout: float) -> tuple[JobSummary, list[JobTask]]:
        """A job, and its first running tasks. A page of them may be short although there are more."""
        found: list[JobTask] = []
        offset: int | None = 0
        while True:
            ask = GetJob(job_id=job_id, states=("running",), limit=MAX_CHOICES + 1, offset=offset or 0)
            view = await self._calls.request(JOBS_FRAMEWORK, ask, JobView, timeout)
            found += view.tasks
            offset = view.more
            if offset is None or len(found) > MAX_CHOICES:
                return view.summary, found


def _only(job_id: str, summary: JobSummary, tasks: list[JobTask]) -> tuple[str, str]:
    """The one task of a job that runs. Raises Conflict if none or several do."""
    if not tasks:
        at = summary.ended_at or summary.submitted_at
        raise _not_running(job_id, summary.state, at, summary.reason or summary.waiting, what="job")
    if len(tasks) > 1:
        named = ", ".join(f"{job_id}.{task.index}" for task in tasks[:MAX_CHOICES])
        more = ", …" if len(tasks) > MAX_CHOICES else ""
        raise Conflict(f"job {job_id} has several running tasks: name one of {named}{more}")
    return tasks[0].task_id, tasks[0].agent_id


def _not_running(ident: str, state: str, at: float, message: str = "", what: str = "task") -> Conflict:
    since = f" since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))}" if at else ""
    return Conflict(f"{what} {ident} does not run: it is {state}{since}{f' ({message[:200]})' if message else ''}")
