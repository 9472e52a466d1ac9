"""The records of jobs in the store, and the keys that they are stored under.

======================  ====  ==========================================================================
key                     type  holds
======================  ====  ==========================================================================
``specs``               hash  job id → JobSpec, never changed
``jobs``                hash  job id → JobRecord
``work``                hash  job id → Work: the tasks that are still to be claimed
``pending``             zset  jobs with something to claim, in the order in which they are served
``pending:<role>``      zset  those of them that are in this role, in the same order
``roles``               hash  role → "1": roles but ``*`` in which jobs may be pending
``claims``              hash  ``<job>.<index>`` → ClaimRecord: claimed tasks that have not ended
``unsettled``           zset  task id by the time at which its cell is asked about it
``gathered``            hash  offer id → Offer: of gangs that are not complete yet
``results:<job>``       hash  index → ResultRecord
``failures:<job>``      zset  indices that failed or were killed
``attempts:<job>``      hash  ``<index>.<launch>`` → ResultRecord: how earlier attempts have ended, 20 an index
``dependents:<job>``    hash  jobs that run after it → "1"
``counts:<job>``        hash  claimed, finished, failed, killed, version, local
``active``              zset  jobs that have not ended, by the time at which a worker looks at them again
``order``, ``ended``    zset  all jobs, the latest first; ended ones, the oldest first
``meta``                hash  seq (of the latest job), demand_version, wanted
======================  ====  ==========================================================================

A task id is ``<job>.<index>.<attempt>``. ``attempt`` counts runs, and the limit of retries applies to it. ``launch``
counts claims, so that an index that was given back is launched under a new id: as soon as they differ, the id is
``<job>.<index>.<attempt>-<launch>``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from broker_mesos.core.model.job import Dependency, JobSpec
from broker_mesos.core.model.job_array import Range, index_at, offset_of
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.roles import ANYBODY
from broker_mesos.core.model.task_history import Step
from broker_mesos.core.model.task_states import TaskState

FRAMEWORK_ID = "batch"

SPECS, JOBS, WORK, PENDING = "specs", "jobs", "work", "pending"
ROLES = "roles"
CLAIMS, UNSETTLED = "claims", "unsettled"
GANG_OFFERS = "gathered"
ACTIVE, ORDER, ENDED, META = "active", "order", "ended", "meta"

PRIORITY_STEP = 2.0**40
"""Distance between the scores of two neighbouring priorities, and so the number of jobs that can be ordered within
one; 1,000 steps are still represented exactly by a float."""
MAX_MESSAGE = 300
"""Maximum length of a stored status message, in characters, so that a page of 1,000 tasks fits into one answer."""
ASK_AGAIN = 600.0
"""Time without a status after which the cell is asked whether a running task still exists, in seconds."""
LOOK_AGAIN = 30.0
"""Interval at which a worker looks at each active job, in seconds, in case no worker has closed it."""
KILLED_CODE = 128 + 15
LOST_CODE = 1
MAX_ATTEMPTS = 20
"""Number of launches of an index whose ends are kept, beside that of the latest one."""
MAX_SKEW_SECONDS = 60.0
"""Largest difference between the times of two workers that follow one store, in seconds, with room for a store
that hangs. A stored time that lies further ahead was taken before the store's clock was set back."""


def pending_key(role: str) -> str:
    """The key of the sorted set with the pending jobs of one role."""
    return f"{PENDING}:{role}"


def results_key(job_id: str) -> str:
    """The key of the hash with a job's results."""
    return f"results:{job_id}"


def failures_key(job_id: str) -> str:
    """The key of the sorted set with a job's failed indices."""
    return f"failures:{job_id}"


def attempts_key(job_id: str) -> str:
    """The key of the hash with the earlier attempts at a job's indices."""
    return f"attempts:{job_id}"


def attempt_field(index: int | str, launch: int) -> str:
    """The field of one earlier attempt."""
    return f"{index}.{launch}"


def dependents_key(job_id: str) -> str:
    """The key of the hash with the jobs that run after this job."""
    return f"dependents:{job_id}"


def counts_key(job_id: str) -> str:
    """The key of the hash with a job's counts."""
    return f"counts:{job_id}"


