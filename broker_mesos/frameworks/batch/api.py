"""The batch framework's answers to operator requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from broker_mesos.bus.current_caller import current
from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellView, GetCell
from broker_mesos.core.api.explain import GetPlacement, Placement
from broker_mesos.core.api.explain_reasons import reason, shape_of, why_after, why_lost, why_picky
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.health import DaemonReport, GetWorkerHealth
from broker_mesos.core.api.jobs import (
    GetJob,
    GetJobs,
    GetTask,
    JobList,
    JobSummary,
    JobTaskDetails,
    JobView,
    KilledJobs,
    KillJob,
    KillJobs,
    RetryJob,
    SubmitJob,
    WaitJob,
)
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.timeline import GetTimeline, Timeline
from broker_mesos.core.api.waiting import GetUnmetShapes, GetWaitingJobs, UnmetShapes, WaitingJobs
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.task_user import constraint_of
from broker_mesos.core.protocol.addresses import operator_cell
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.errors import BrokerMesosError, NotFound
from broker_mesos.frameworks.batch.demand_publisher import DemandPublisher
from broker_mesos.frameworks.batch.job_feed import JobFeed, is_later
from broker_mesos.frameworks.batch.storage.records import FRAMEWORK_ID, WORK, JobRecord, Work, text_of
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.frameworks.batch.storage.timeline import timeline
from broker_mesos.frameworks.batch.waiting import WaitingReasons
from broker_mesos.ports.clock import Clock
from broker_mesos.sdk import Driver

POLL_SECONDS = 1.0
"""Interval at which a waiting request reads the job from the store, in seconds: messages on the feed may be lost."""
SETTLING_SECONDS = 0.2
"""Time for which progress is collected before a waiting request is answered, in seconds."""
CELL_TIMEOUT_SECONDS = 1.0
AGENTS_TTL_SECONDS = 1.0
MAX_EXPLAINED = 20
"""Maximum number of waiting jobs in one listing for which the reason is looked up."""
MAX_ANSWER = 700_000
"""Maximum size of the list in an answer, in bytes; the rest of the 1 MiB is for a spec, and for escapes."""

P = TypeVar("P", bound=Part)


class BatchApi:
    """Handles the operator requests that a Responder receives for the batch framework."""

    def __init__(
        self,
        store: JobStore,
        feed: JobFeed,
        driver: Driver,
        demand_publisher: DemandPublisher,
        requester: Requester,
        clock: Clock,
        report: Callable[[], Awaitable[DaemonReport]],
    ) -> None:
        """``report`` makes the report of this worker."""
        self._store = store
        self._feed = feed
        self._driver = driver
        self._demand_publisher = demand_publisher
        self._requester = requester
        self._clock = clock
        self._agents_request: asyncio.Task[list[AgentView]] | None = None
        self._agents_requested_at = 0.0
        self._waiting = WaitingReasons(store, self._ask_unmet, clock)
        self._shapes: dict[object, tuple[float, asyncio.Task[list[Placement]]]] = {}

        self.handlers = handlers = Handlers("the batch framework")
        handlers.add(SubmitJob, self._submit)
        handlers.add(GetJobs, self._jobs)
        handlers.add(GetJob, self._job)
        handlers.add(GetTask, self._task)
        handlers.add(GetTimeline, self._timeline)
        handlers.add(GetWaitingJobs, self._waiting_jobs)
        handlers.add(WaitJob, self._wait)
        handlers.add(KillJob, self._kill)
        handlers.add(KillJobs, self._kill_jobs)
        handlers.add(RetryJob, self._retry)
        handlers.add(GetWorkerHealth, lambda request: report())

    async def __call__(self, request: Request) -> Part:
        """Answer a request. Raises the subclasses of BrokerMesosError that the request's handler raises."""
        return await self.handlers.answer(request)

    async def _task(self, request: GetTask) -> JobTaskDetails:
        return await self._store.attempts.task(request.task_id, earlier=request.earlier)

    async def _timeline(self, request: GetTimeline) -> Timeline:
        return await timeline(self._store.read, request.job_id, request.limit)

    async def _waiting_jobs(self, request: GetWaitingJobs) -> WaitingJobs:
        return (await self._waiting.counted()).view

    async def _ask_unmet(self, request: GetUnmetShapes) -> list[UnmetShapes]:
        return await self._request_each(request, UnmetShapes)

    async def _kill(self, request: KillJob) -> JobSummary:
        await self._check_owner(request.job_id, request)
        summary, kills = await self._store.kill(request.job_id, request.index)
        for task_id, agent_id in kills:
            self._driver.kill(task_id, agent_id)
        return summary

    async def _kill_jobs(self, request: KillJobs) -> KilledJobs:
        which = request.which.model_copy(update={"kind": "active"})
        if (caller := current()) is not None and not caller.kills_any:
            if which.user not in ("", caller.name):
                caller.check_owner(which.user, request)
            which = which.model_copy(update={"user": caller.name})
        listing = await self._store.jobs(request.limit, which)
        for summary in () if request.only_list else listing.jobs:
            await self._kill(KillJob(job_id=summary.job_id))
        return KilledJobs(job_ids=tuple(each.job_id for each in listing.jobs), after=listing.after)

    async def _retry(self, request: RetryJob) -> JobSummary:
        await self._check_owner(request.job_id, request)
        if (caller := current()) is not None:
            # What it may use can be other roles and users of tasks than when the job was submitted.
            spec = await self._store.read.spec(request.job_id)
            caller.check_role(spec.role, request)
            caller.check_task_user(spec.command.user, request)
        summary, demand = await self._store.retry(request.job_id)
        self._demand_publisher.publish(demand)
        return summary

    async def _check_owner(self, job_id: str, request: Request) -> None:
        """Check that the principal may change a job. Raises Denied, NotFound."""
        if (caller := current()) is not None and not caller.kills_any:
            caller.check_owner((await self._store.read.spec(job_id)).user, request)

    async def _submit(self, request: SubmitJob) -> JobSummary:
        spec = request.spec
        if (caller := current()) is not None:
            # The owner of a job is who has submitted it, and not who its client states.
            spec = spec.model_copy(update={"user": caller.name})
        if user := spec.command.user:
            constraint = constraint_of(user)
            if constraint not in spec.constraints:
                spec = spec.model_copy(update={"constraints": (*spec.constraints, constraint)})
        demand = await self._store.submit(request.job_id, spec)
        if demand is not None:
            self._demand_publisher.publish(demand)
            # The demand is sent before the answer, in the same write: the job waits for the demand, while the
            # answer is delayed by one turn of the loop only.
            await asyncio.sleep(0)
        if request.wait:
            return await self._wait(WaitJob(job_id=request.job_id, seconds=request.wait))
        return self._store.cached(request.job_id) or await self._store.summary(request.job_id)

    async def _jobs(self, request: GetJobs) -> JobList:
        which = request.which.model_copy(update={"kind": "active"}) if request.active else request.which
        only: set[str] | None = None
        if request.waits_group:
            counted = await self._waiting.counted()
            only = {job_id for job_id, group in counted.groups.items() if group == request.waits_group}
        listing = await self._store.jobs(request.limit, which, only)
        found = _bounded(listing.jobs)
        after = listing.after
        if len(found) < len(listing.jobs):
            (last,) = (await self._store.read.records([found[-1].job_id])).values()
            after = last.seq
        waiting = [at for at, summary in enumerate(found) if _waits(summary)][: MAX_EXPLAINED * request.explain]
        for at in waiting:
            try:
                spec = await self._store.read.spec(found[at].job_id)
            except NotFound:
                continue
            found[at] = await self._explained(found[at], spec)
        candidates = [at for at, summary in enumerate(found) if _may_be_staging(summary)][:MAX_EXPLAINED]
        if candidates:
            records = await self._store.read.records([found[at].job_id for at in candidates])
            for at in candidates:
                if (record := records.get(found[at].job_id)) is not None:
                    found[at] = await self._with_staging(found[at], record)
        if request.explain:
            found = await self._with_groups(found)
        return JobList(jobs=tuple(found), total=listing.total, truncated=after is not None, after=after)

    async def _with_groups(self, found: list[JobSummary]) -> list[JobSummary]:
        """The summaries with what their waiting tasks wait for."""
        waiting = [each.job_id for each in found if each.ended_at is None and each.counts["pending"]]
        if not waiting:
            return found
        records = await self._store.read.records(waiting)
        groups = await self._waiting.groups({job_id: record.score for job_id, record in records.items()})
        return [
            each.model_copy(update={"waits_group": group}) if (group := groups.get(each.job_id)) else each
            for each in found
        ]

    async def _job(self, request: GetJob) -> JobView:
        spec = await self._store.read.spec(request.job_id)
        _, record = await self._store.read.record(request.job_id)
        page = await self._store.read.page(request.job_id, record, request.offset, request.limit, request.states)
        summary = await self._explained(await self._store.summary(request.job_id), spec)
        summary = await self._with_lost_agents(await self._with_staging(summary, record))
        tasks = _bounded(page.tasks)
        more = page.more
        if len(tasks) < len(page.tasks):
            more = record.offset_of(page.tasks[len(tasks)].index)
        return JobView(summary=summary, spec=spec, tasks=tuple(tasks), more=more)

    async def _wait(self, request: WaitJob) -> JobSummary:
        started = self._clock.monotonic()
        # The watch starts before the store is read, so that no end of the job is missed in between.
        with self._feed.watch(request.job_id) as watch:
            known = self._store.cached(request.job_id) if request.seen is None else None
            summary = known or await self._store.summary(request.job_id)
            while summary.ended_at is None:
                passed = self._clock.monotonic() - started
                left = request.seconds - passed
                if request.seen is not None and summary.version > request.seen:
                    left = min(left, SETTLING_SECONDS - passed)
                if left <= 0:
                    break
                changed = await watch.next_change(min(left, POLL_SECONDS))
                if changed is not None:
                    # The news of an end may come only after a retry of the job.
                    summary = changed if is_later(changed, summary) else summary
                else:
                    summary = await self._store.summary(request.job_id)
        return summary

    # -- why a job waits

    async def _explained(self, summary: JobSummary, spec: JobSpec) -> JobSummary:
        if not _waits(summary):
            return summary
        if spec.after and (waits_for := await self._waits_for(summary.job_id)):
            text = why_after(waits_for)
            return summary.model_copy(update={"waiting": text, "waits_for": waits_for})
        preference_wait = await self._preference_wait(summary.job_id, spec)
        if preference_wait is None:
            return summary.model_copy(update={"waiting": await self._placement_reason(summary.job_id, spec)})
        return summary.model_copy(update={"waiting": why_picky(spec, preference_wait), "picky": preference_wait})

    async def _waits_for(self, job_id: str) -> tuple[str, ...]:
        """Ids of the jobs that must end before this job may run."""
        _, record = await self._store.read.record(job_id)
        return (await self._store.dependencies.verdict(record)).waits_for

    async def _preference_wait(self, job_id: str, spec: JobSpec) -> float | None:
        """Seconds for which a job's tasks still wait for a preferred agent; None if they do not."""
        if not spec.locality_wait:
            return None
        text = (await self._store.read.fields(WORK, [job_id]))[job_id]
        now = self._clock.time()
        until = Work.parse(text).waits_until(spec, now) if text is not None else 0.0
        return until - now if until else None

    async def _with_staging(self, summary: JobSummary, record: JobRecord) -> JobSummary:
        """Shows a job as staging when none of its tasks has started."""
        if _may_be_staging(summary) and await self._store.read.none_has_started(summary.job_id, record):
            return summary.model_copy(update={"state": "staging"})
        return summary

    async def _with_lost_agents(self, summary: JobSummary) -> JobSummary:
        """The summary, with a reason for waiting where the job has tasks on unreachable agents."""
        if summary.ended_at is not None or summary.waiting or not summary.counts["running"]:
            return summary
        try:
            away = {each.agent_id for each in await self._agents() if each.state is AgentStatus.UNREACHABLE}
        except BrokerMesosError:
            return summary
        waiting = Counter(
            agent_id for _, agent_id in (await self._store.read.claims_of(summary.job_id) if away else ())
        )
        lost = {agent_id: waiting[agent_id] for agent_id in sorted(away) if waiting[agent_id]}
        return summary.model_copy(update={"waiting": why_lost(lost)}) if lost else summary

    async def _placement_reason(self, job_id: str, spec: JobSpec) -> str:
        if not self._driver.cells:
            return "no master has answered yet"
        try:
            shape = shape_of(spec, job_id=job_id)
            return reason(shape, await self._placements(shape))
        except BrokerMesosError as error:
            return f"unknown: {error}"

    async def _placements(self, shape: Shape) -> list[Placement]:
        """Each cell's answer about the placement of a task of this shape, at most a second old."""
        now = self._clock.monotonic()
        cached = self._shapes.get(shape.key)
        if cached is None or (cached[1].done() and now - cached[0] > AGENTS_TTL_SECONDS):
            self._shapes = {kind: each for kind, each in self._shapes.items() if now - each[0] <= AGENTS_TTL_SECONDS}
            task = asyncio.create_task(self._request_placements(shape), name="batch-placements")
            # The requester may have gone by the time it fails, and then no other code would retrieve the exception.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            cached = self._shapes[shape.key] = now, task
        return await asyncio.shield(cached[1])

    async def _request_placements(self, shape: Shape) -> list[Placement]:
        return await self._request_each(GetPlacement(framework_id=FRAMEWORK_ID, shape=shape, limit=3), Placement)

    async def _agents(self) -> list[AgentView]:
        """All agents, at most a second old. Concurrent callers share one request to the cells."""
        now = self._clock.monotonic()
        if self._agents_request is None or (
            self._agents_request.done() and now - self._agents_requested_at > AGENTS_TTL_SECONDS
        ):
            self._agents_requested_at = now
            self._agents_request = asyncio.create_task(self._request_agents(), name="batch-agents")
            # The requester may have gone by the time it fails, and then no other code would retrieve the exception.
            self._agents_request.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._agents_request)

    async def _request_agents(self) -> list[AgentView]:
        views = await self._request_each(GetCell(parts=("agents",), limit=2_000), CellView)
        return [agent for view in views for agent in view.agents]

    async def _request_each(self, request: Request, kind: type[P]) -> list[P]:
        """The answers of the cells that answered. Raises the error of one of them when none did."""
        answers = await asyncio.gather(
            *(
                self._requester.request(operator_cell(cell), request, CELL_TIMEOUT_SECONDS)
                for cell in range(self._driver.cells)
            ),
            return_exceptions=True,
        )
        found = [answer for answer in answers if isinstance(answer, kind)]
        for answer in answers:
            if isinstance(answer, BaseException) and not found:
                raise answer
        return found


def _waits(summary: JobSummary) -> bool:
    return summary.ended_at is None and summary.counts["pending"] > 0 and summary.counts["running"] == 0


def _may_be_staging(summary: JobSummary) -> bool:
    counts = summary.counts
    return counts["running"] > 0 and not (counts["finished"] or counts["failed"] or counts["killed"])


def _bounded(parts: Sequence[P]) -> list[P]:
    """The first of the rows, as many as fit into MAX_ANSWER bytes."""
    found: list[P] = []
    left = MAX_ANSWER
    for part in parts:
        left -= len(text_of(part).encode())
        if left < 0 and found:
            break
        found.append(part)
    return found
