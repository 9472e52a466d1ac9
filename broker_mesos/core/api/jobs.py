"""Operator requests about jobs. They are answered by the framework that runs the jobs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.locality import Locality
from broker_mesos.core.model.part import Ident, Part, Short, TaskId
from broker_mesos.core.model.roles import ANYBODY
from broker_mesos.core.model.task_history import TaskStep
from broker_mesos.core.protocol.wire import register


class Killed(Part):
    """The answer to KILL_BY_ID: the job or task that is killed."""

    kind: Literal["job", "task"]
    job: JobSummary | None = None
    """The job, or the job of the task, if it is a job of the batch framework; else None."""
    unreachable: tuple[str, ...] = ()
    """Ids of unreachable agents with tasks that are killed, at most 100."""
    note: str = ""
    """Why the kill has no effect yet, in one line; empty if it has."""


@register
class KillById(Request):
    """Kill the job or task with this id. Idempotent."""

    TYPE = "KILL_BY_ID"
    RIGHT = Right.KILL
    ANSWER = Killed
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    id: TaskId


JobState = Literal["pending", "running", "finished", "failed", "killed"]


ShownState = Literal["pending", "staging", "running", "finished", "failed", "killed"]
"""States of a job as people see them. ``staging``: agents have tasks of it, and none has started yet; filters
count it as running. Of ``GetJob``, and of the first few jobs of ``GetJobs``."""


class JobSummary(Locality):
    """The state of a job. ``version`` is incremented with every change."""

    job_id: str
    name: str
    user: str = ""
    role: str = ANYBODY
    """The role to which its tasks are accounted."""
    state: ShownState
    total: int
    counts: dict[str, int]
    """Number of tasks by state: pending, running (including claimed ones), finished, failed, killed."""
    exit_code: int | None = None
    """Exit code of an ended job: 0 if all tasks succeeded, else that of the first failed index (128 + signal for a
    signal). None if the job has not ended."""
    submitted_at: float
    seq: int = 0
    """Number of the job in the order of submission. In a list of jobs it is the ``after`` for the jobs that follow."""
    ended_at: float | None = None
    version: int = 0
    waiting: str = ""
    """Why the job does not run (yet), in one line; empty if it does."""
    waits_group: str = ""
    """What its waiting tasks wait for, in a word or two, as in GET_WAITING_JOBS; empty if none waits, or it is not
    known."""
    waits_for: tuple[str, ...] = ()
    """Ids of the jobs that this one depends on and that have not ended. It is set only in answers about one job."""
    reason: str = ""
    """Why the framework itself ended the job, in one line; empty if it did not."""


class JobTask(Part):
    """The latest attempt at one index of a job."""

    task_id: str
    job_id: str = ""
    index: int
    attempt: int
    state: str
    """One of pending, staging, running, finished, failed, killed, lost, unreachable."""
    exit_code: int | None = None
    signal: int | None = None
    agent_id: str = ""
    hostname: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    message: str = ""
    cpu_seconds: float | None = None
    """The CPU time of a task that has ended. See ``TaskStatus`` for this and all that follows."""
    memory_peak: int | None = None
    io_read: int | None = None
    io_written: int | None = None
    measured_by: Short = ""
    """``cgroup``: all processes count; ``wait``: the main process and the children that it has waited for."""


class JobTaskDetails(JobTask):
    """An attempt at one index of a job, with its history and the other attempts."""

    claimed_at: float | None = None
    """When the framework has chosen an offer for it, in seconds since the epoch; None if it has not, or it is not
    known."""
    history: tuple[TaskStep, ...] = ()
    """The states that it has been in, at most 16."""
    history_truncated: bool = False
    """Whether states are left out of the history."""
    attempts: tuple[JobTask, ...] = ()
    """The earlier attempts at the index that have run, the oldest first: those of the last 20 launches."""
    attempts_truncated: bool = False
    """Whether there may have been more."""
    latest: str = ""
    """Id of the latest attempt, if this is an earlier one; else empty."""


class JobView(Part):
    """A job with a page of its tasks."""

    summary: JobSummary
    spec: JobSpec
    tasks: tuple[JobTask, ...] = ()
    more: int | None = None
    """The ``offset`` of the next page of tasks; None if there is none."""


class JobList(Part):
    """A page of jobs, the latest first."""

    jobs: tuple[JobSummary, ...]
    total: int
    """Number of jobs of the requested kind, without the other filters."""
    truncated: bool = False
    """Whether there may be more jobs that match."""
    after: int | None = None
    """The ``after`` for the request of the next page; None if there is none."""


class JobRequest(Request):
    """The base class of requests to the framework that runs the jobs."""

    ROUTE = Route.FRAMEWORK
    FOR_USERS = True


@register
class SubmitJob(JobRequest):
    """Submit a job. The client chooses the id, so that a repeat makes only one job; an id in use for a different job
    is a conflict. The request is answered once the job is stored."""

    TYPE = "SUBMIT_JOB"
    RIGHT = Right.SUBMIT
    ANSWER = JobSummary
    job_id: Ident
    spec: JobSpec
    wait: float = Field(default=0.0, ge=0, le=30)
    """The longest time for which the answer is delayed until the job has ended, in seconds."""

    @property
    def named_role(self) -> str:
        return self.spec.role

    @property
    def named_task_user(self) -> str:
        return self.spec.command.user

    @property
    def wait_seconds(self) -> float:
        return self.wait


class JobFilter(Part):
    """A filter of jobs. A job must satisfy all fields that are set."""

    kind: Literal["all", "active", "ended"] = "all"
    """``active`` selects jobs that have not ended, ``ended`` those that have."""
    states: tuple[JobState, ...] = ()
    """States of the jobs; empty for any state."""
    name: str = Field(default="", max_length=200)
    """Pattern of the name, such as ``train-*`` (``*``, ``?``, ``[abc]``); empty for any name."""
    user: str = Field(default="", max_length=200)
    """Name of the user who submitted the job; empty for any user."""
    role: Short = ""
    """Role of the job, or a role above it; empty for any role."""
    since: float | None = None
    """Earliest end of the job (or submission, if it has not ended), in seconds since the epoch."""
    until: float | None = None
    """Latest end of the job (or submission, if it has not ended), in seconds since the epoch."""
    after: int | None = None
    """The ``after`` of an earlier answer, behind which the list continues."""

    @property
    def is_plain(self) -> bool:
        """Whether the filter excludes no job of its kind."""
        return not (self.states or self.name or self.user or self.role or self.since or self.until or self.after)


@register
class GetJobs(JobRequest):
    """List jobs, the latest first. ``active`` selects jobs that have not ended, like the ``kind`` of the filter."""

    TYPE = "GET_JOBS"
    RIGHT = Right.VIEW
    ANSWER = JobList
    limit: int = Field(default=50, ge=1, le=1_000)
    active: bool = False
    which: JobFilter = JobFilter()
    explain: bool = True
    """Whether the cells are asked why the first few jobs wait, and what the others wait for."""
    waits_group: Short = ""
    """Only jobs whose tasks wait for this; see GET_WAITING_JOBS. Empty for any job."""


@register
class GetJob(JobRequest):
    """Get one job with its tasks in the order of the array, beginning at the position ``offset``; only tasks in
    ``states`` if these are given."""

    TYPE = "GET_JOB"
    RIGHT = Right.VIEW
    ANSWER = JobView
    job_id: Ident
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=0, le=1_000)
    states: tuple[str, ...] = ()


@register
class WaitJob(JobRequest):
    """Wait for a change of a job. The request is answered when the job has ended, when its version is above ``seen``
    (and at least 0.2 s have passed), or after ``seconds``, whichever comes first."""

    TYPE = "WAIT_JOB"
    RIGHT = Right.VIEW
    ANSWER = JobSummary
    job_id: Ident
    seconds: float = Field(default=10.0, ge=0, le=30)
    seen: int | None = None
    """The version that the client knows; None if it waits for the end of the job only."""

    @property
    def wait_seconds(self) -> float:
        return self.seconds


@register
class GetTask(JobRequest):
    """Get one task of a job by its task id, or its latest attempt by ``JOB`` or ``JOB.INDEX``."""

    TYPE = "GET_TASK"
    RIGHT = Right.VIEW
    ANSWER = JobTaskDetails
    task_id: TaskId
    earlier: bool = False
    """Whether the id may be that of an earlier attempt, which has ended; otherwise such an id is not found."""


@register
class KillJob(JobRequest):
    """Kill a job: waiting tasks never run, and running tasks are killed. With an index, only that task is killed.
    Idempotent."""

    TYPE = "KILL_JOB"
    RIGHT = Right.KILL
    ANSWER = JobSummary
    job_id: Ident
    index: int | None = None


class KilledJobs(Part):
    """The answer to KILL_JOBS: ids of the jobs that are killed."""

    job_ids: tuple[str, ...]
    after: int | None = None
    """The ``after`` of the filter with which the request continues if there may be more jobs that match; else None.
    Jobs that are ending match until they have ended, so that the same request sent again may make no progress."""


@register
class KillJobs(JobRequest):
    """Kill at most ``limit`` jobs that match the filter and have not ended. Idempotent."""

    TYPE = "KILL_JOBS"
    RIGHT = Right.KILL
    ANSWER = KilledJobs
    which: JobFilter
    limit: int = Field(default=100, ge=1, le=1_000)
    only_list: bool = False
    """Whether the request changes nothing, and the answer only has the jobs that would be killed."""


@register
class KillJobsOfRole(KillJobs):
    """The same with a filter that names a role. Workers of a release whose filters have no role do not know this
    type, and refuse it; KILL_JOBS they would obey as if the filter named none."""

    TYPE = "KILL_JOBS_OF_ROLE"


@register
class RetryJob(JobRequest):
    """Run the failed tasks of an ended job again, under the same job and indices, each with one more attempt. It is a
    conflict if the job has not ended or has no failed task, so that a repeat does no harm."""

    TYPE = "RETRY_JOB"
    RIGHT = Right.SUBMIT
    ANSWER = JobSummary
    job_id: Ident
