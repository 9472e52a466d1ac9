"""Operator requests and their answers, as they travel over the bus and over HTTP.

A request is a message with ``reply_to``; its answer is one ``ANSWER`` message with the same correlation id:
either ``data`` (decoded by the request's ``ANSWER`` class) or an ``error``. Requests change nothing when
repeated, or name the id that makes the repeat harmless.
"""

from __future__ import annotations

import base64
from typing import Any, ClassVar, Literal

from pydantic import Field

from broker_mesos import errors
from broker_mesos.core.holdings import ReservationView, VolumeView
from broker_mesos.core.jobs import JobSpec as JobSpec
from broker_mesos.core.messages import (
    Ident,
    JsonObject,
    Message,
    Part,
    Shape,
    TaskId,
    TaskStatus,
    Unavailability,
    Usage,
    register,
)
from broker_mesos.core.preference import Locality
from broker_mesos.core.records import AgentState, FrameworkState
from broker_mesos.core.resources import Resources
from broker_mesos.core.tasks import TaskState

ErrorCode = Literal["invalid", "not_found", "conflict", "unavailable", "failed"]

_BY_CODE: dict[ErrorCode, type[errors.BrokerMesosError]] = {
    "invalid": errors.InvalidInput,
    "not_found": errors.NotFound,
    "conflict": errors.Conflict,
    "unavailable": errors.Unavailable,
    "failed": errors.BrokerMesosError,
}


class ErrorInfo(Part):
    """An error on the wire."""

    code: ErrorCode = "failed"
    message: str

    @classmethod
    def of(cls, error: errors.BrokerMesosError) -> ErrorInfo:
        """The wire form of an error."""
        for code, kind in _BY_CODE.items():
            if isinstance(error, kind):
                return cls(code=code, message=str(error))
        return cls(message=str(error))

    def exception(self) -> errors.BrokerMesosError:
        """The error to raise where the answer arrives."""
        return _BY_CODE[self.code](self.message)


@register
class Answer(Message):
    """The answer to any request."""

    TYPE = "ANSWER"
    error: ErrorInfo | None = None
    data: JsonObject = Field(default_factory=dict)


class Request(Message):
    """An operator request."""

    ANSWER: ClassVar[type[Part]] = Part


# -- answered by any master -----------------------------------------------------------------------------


class HelloAnswer(Part):
    """What an agent or framework must know before it speaks to a cell."""

    cluster: str
    cells: int


@register
class Hello(Request):
    """Who are you, and how many cells are there?"""

    TYPE = "HELLO"
    ANSWER = HelloAnswer
    agent_id: str = ""


class MasterView(Part):
    """A living master."""

    master_id: str
    hostname: str
    pid: int
    version: str
    age: float
    """Seconds since its last beat."""


class CellOwnership(Part):
    """A cell's lease. ``owner`` is a master id, empty while nobody owns it."""

    cell: int
    owner: str
    pid: int | None = None
    hostname: str = ""
    term: int
    age: float


class ClusterView(Part):
    """Masters and cells."""

    cluster: str
    version: str
    masters: tuple[MasterView, ...]
    cells: tuple[CellOwnership, ...]


@register
class GetCluster(Request):
    """Masters, and who owns which cell."""

    TYPE = "GET_CLUSTER"
    ANSWER = ClusterView


# -- answered by the owner of a cell --------------------------------------------------------------------