# -- ids ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskName:
    """The parts of a task id."""

    job_id: str
    index: int
    attempt: int
    launch: int

    @property
    def task_id(self) -> str:
        """The task id as the cluster uses it."""
        launched_again = f"-{self.launch}" if self.launch != self.attempt else ""
        return f"{self.job_id}.{self.index}.{self.attempt}{launched_again}"

    @property
    def claim(self) -> str:
        """The field of the task's claim in ``claims``."""
        return f"{self.job_id}.{self.index}"


def parse_task_id(task_id: str) -> TaskName | None:
    """The parts of a task id; None if it is not a task id of this framework."""
    parts = task_id.rsplit(".", 2)
    if len(parts) != 3:
        return None
    attempt, dash, launch = parts[2].partition("-")
    launch = launch if dash else attempt
    if not (_number(parts[1]) and _number(attempt) and _number(launch)):
        return None
    return TaskName(parts[0], int(parts[1]), int(attempt), int(launch))


def parse_claim_field(field: str) -> tuple[str, int]:
    """The job id and the index in a field of ``claims``."""
    job_id, _, index = field.rpartition(".")
    return job_id, int(index)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


# -- records --------------------------------------------------------------------------------------------


class JobRecord(Part):
    """A job. The record changes when the job is killed and when it ends; the counts are copied into it at the end."""

    name: str = ""
    user: str = ""
    role: str = ANYBODY
    seq: int
    priority: int = 0
    total: int
    array: bool = False
    first: int = 0
    """The first index of the array."""
    ranges: tuple[Range, ...] = ()
    max_running: int = 0
    retries: int = 0
    retry_on: tuple[int, ...] = ()
    rerun: bool = False
    submitted_at: float
    killed: bool = False
    ended_at: float | None = None
    exit_code: int | None = None
    prefers: bool = False
    after: tuple[Dependency, ...] = ()
    followed: bool = False
    """Whether other jobs run after this job."""
    reason: str = ""
    """Why the framework itself ended the job, in one line; else empty."""
    counts: tuple[int, ...] | None = None

    @classmethod
    def of(cls, spec: JobSpec, seq: int, now: float) -> JobRecord:
        """The record of a new job."""
        return cls(
            name=spec.name,
            user=spec.user,
            role=spec.role,
            seq=seq,
            priority=spec.priority,
            total=spec.total,
            array=spec.array is not None,
            first=spec.array[0] if spec.array else 0,
            ranges=spec.ranges,
            max_running=spec.max_running,
            retries=spec.retries,
            retry_on=spec.retry_on,
            rerun=spec.rerun,
            submitted_at=now,
            prefers=bool(spec.prefer),
            after=spec.after,
        )

    @property
    def score(self) -> float:
        """The job's score in ``pending``: higher priorities first, then in the order of submission."""
        return -self.priority * PRIORITY_STEP + self.seq

    def has(self, index: int) -> bool:
        """Whether the job has this index."""
        return self.offset_of(index) is not None

    def offset_of(self, index: int) -> int | None:
        """The offset of an index in the array; None if the job does not have this index."""
        return offset_of(self.first, self.total, self.ranges, index)

    def index_at(self, offset: int) -> int:
        """The index at an offset, which must be below ``total``."""
        return index_at(self.first, self.ranges, offset)


class ClaimRecord(Part):
    """An index that a worker has claimed for an offer, until its task ends."""

    attempt: int
    launch: int
    cell: int
    offer_id: str
    agent_id: str
    hostname: str = ""
    claimed_at: float
    state: TaskState | None = None
    """The task's last state; None until the first status."""
    started_at: float | None = None
    message: str = ""
    kill: bool = False
    """Whether this one index is to be killed."""
    local: bool = False
    """Whether the task's agent is one that the job prefers."""
    history: tuple[Step, ...] = ()
    """The states since it was claimed; empty if it has only begun to run."""
    place: str = ""
    """The value of the attribute by which the job limits its tasks (``JobSpec.per``) on the agent; else empty."""


USAGE = ("cpu_seconds", "memory_peak", "io_read", "io_written", "measured_by")


