"""Kills by an id, which may be that of a job, of a task of a job, or of any other task."""

from __future__ import annotations

from collections.abc import Sequence

from broker_mesos.core.api.cells import KillTask, KillTaskAnswer
from broker_mesos.core.api.jobs import GetJob, GetTask, JobSummary, JobTask, JobView, KillById, Killed, KillJob
from broker_mesos.core.api.state import MissingCell
from broker_mesos.errors import BrokerMesosError, NotFound, Unavailable
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls, not_all_cells

MAX_UNREACHABLE = 100
"""Maximum number of tasks of which the unreachable agents are reported."""
UNREACHABLE_TIMEOUT_SECONDS = 1.0
"""Maximum time that the answer to a kill waits for the list of unreachable agents, in seconds."""


class Killer:
    """Sends kills on behalf of a gateway."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def by_id(self, request: KillById, timeout: float) -> Killed:
        """Kill by id: send the request to the framework of the jobs first, then to the cells. Raises NotFound for an
        unknown id."""
        jobs_away: Unavailable | None = None
        try:
            return await self._with_unreachable(await self._job(request.id, timeout), timeout)
        except NotFound:
            pass
        except Unavailable as error:
            jobs_away = error
        found, missing = await self._in_cells(KillTask(task_id=request.id), timeout)
        if found is not None:
            away = (found.unreachable,) if found.unreachable else ()
            return Killed(kind="task", unreachable=away, note=_note(away))
        if jobs_away is not None:
            raise jobs_away
        if missing:
            raise not_all_cells(request.id, missing)
        raise NotFound(f"no job or task {request.id}; `bmesos status` and `bmesos tasks` list them")

    async def task(self, request: KillTask, timeout: float) -> KillTaskAnswer:
        """Kill a task. Raises Unavailable if no cell knows the task while some cells do not answer."""
        found, missing = await self._in_cells(request, timeout)
        if found is None and missing:
            raise not_all_cells(f"task {request.task_id}", missing)
        return found or KillTaskAnswer(known=False)

    async def _job(self, ident: str, timeout: float) -> Killed:
        if len(ident) <= 128:  # the maximum length of a job's id
            try:
                job = await self._calls.request(JOBS_FRAMEWORK, KillJob(job_id=ident), JobSummary, timeout)
                return Killed(kind="job", job=job)
            except NotFound:
                pass
        task = await self._calls.request(JOBS_FRAMEWORK, GetTask(task_id=ident), JobTask, timeout)
        if task.task_id != ident and not task.task_id.startswith(f"{ident}."):
            raise NotFound(f"task {ident} has ended; the latest attempt is {task.task_id}")
        for job_id, index in _split(ident):
            if index == task.index:
                kill = KillJob(job_id=job_id, index=index)
                return Killed(kind="task", job=await self._calls.request(JOBS_FRAMEWORK, kill, JobSummary, timeout))
        raise NotFound(f"no job or task {ident}")

    async def _with_unreachable(self, killed: Killed, timeout: float) -> Killed:
        """Add the agents that cannot kill their tasks now. The kill itself is stored, even if this fails."""
        if killed.job is None or killed.job.ended_at is not None:
            return killed
        ask = GetJob(job_id=killed.job.job_id, states=("unreachable",), limit=MAX_UNREACHABLE)
        try:
            view = await self._calls.request(JOBS_FRAMEWORK, ask, JobView, min(timeout, UNREACHABLE_TIMEOUT_SECONDS))
        except BrokerMesosError:
            return killed
        away = tuple(sorted({task.agent_id for task in view.tasks if task.agent_id}))
        return killed.model_copy(update={"unreachable": away, "note": _note(away)})

    async def _in_cells(self, request: KillTask, timeout: float) -> tuple[KillTaskAnswer | None, list[MissingCell]]:
        answers, missing = await self._calls.all_cells(request, KillTaskAnswer, timeout)
        return next((answer for answer in answers if answer.known), None), missing


def _note(agents: Sequence[str]) -> str:
    """The reason why a kill has no effect yet."""
    if not agents:
        return ""
    which = f"agent {agents[0]} is" if len(agents) == 1 else f"agents {', '.join(agents[:5])} are"
    return (
        f"{which} unreachable: the tasks there end when it comes back, or once it is declared gone: "
        f"`bmesos agents gone {agents[0]}`"
    )


def _split(task_id: str) -> list[tuple[str, int]]:
    """Job id and index that a task id may be made of: ``JOB.INDEX.ATTEMPT`` or ``JOB.INDEX``."""
    parts = task_id.split(".")
    return [
        (".".join(parts[:-count]), int(parts[-count]))
        for count in (2, 1)
        if len(parts) > count and parts[-count].isdecimal()
    ]
