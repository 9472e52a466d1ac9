"""Explains why a job, task or framework waits, and whether a job would run: from the framework first, then from all
cells."""

from __future__ import annotations

from collections.abc import Sequence

from broker_mesos.core.api.cells import CellView, FrameworkView, GetCell
from broker_mesos.core.api.explain import Explain, Explanation, GetPlacement, Placement, PlanJob
from broker_mesos.core.api.explain_reasons import change, reason, shape_of
from broker_mesos.core.api.jobs import GetJob, GetTask, JobTask, JobView
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import ANYBODY
from broker_mesos.core.protocol.records import FrameworkStatus
from broker_mesos.errors import NotFound, Unavailable
from broker_mesos.frameworks.registry import JOBS
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls

MAX_SHAPES = 10
"""Maximum number of shapes of a framework's demand that one answer explains."""


class Explainer:
    """Sends the requests of an explanation, on behalf of a gateway."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def plan(self, request: PlanJob, timeout: float) -> Explanation:
        """Explain whether a job would run. Raises Unavailable when no cell answers."""
        shape = shape_of(request.spec).model_copy(update={"count": request.spec.total})
        subject = f"a job of {request.spec.total} x {shape.whole if request.spec.ports else shape.resources}"
        if request.spec.role != ANYBODY:
            subject += f" in role {request.spec.role}"
        plan = await self._explanation(subject, JOBS.name, (shape,), request.limit, timeout, ignore_filters=True)
        return _whole(plan, request.spec.total)

    async def explain(self, request: Explain, timeout: float) -> Explanation:
        """Explain why something waits. Raises NotFound for an unknown id, Unavailable when no daemon answers."""
        away: Unavailable | None = None
        try:
            return await self._of_job_or_task(request, timeout)
        except NotFound:
            pass
        except Unavailable as error:
            away = error
        found = await self._of_framework(request, timeout)
        if found is not None:
            return found
        if away is not None:
            raise away
        raise NotFound(
            f"no job, task or framework {request.id}; `bmesos status`, `bmesos tasks` and `bmesos frameworks` list them"
        )

    async def _of_job_or_task(self, request: Explain, timeout: float) -> Explanation:
        if len(request.id) <= 128:
            try:
                view = await self._calls.request(JOBS_FRAMEWORK, GetJob(job_id=request.id, limit=0), JobView, timeout)
                return await self._of_view(view, request.limit, timeout)
            except NotFound:
                pass
        task = await self._calls.request(JOBS_FRAMEWORK, GetTask(task_id=request.id), JobTask, timeout)
        subject = f"task {task.task_id}"
        if task.state != "pending":
            where = f" on {task.hostname or task.agent_id}" if task.agent_id else ""
            return Explanation(subject=subject, reason=f"it does not wait: it is {task.state}{where}")
        view = await self._calls.request(JOBS_FRAMEWORK, GetJob(job_id=task.job_id, limit=0), JobView, timeout)
        return await self._of_job(subject, task.job_id, view.spec, request.limit, timeout)

    async def _of_view(self, view: JobView, limit: int, timeout: float) -> Explanation:
        summary = view.summary
        subject = f"job {summary.job_id}"
        if summary.ended_at is not None:
            return Explanation(subject=subject, reason=f"it does not wait: it is {summary.state}")
        if not summary.counts["pending"]:
            text = summary.waiting or f"{summary.counts['running']} of its tasks run, none waits"
            return Explanation(subject=subject, reason=text)
        if summary.waits_for:
            return Explanation(subject=subject, reason=summary.waiting)
        if view.spec.max_running and summary.counts["running"] >= view.spec.max_running:
            text = f"{summary.counts['running']} of its tasks run, as many as its array lets run at a time"
            return Explanation(subject=subject, reason=text)
        found = await self._of_job(subject, summary.job_id, view.spec, limit, timeout)
        if summary.picky is None:
            return found
        # The cells report on agents of every kind, which is what the job waits for after its preferred ones.
        return found.model_copy(update={"reason": summary.waiting, "change": "", "would_run": False})

    async def _of_job(self, subject: str, job_id: str, spec: JobSpec, limit: int, timeout: float) -> Explanation:
        shape = shape_of(spec, job_id=job_id)
        return await self._explanation(subject, JOBS.name, (shape,), limit, timeout)

    async def _explanation(
        self,
        subject: str,
        framework_id: str,
        shapes: Sequence[Shape],
        limit: int,
        timeout: float,
        *,
        ignore_filters: bool = False,
    ) -> Explanation:
        placements: list[tuple[Placement, ...]] = []
        missing: set[int] = set()
        for shape in shapes:
            ask = GetPlacement(framework_id=framework_id, shape=shape, ignore_filters=ignore_filters, limit=limit)
            found, silent = await self._calls.all_cells(ask, Placement, timeout)
            placements.append(tuple(_marked(each) for each in found))
            missing.update(each.cell for each in silent)
        # Of several shapes the first one that cannot run is explained.
        chosen = next((at for at, each in enumerate(placements) if not any(p.would_run for p in each)), 0)
        return Explanation(
            subject=subject,
            reason=reason(shapes[chosen], placements[chosen]),
            change=change(shapes[chosen], placements[chosen]),
            would_run=all(any(each.would_run for each in some) for some in placements),
            shapes=tuple(shapes),
            placements=tuple(placements),
            missing=tuple(sorted(missing)),
        )

    async def _of_framework(self, request: Explain, timeout: float) -> Explanation | None:
        if len(request.id) > 128:
            return None
        ask = GetCell(parts=("frameworks",), framework_id=request.id, limit=1)
        views, _ = await self._calls.all_cells(ask, CellView, timeout)
        known = [framework for view in views for framework in view.frameworks]
        if not known:
            return None
        subject = f"framework {request.id}"
        first = known[0]
        if not any(each.state is FrameworkStatus.SUBSCRIBED for each in known):
            return Explanation(subject=subject, reason=f"it gets no offers: it is {first.state.value}")
        if not any(each.wanted for each in known):
            return Explanation(subject=subject, reason="it wants no offers now (SUPPRESS)")
        shapes = first.shapes[:MAX_SHAPES] if first.shapes is not None else _least(first)
        if not shapes:
            return Explanation(subject=subject, reason="its demand is met: no task of it waits")
        return await self._explanation(subject, request.id, shapes, request.limit, timeout)


def _marked(placement: Placement) -> Placement:
    """The placement, marked as truncated if its cell lists only the nearest agents, which counts all of them
    nevertheless."""
    cut = sum(placement.counts.values()) > len(placement.agents)
    return placement.model_copy(update={"truncated": True}) if cut else placement


def _whole(found: Explanation, total: int) -> Explanation:
    """The explanation for a whole job, which runs only when all of its tasks fit."""
    fits = sum(each.fits for some in found.placements for each in some)
    if not found.would_run or fits >= total:
        return found
    text = f"{fits} of its {total} tasks would begin now, the others would wait for them"
    return found.model_copy(update={"would_run": False, "reason": text})


def _least(framework: FrameworkView) -> tuple[Shape, ...]:
    """The smallest shapes, one for each role, for a framework whose demand has no shapes: they show whether it would
    receive any offer."""
    return tuple(Shape(resources=Resources.parse("cpus:0.01"), role=role) for role in framework.roles)