class ResultRecord(Part):
    """The result of an index that has ended."""

    state: str
    """One of finished, failed, lost, killed."""
    attempt: int = 1
    launch: int = 0
    """The number of the index's last launch; 0 if it was never launched."""
    exit_code: int | None = None
    signal: int | None = None
    agent_id: str = ""
    hostname: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    message: str = ""
    local: bool = False
    """Whether it ended on an agent that the job prefers, so that it counts in ``Counts.local``."""
    used: tuple[float | None, int | None, int | None, int | None, str] | None = None
    """What it has used: ``cpu_seconds``, ``memory_peak``, ``io_read``, ``io_written`` and ``measured_by`` of its
    ``TaskStatus``; without names, since every result has it."""
    cpu_seconds: float | None = None
    memory_peak: int | None = None
    """The same, as an earlier release has stored it."""
    claimed_at: float | None = None
    history: tuple[Step, ...] = ()
    """The states between the claim and the end; empty if it has only begun to run."""

    @property
    def usage(self) -> dict[str, float | int | str | None]:
        """What it has used, by the names of ``TaskStatus``."""
        found = self.used or (self.cpu_seconds, self.memory_peak, None, None, "")
        return dict(zip(USAGE, found, strict=True))

    @property
    def job_exit_code(self) -> int:
        """The exit code of the job if this is its first failure."""
        if self.signal:
            return 128 + self.signal
        if self.exit_code:
            return self.exit_code
        return {"finished": 0, "killed": KILLED_CODE}.get(self.state, LOST_CODE)


def text_of(record: Part) -> str:
    """The text of a record as it is stored: JSON without default values."""
    return record.__pydantic_serializer__.to_json(record, exclude_defaults=True).decode()


class Counts(NamedTuple):
    """Numbers of tasks of a job by state; the tasks that no state counts are pending."""

    claimed: int = 0
    finished: int = 0
    failed: int = 0
    killed: int = 0
    version: int = 0
    """A version that rises by one with every claim, return and end of a task."""
    local: int = 0
    """Number of tasks with a result that ran on a preferred agent."""

    @property
    def ended(self) -> int:
        """Number of tasks with a result."""
        return self.finished + self.failed + self.killed

    def plus(self, by: Mapping[str, int]) -> Counts:
        """New counts, with some of them changed by an amount."""
        return Counts(*(value + by.get(name, 0) for name, value in zip(COUNTS, self, strict=True)))

    @classmethod
    def read(cls, values: Sequence[str | None]) -> Counts:
        """Counts from the stored fields, which are in the order of ``COUNTS``."""
        return cls(*(int(value or 0) for value in values))


COUNTS = Counts._fields


# -- work -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slot:
    """One index to run: the number of its attempt and of its launch."""

    index: int
    attempt: int
    launch: int


