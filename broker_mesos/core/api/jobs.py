"""Operator requests about jobs. Answered by the framework that has the jobs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.locality import Locality
from broker_mesos.core.model.part import Ident, Part, TaskId
from broker_mesos.core.protocol.wire import register


class Killed(Part):
    """What a kill reached."""

    kind: Literal["job", "task"]
    job: JobSummary | None = None
    """The job, or the job of the task, if it is one of the batch framework's."""
    unreachable: tuple[str, ...] = ()
    """Agents that are unreachable and have tasks of it, at most 100."""
    note: str = ""
    """What keeps the kill from having its effect now, in one line; empty if nothing does."""


@register
class KillById(Request):
    """End a job or a task, whichever has this id. Idempotent."""

    TYPE = "KILL_BY_ID"
    ANSWER = Killed
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    id: TaskId


JobState = Literal["pending", "running", "finished", "failed", "killed"]


ShownState = Literal["pending", "staging", "running", "finished", "failed", "killed"]
"""States of a job as people see them. ``staging``: agents have tasks of it, and none has started yet; filters
count it as running. Of ``GetJob``, and of the first few jobs of ``GetJobs``."""


class JobSummary(Locality):
    """Where a job stands. ``version`` rises with every change."""

    job_id: str
    name: str
    user: str = ""
    state: ShownState
    total: int
    counts: dict[str, int]
    """Tasks per state: pending, running (claimed ones included), finished, failed, killed."""
    exit_code: int | None = None
    """Once ended: 0 if all succeeded, else the first failing index's code (128 + signal for a signal)."""
    submitted_at: float
    ended_at: float | None = None
    version: int = 0
    waiting: str = ""
    """Why it does not run (yet), in one line."""
    waits_for: tuple[str, ...] = ()
    """Ids of the jobs after which it runs, and which have not ended. Of a single job that is asked about."""
    reason: str = ""
    """Why the framework itself ended it, in one line."""


class JobTask(Part):
    """The latest attempt at one index of a job."""

    task_id: str
    index: int
    attempt: int
    state: str
    """pending, staging, running, finished, failed, killed, lost, unreachable."""
    exit_code: int | None = None
    signal: int | None = None
    agent_id: str = ""
    hostname: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    message: str = ""


class JobView(Part):
    """A job with a page of its tasks."""

    summary: JobSummary
    spec: JobSpec
    tasks: tuple[JobTask, ...] = ()
    more: int | None = None
    """The ``offset`` of the next page of tasks."""


class JobList(Part):
    """Jobs, the latest first."""

    jobs: tuple[JobSummary, ...]
    total: int
    """Jobs of that kind, before the filters."""
    truncated: bool = False
    """There may be more that match."""
    after: int | None = None
    """Where the next page begins: the ``after`` of the next request."""


class JobRequest(Request):
    """A request to the framework that has the jobs."""

    ROUTE = Route.FRAMEWORK
    FOR_USERS = True


@register
class SubmitJob(JobRequest):
    """Accept a job. The client mints the id, so that sending it twice makes one job; an id in use for a
    different job is a conflict. Answered once the job is stored."""

    TYPE = "SUBMIT_JOB"
    ANSWER = JobSummary
    job_id: Ident
    spec: JobSpec
    wait: float = Field(default=0.0, ge=0, le=30)
    """Seconds for which the answer may wait for the job's end."""

    @property
    def wait_seconds(self) -> float:
        return self.wait


class JobFilter(Part):
    """Which jobs."""

    kind: Literal["all", "active", "ended"] = "all"
    """``active``: those that have not ended."""
    states: tuple[JobState, ...] = ()
    """Only in these states; empty: any."""
    name: str = Field(default="", max_length=200)
    """A pattern such as ``train-*`` (``*``, ``?``, ``[abc]``); empty: any."""
    user: str = Field(default="", max_length=200)
    since: float | None = None
    """Ended (or, if it has not ended, submitted) at this time or later, in seconds since the epoch."""
    until: float | None = None
    """Likewise, at this time or earlier."""
    after: int | None = None
    """From an earlier answer: continue there."""

    @property
    def is_plain(self) -> bool:
        """Whether it lets every job pass."""
        return not (self.states or self.name or self.user or self.since or self.until or self.after)


@register
class GetJobs(JobRequest):
    """Jobs, the latest first. ``active``: only those that have not ended, as the filter's kind."""

    TYPE = "GET_JOBS"
    ANSWER = JobList
    limit: int = Field(default=50, ge=1, le=1_000)
    active: bool = False
    which: JobFilter = JobFilter()


@register
class GetJob(JobRequest):
    """One job. Tasks by position in the array from ``offset`` on, narrowed to ``states`` if given."""

    TYPE = "GET_JOB"
    ANSWER = JobView
    job_id: Ident
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=0, le=1_000)
    states: tuple[str, ...] = ()


@register
class WaitJob(JobRequest):
    """Answered when the job has ended, when its version is above ``seen`` (and at least 0.2 s went by), or
    after ``seconds``, whatever comes first."""

    TYPE = "WAIT_JOB"
    ANSWER = JobSummary
    job_id: Ident
    seconds: float = Field(default=10.0, ge=0, le=30)
    seen: int | None = None
    """None: only the end counts."""

    @property
    def wait_seconds(self) -> float:
        return self.seconds


@register
class GetTask(JobRequest):
    """One task of a job, by its task id, or (``JOB``, ``JOB.INDEX``) its latest attempt."""

    TYPE = "GET_TASK"
    ANSWER = JobTask
    task_id: TaskId


@register
class KillJob(JobRequest):
    """End a job: what waits never runs, what runs is killed. With an index, only that one. Idempotent."""

    TYPE = "KILL_JOB"
    ANSWER = JobSummary
    job_id: Ident
    index: int | None = None


class KilledJobs(Part):
    """What a kill by filter reached."""

    job_ids: tuple[str, ...]
    after: int | None = None
    """There may be more that match: the ``after`` of the filter that goes on there. Jobs that are ending match
    until they have ended, so the same request sent again may make no progress."""


@register
class KillJobs(JobRequest):
    """End the jobs that match and have not ended, at most ``limit``. Idempotent."""

    TYPE = "KILL_JOBS"
    ANSWER = KilledJobs
    which: JobFilter
    limit: int = Field(default=100, ge=1, le=1_000)
    only_list: bool = False
    """Change nothing: only answer which would be ended."""


@register
class RetryJob(JobRequest):
    """Run the failed tasks of an ended job again, under the same job and indices, each with one more attempt. A
    conflict if the job has not ended, or has no failed task: so a repeat does no harm."""

    TYPE = "RETRY_JOB"
    ANSWER = JobSummary
    job_id: Ident