class AgentView(Part):
    """An agent as its cell sees it."""

    agent_id: str
    cell: int
    hostname: str
    state: AgentState
    total: Resources
    offered: Resources
    used: Resources
    attributes: dict[str, str] = Field(default_factory=dict)
    tasks: int = 0
    usage: Usage = Usage()
    version: str = ""
    pid: int = 0
    registered_at: float = 0.0
    heard_ago: float | None = None
    """Seconds since it was last heard of; None if not under this owner."""
    reservations: tuple[ReservationView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()
    maintenance: str = ""
    """draining, drained, deactivated, or nothing."""
    slack: Resources = Resources.EMPTY
    """What it lends a second time, as revocable: an estimate."""
    slack_held: Resources = Resources.EMPTY
    """Of the slack: offered and used."""
    unavailability: Unavailability | None = None
    """When it is planned to be away."""


class FrameworkView(Part):
    """A framework as one cell sees it."""

    framework_id: str
    cell: int
    name: str
    roles: tuple[str, ...]
    state: FrameworkState
    wanted: bool
    allocated: Resources
    offered: Resources
    tasks: int
    offers: int
    dominant_share: float
    registered_at: float = 0.0
    shapes: tuple[Shape, ...] | None = None
    """Its stated demand, as far as this cell has not met it."""


class TaskView(Part):
    """A task that a cell holds, or one of its recently completed ones."""

    task_id: str
    cell: int
    framework_id: str
    agent_id: str
    role: str
    name: str
    resources: Resources
    state: TaskState
    status: TaskStatus | None = None
    created_at: float = 0.0


class OfferView(Part):
    """An open offer."""

    offer_id: str
    cell: int
    framework_id: str
    agent_id: str
    resources: Resources
    age: float


class RoleView(Part):
    """A role's part of one cell. ``dominant_share`` is of the whole cluster, as this cell knows it."""

    role: str
    cell: int
    weight: float
    frameworks: int
    allocated: Resources
    offered: Resources
    held: Resources = Resources.EMPTY
    """Both, and those of all roles below it."""
    dominant_share: float
    """Of ``held``."""
    guarantee: Resources = Resources.EMPTY
    limit: str = ""
    """As ``cpus:8;gpus:0``; empty: none."""
    preempts: bool = False


class CellLoad(Part):
    """How much a cell's owner has to do. Times are in seconds; None while there was no round."""

    cell: int
    behind: float
    """Since when something lies in its inbox that it has not read."""
    decisions: int
    """Of this owner, so far."""
    rounds: int
    """Of allocation, so far."""
    round_p50: float | None = None
    """Of its latest decisions that held a round of allocation."""
    round_p99: float | None = None


CellPart = Literal["agents", "frameworks", "tasks", "offers", "roles"]


class CellView(Part):
    """What was asked for of one cell."""

    cell: int
    term: int
    owner: str
    agents: tuple[AgentView, ...] = ()
    frameworks: tuple[FrameworkView, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    offers: tuple[OfferView, ...] = ()
    roles: tuple[RoleView, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    """Sizes of all parts, asked for or not."""
    load: CellLoad | None = None


@register
class GetCell(Request):
    """Parts of a cell. ``task_id``, ``framework_id`` and ``agent_id`` narrow tasks down; tasks that run
    come before completed ones, at most ``limit``."""

    TYPE = "GET_CELL"
    ANSWER = CellView
    parts: tuple[CellPart, ...] = ()
    task_id: str = ""
    framework_id: str = ""
    agent_id: str = ""
    limit: int = Field(default=500, ge=0, le=2_000)


class KillTaskAnswer(Part):
    """Whether this cell knew the task and asked its agent to kill it."""

    known: bool


@register
class KillTask(Request):
    """Kill one task of any framework, by hand."""

    TYPE = "KILL_TASK"
    ANSWER = KillTaskAnswer
    task_id: TaskId


class AgentGone(Part):
    """Whether this cell has that agent, and how many of its tasks end."""

    known: bool
    tasks: int = 0


@register
class MarkAgentGone(Request):
    """An agent never comes back: its tasks end as TASK_GONE_BY_OPERATOR, and may run elsewhere. Should it
    come back all the same, what still runs on it is killed. Idempotent."""

    TYPE = "MARK_AGENT_GONE"
    ANSWER = AgentGone
    agent_id: Ident


# -- answered by an agent -------------------------------------------------------------------------------


class FileChunk(Part):
    """Part of a file of a sandbox; ``data`` is base64. ``ended``: the task is over and nothing follows."""

    data: str
    offset: int
    size: int
    ended: bool

    @classmethod
    def of(cls, data: bytes, offset: int, size: int, ended: bool) -> FileChunk:
        """Encodes the bytes."""
        return cls(data=base64.b64encode(data).decode(), offset=offset, size=size, ended=ended)

    def bytes(self) -> bytes:
        """The bytes of the chunk."""
        return base64.b64decode(self.data)


@register
class ReadFile(Request):
    """Read from a task's sandbox: at most 64 KiB. At the end of the file of a running task the answer
    waits up to ``wait`` seconds (at most 10) for more."""

    TYPE = "READ_FILE"
    ANSWER = FileChunk
    task_id: TaskId
    name: str = "stdout"
    offset: int = Field(default=0, ge=0)
    length: int = Field(default=65_536, ge=1, le=65_536)
    wait: float = Field(default=0.0, ge=0, le=10)


# -- answered by the batch framework --------------------------------------------------------------------

JobState = Literal["pending", "running", "finished", "failed", "killed"]


class JobSummary(Locality):
    """Where a job stands. ``version`` rises with every change."""

    job_id: str
    name: str
    user: str = ""
    state: JobState
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


@register
class SubmitJob(Request):
    """Accept a job. The client mints the id, so that sending it twice makes one job; an id in use for a
    different job is a conflict. Answered once the job is stored."""

    TYPE = "SUBMIT_JOB"
    ANSWER = JobSummary
    job_id: Ident
    spec: JobSpec
    wait: float = Field(default=0.0, ge=0, le=30)
    """Seconds for which the answer may wait for the job's end."""


@register
class GetJobs(Request):
    """Jobs, the latest first."""

    TYPE = "GET_JOBS"
    ANSWER = JobList
    limit: int = Field(default=50, ge=1, le=1_000)
    active: bool = False
    """Only those that have not ended."""


@register
class GetJob(Request):
    """One job. Tasks by position in the array from ``offset`` on, narrowed to ``states`` if given."""

    TYPE = "GET_JOB"
    ANSWER = JobView
    job_id: Ident
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=0, le=1_000)
    states: tuple[str, ...] = ()


@register
class WaitJob(Request):
    """Answered when the job has ended, when its version is above ``seen`` (and at least 0.2 s went by), or
    after ``seconds``, whatever comes first."""

    TYPE = "WAIT_JOB"
    ANSWER = JobSummary
    job_id: Ident
    seconds: float = Field(default=10.0, ge=0, le=30)
    seen: int | None = None
    """None: only the end counts."""


@register
class GetTask(Request):
    """One task of a job, by its task id, or (``JOB``, ``JOB.INDEX``) its latest attempt."""

    TYPE = "GET_TASK"
    ANSWER = JobTask
    task_id: TaskId


@register
class KillJob(Request):
    """End a job: what waits never runs, what runs is killed. With an index, only that one. Idempotent."""

    TYPE = "KILL_JOB"
    ANSWER = JobSummary
    job_id: Ident
    index: int | None = None


def answer_of(part: Part) -> Answer:
    """A successful answer."""
    data: dict[str, Any] = part.model_dump(mode="json")
    return Answer(data=data)