@dataclass(frozen=True, slots=True)
class Work:
    """The tasks of a job that are still to be claimed: first the indices that came back, then the array from
    ``cursor`` (an offset, not an index) on, without the ``skipped`` offsets."""

    cursor: int = 0
    returned: tuple[Slot, ...] = ()
    skipped: tuple[int, ...] = ()
    killed: bool = False
    """Whether the job was killed, so that no index is run again."""
    since: float | None = None
    """Time of the store at which the wait for a preferred agent began; None if the job does not wait for one."""
    running: int = 0
    """Number of claimed tasks that have not ended, if the job limits it (``max_running``); else 0."""
    blocked: bool = False
    """Whether the job runs after jobs that have not ended, so that nothing can be claimed."""
    placed: Mapping[str, int] = field(default_factory=dict)
    """Number of claimed tasks that have not ended by value of ``JobSpec.per``, if the job has ``most``; else empty."""

    @property
    def text(self) -> str:
        """The work as it is stored: JSON."""
        value: dict[str, object] = {"c": self.cursor}
        if self.returned:
            value["r"] = [(slot.index, slot.attempt, slot.launch) for slot in self.returned]
        if self.skipped:
            value["s"] = self.skipped
        if self.killed:
            value["k"] = 1
        if self.since is not None:
            value["w"] = self.since
        if self.running:
            value["n"] = self.running
        if self.blocked:
            value["b"] = 1
        if self.placed:
            value["p"] = dict(self.placed)
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Work:
        """The work from its stored text."""
        value = json.loads(text)
        return cls(
            cursor=value["c"],
            returned=tuple(Slot(*slot) for slot in value.get("r", ())),
            skipped=tuple(value.get("s", ())),
            killed=bool(value.get("k")),
            since=value.get("w"),
            running=value.get("n", 0),
            blocked=bool(value.get("b")),
            placed=value.get("p", {}),
        )

    @classmethod
    def of(cls, spec: JobSpec, now: float) -> Work:
        """The work of a new job: all of its indices."""
        return cls(since=now if spec.locality_wait else None, blocked=bool(spec.after))

    def unblocked(self) -> Work:
        """The same work, no longer blocked by other jobs."""
        return replace(self, blocked=False)

    def waits_until(self, spec: JobSpec, now: float) -> float:
        """Time until which only preferred agents are used; 0 if any agent may be used."""
        if self.since is None:
            return 0.0
        if self.since > now + MAX_SKEW_SECONDS:
            return 0.0  # the store's clock was set back since then: how long the wait has lasted is not known
        # A start of the wait in the future comes from a clock that is a little ahead; it counts as now.
        until = min(self.since, now) + spec.locality_wait
        return until if now < until else 0.0

    def wait_restarted(self, now: float) -> Work:
        """The same work with the wait for a preferred agent begun at ``now``: a task got a preferred agent, or the
        first task begins to wait."""
        return self if self.since is None else replace(self, since=now)

    def pending(self, total: int) -> int:
        """Number of tasks that are still to be claimed, of ``total``."""
        return len(self.returned) + total - self.cursor - len(self.skipped)

    def claimable(self, total: int, max_running: int) -> int:
        """Number of tasks that can be claimed now, when at most ``max_running`` run at a time (0: any number)."""
        waiting = self.pending(total)
        return min(waiting, max(max_running - self.running, 0)) if max_running else waiting

    def take(self, first: int, total: int, most: int, ranges: Sequence[Range] = ()) -> tuple[list[Slot], Work]:
        """Take up to ``most`` slots, beginning with those that came back. Returns them and the work that is left."""
        slots = list(self.returned[:most])
        cursor = self.cursor
        skipped = set(self.skipped)
        while len(slots) < most and cursor < total:
            if cursor in skipped:
                skipped.discard(cursor)
            else:
                slots.append(Slot(index_at(first, ranges, cursor), 1, 1))
            cursor += 1
        # Skipped offsets right after the last one taken are passed too, since an empty rest would not look empty.
        while cursor in skipped:
            skipped.discard(cursor)
            cursor += 1
        rest = replace(self, cursor=cursor, returned=self.returned[len(slots) :], skipped=tuple(sorted(skipped)))
        return slots, rest

    def give_back(self, slots: Sequence[Slot]) -> Work:
        """The same work with these indices to run again."""
        return replace(self, returned=(*self.returned, *slots))

    def ran(self, tasks: int) -> Work:
        """The same work with ``tasks`` more running tasks (fewer, if negative), for a job that limits their number."""
        return replace(self, running=max(self.running + tasks, 0))

    def place(self, value: str, tasks: int) -> Work:
        """The same work with ``tasks`` more running tasks (fewer, if negative) where the attribute has a value."""
        count = self.placed.get(value, 0) + tasks
        others = {each: number for each, number in self.placed.items() if each != value}
        return replace(self, placed={**others, value: count} if count > 0 else others)

    def without(self, index: int, first: int, total: int, ranges: Sequence[Range] = ()) -> tuple[Slot, Work] | None:
        """Remove one index. Returns its slot and the work that is left; None if the index is not waiting."""
        for at, slot in enumerate(self.returned):
            if slot.index == index:
                return slot, replace(self, returned=self.returned[:at] + self.returned[at + 1 :])
        offset = offset_of(first, total, ranges, index)
        if offset is None or offset < self.cursor or offset in self.skipped:
            return None
        return Slot(index, 1, 1), replace(self, skipped=tuple(sorted((*self.skipped, offset))))

    def emptied(self, total: int) -> Work:
        """The work after the job was killed: nothing to claim, and no index is run again."""
        return Work(cursor=total, killed=True)


def clip(text: str) -> str:
    """A status message, cut to MAX_MESSAGE characters."""
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
