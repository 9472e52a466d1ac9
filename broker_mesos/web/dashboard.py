"""The paths of the HTTP server that a dashboard reads: each is a request of the operator API as a GET."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query
from pydantic import ValidationError

from broker_mesos.core.api.agent_table import AgentColumns, GetAgents
from broker_mesos.core.api.doctor import DoctorReport, GetDoctor
from broker_mesos.core.api.events import EventList, GetEvents
from broker_mesos.core.api.history import GetHistory, HistoryView
from broker_mesos.core.api.jobs import GetJobs, JobFilter, JobList
from broker_mesos.core.api.overview import GetOverview, Overview
from broker_mesos.core.api.search import Matches, Search
from broker_mesos.core.api.timeline import GetTimeline, Timeline
from broker_mesos.core.api.waiting import GetWaitingJobs, WaitingJobs
from broker_mesos.core.api.whoami import Identity, WhoAmI
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import first_problem
from broker_mesos.errors import InvalidInput
from broker_mesos.operator.gateway import OperatorApi

P = TypeVar("P", bound=Part)


def made(kind: type[P], /, **fields: Any) -> P:
    """A request, or a part of one, with the parameters of a URL that were given. Raises InvalidInput in one line."""
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput(first_problem(error)) from None


def add_views(app: FastAPI, gateway: OperatorApi) -> None:
    """Add the paths to an application."""

    @app.get("/api/v1/agents/columns", response_model=AgentColumns, summary="All agents, or what changed, as columns")
    async def agent_columns(
        filter: Annotated[str | None, Query()] = None,
        sort: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        follow: bool | None = None,
        changed_since: str | None = None,
    ) -> Part:
        follow = bool(changed_since) if follow is None else follow
        fields = {"filter": filter, "sort": sort, "limit": limit, "after": after, "changed_since": changed_since}
        return await gateway.handle(made(GetAgents, follow=follow, **fields))

    @app.get("/api/v1/overview", response_model=Overview, summary="The numbers of the cluster at a glance")
    async def overview() -> Part:
        return await gateway.handle(GetOverview())

    @app.get("/api/v1/jobs", response_model=JobList, summary="Jobs, the latest first")
    async def jobs(
        limit: int | None = None,
        active: bool = False,
        after: int | None = None,
        state: Annotated[list[str] | None, Query()] = None,
        user: str | None = None,
        name: str | None = None,
        role: str | None = None,
        since: float | None = None,
        until: float | None = None,
        waits_group: Annotated[str | None, Query(description="what tasks wait for, as `no gpus`")] = None,
    ) -> Part:
        chosen = {"user": user, "name": name, "role": role, "since": since, "until": until, "after": after}
        which = made(JobFilter, kind="active" if active else "all", states=state, **chosen)
        return await gateway.handle(made(GetJobs, limit=limit, which=which, waits_group=waits_group))

    @app.get("/api/v1/jobs/{job_id}/timeline", response_model=Timeline, summary="When and where tasks of a job ran")
    async def timeline(job_id: str, limit: int | None = None) -> Part:
        return await gateway.handle(made(GetTimeline, job_id=job_id, limit=limit))

    @app.get("/api/v1/waiting", response_model=WaitingJobs, summary="How many jobs and tasks wait, by the reason")
    async def waiting() -> Part:
        return await gateway.handle(GetWaitingJobs())

    @app.get("/api/v1/events", response_model=EventList, summary="What has happened, the latest or behind an id")
    async def events(
        after: str | None = None,
        before: str | None = None,
        kinds: Annotated[str | None, Query(description="with commas, as agent,task.failed")] = None,
        limit: int | None = None,
    ) -> Part:
        chosen = None if kinds is None else tuple(filter(None, kinds.split(",")))
        return await gateway.handle(made(GetEvents, after=after, before=before, kinds=chosen, limit=limit))

    @app.get("/api/v1/whoami", response_model=Identity, summary="Who this is, and what it may do")
    async def whoami() -> Part:
        return await gateway.handle(WhoAmI())

    @app.get("/api/v1/doctor", response_model=DoctorReport, summary="What is wrong with the cluster")
    async def doctor() -> Part:
        return await gateway.handle(GetDoctor())

    @app.get("/api/v1/search", response_model=Matches, summary="Ids, hosts and names that begin with a text")
    async def search(prefix: str, limit: int | None = None) -> Part:
        return await gateway.handle(made(Search, prefix=prefix, limit=limit))

    @app.get("/api/v1/history", response_model=HistoryView, summary="Sums and shares over time")
    async def history(
        series: str | None = None,
        since: Annotated[float | None, Query(alias="from", description="seconds since the epoch")] = None,
        until: Annotated[float | None, Query(alias="to")] = None,
        points: int | None = None,
    ) -> Part:
        return await gateway.handle(made(GetHistory, series=series, since=since, until=until, points=points))
