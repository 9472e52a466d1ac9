"""Finds ids in all cells and among the jobs."""

from __future__ import annotations

import asyncio

from broker_mesos.core.api.jobs import GetJob, GetJobs, JobFilter, JobList, JobView
from broker_mesos.core.api.search import Match, Matches, Search, SearchCell
from broker_mesos.core.model.part import is_ident
from broker_mesos.errors import BrokerMesosError, Denied
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls

ORDER = ("agent", "framework", "role", "job", "task")


async def search(calls: Calls, request: Search, timeout: float) -> Matches:
    """What begins with the text of a request, at most ``limit`` of it."""
    ask = SearchCell(prefix=request.prefix, limit=request.limit)
    (answers, missing), jobs = await asyncio.gather(
        calls.all_cells(ask, Matches, timeout), _jobs(calls, request, timeout)
    )
    every = {(each.kind, each.id): each for answer in answers for each in answer.found}
    every |= {("job", each.id): each for each in jobs.found}
    found = sorted(every.values(), key=lambda each: (ORDER.index(each.kind), each.id))
    cut = len(found) > request.limit or jobs.truncated or any(answer.truncated for answer in answers)
    return Matches(found=tuple(found[: request.limit]), truncated=cut, missing=tuple(missing))


async def _jobs(calls: Calls, request: Search, timeout: float) -> Matches:
    """Jobs whose name begins with the text, and the job that has it as its id."""
    text = request.prefix.translate({ord(each): f"[{each}]" for each in "*?["})
    named = GetJobs(limit=request.limit, which=JobFilter(name=f"{text}*"), explain=False)
    found: dict[str, Match] = {}
    truncated = False
    try:
        listed = await calls.request(JOBS_FRAMEWORK, named, JobList, timeout / 2)
        truncated = listed.truncated
        found = {
            each.job_id: Match(kind="job", id=each.job_id, text=f"{each.name} {each.state}") for each in listed.jobs
        }
        if is_ident(request.prefix) and request.prefix not in found:
            one = (
                await calls.request(JOBS_FRAMEWORK, GetJob(job_id=request.prefix, limit=0), JobView, timeout / 2)
            ).summary
            found[one.job_id] = Match(kind="job", id=one.job_id, text=f"{one.name} {one.state}".strip())
    except Denied:
        raise
    except BrokerMesosError:
        pass  # no such job, or the batch framework is away: the cells have answered
    return Matches(found=tuple(found.values()), truncated=truncated)
