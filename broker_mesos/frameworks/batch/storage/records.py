"""What is kept of jobs.

======================  ====  ==========================================================================
key                     type  holds
======================  ====  ==========================================================================
``specs``               hash  job id → JobSpec, never changed
``jobs``                hash  job id → JobRecord
``work``                hash  job id → Work: what is still to be claimed
``pending``             zset  jobs with something to claim, in the order in which they are served
``claims``              hash  ``<job>.<index>`` → ClaimRecord: claimed, and not ended
``unsettled``           zset  task id by the time at which its cell is asked about it
``gathered``            hash  offer id → Offer: of gangs that are not complete yet
``results:<job>``       hash  index → ResultRecord
``failures:<job>``      zset  indices that failed or were killed
``dependents:<job>``    hash  jobs that run after it → "1"
``counts:<job>``        hash  claimed, finished, failed, killed, version, local
``active``              zset  jobs that have not ended, by the time at which a worker looks at them again
``order``, ``ended``    zset  all jobs, the latest first; ended ones, the oldest first
``meta``                hash  seq (of the latest job), demand_version, wanted
======================  ====  ==========================================================================

A task id is ``<job>.<index>.<launch>``. ``launch`` counts claims, so that an index that was given back goes
out under a new id; ``attempt`` counts runs, and is what retries are compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from broker_mesos.core.model.job import Dependency, JobSpec
from broker_mesos.core.model.job_array import Range, index_at, offset_of
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.task_states import TaskState

FRAMEWORK_ID = "batch"

SPECS, JOBS, WORK, PENDING = "specs", "jobs", "work", "pending"
CLAIMS, UNSETTLED = "claims", "unsettled"
GANG_OFFERS = "gathered"
ACTIVE, ORDER, ENDED, META = "active", "order", "ended", "meta"

PRIORITY_STEP = 2.0**40
"""Jobs of one priority that can be told apart by their number; 1,000 steps still fit a float exactly."""
MAX_MESSAGE = 300
"""Characters kept of a status' message, so that a page of a thousand tasks fits into one answer."""
ASK_AGAIN = 600.0
"""Seconds without news after which the cell is asked whether a task that runs still exists."""
LOOK_AGAIN = 30.0
"""Seconds after which a worker looks at an active job that nobody may have ended."""
KILLED_CODE = 128 + 15
LOST_CODE = 1
MAX_SKEW_SECONDS = 60.0
"""Largest difference between the times of two workers that follow one store, in seconds, with room for a store
that hangs. A stored time that lies further ahead was taken before the store's clock was set back."""


def results_key(job_id: str) -> str:
    """Key of a job's results."""
    return f"results:{job_id}"


def failures_key(job_id: str) -> str:
    """Key of a job's failed indices."""
    return f"failures:{job_id}"


def dependents_key(job_id: str) -> str:
    """Key of the jobs that run after one."""
    return f"dependents:{job_id}"


def counts_key(job_id: str) -> str:
    """Key of a job's counts."""
    return f"counts:{job_id}"


# -- ids ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskName:
    """The parts of a task id."""

    job_id: str
    index: int
    launch: int

    @property
    def task_id(self) -> str:
        """The id on the wire."""
        return f"{self.job_id}.{self.index}.{self.launch}"

    @property
    def claim(self) -> str:
        """Field of its claim."""
        return f"{self.job_id}.{self.index}"


def parse_task_id(task_id: str) -> TaskName | None:
    """The parts of a task id; None if it was not made here."""
    parts = task_id.rsplit(".", 2)
    if len(parts) != 3 or not (_number(parts[1]) and _number(parts[2])):
        return None
    return TaskName(parts[0], int(parts[1]), int(parts[2]))


def parse_claim_field(field: str) -> tuple[str, int]:
    """Job id and index of a field of ``claims``."""
    job_id, _, index = field.rpartition(".")
    return job_id, int(index)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


# -- records --------------------------------------------------------------------------------------------


class JobRecord(Part):
    """A job. Changed when it is killed and when it ends; its counts move in once it has ended."""

    name: str = ""
    user: str = ""
    seq: int
    priority: int = 0
    total: int
    array: bool = False
    first: int = 0
    """The first index."""
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
    """Some job runs after it."""
    reason: str = ""
    """Why the framework itself ended it, in one line."""
    counts: tuple[int, ...] | None = None

    @classmethod
    def of(cls, spec: JobSpec, seq: int, now: float) -> JobRecord:
        """The record of a new job."""
        return cls(
            name=spec.name,
            user=spec.user,
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
        """Its place among the pending jobs: higher priority first, then first come, first served."""
        return -self.priority * PRIORITY_STEP + self.seq

    def has(self, index: int) -> bool:
        """Whether the index is one of the job's."""
        return self.offset_of(index) is not None

    def offset_of(self, index: int) -> int | None:
        """The offset of an index in the array; None if it is not one of the job's."""
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
    """None until the first status."""
    started_at: float | None = None
    message: str = ""
    kill: bool = False
    """A kill of this one index was asked for."""
    local: bool = False
    """Its agent is preferred."""


class ResultRecord(Part):
    """How an index ended."""

    state: str
    """finished, failed, lost, killed"""
    attempt: int = 1
    launch: int = 0
    """0: it never ran."""
    exit_code: int | None = None
    signal: int | None = None
    agent_id: str = ""
    hostname: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    message: str = ""

    @property
    def job_exit_code(self) -> int:
        """What the job exits with, if this is its first failure."""
        if self.signal:
            return 128 + self.signal
        if self.exit_code:
            return self.exit_code
        return {"finished": 0, "killed": KILLED_CODE}.get(self.state, LOST_CODE)


def text_of(record: Part) -> str:
    """A record as it is stored."""
    return record.__pydantic_serializer__.to_json(record, exclude_defaults=True).decode()


class Counts(NamedTuple):
    """Tasks of a job per state; those that are in none of them are pending."""

    claimed: int = 0
    finished: int = 0
    failed: int = 0
    killed: int = 0
    version: int = 0
    """Rises by one with every claim, return and end of a task."""
    local: int = 0
    """Tasks with a result that ran on a preferred agent."""

    @property
    def ended(self) -> int:
        """Tasks with a result."""
        return self.finished + self.failed + self.killed

    def plus(self, by: Mapping[str, int]) -> Counts:
        """With some of them changed."""
        return Counts(*(value + by.get(name, 0) for name, value in zip(COUNTS, self, strict=True)))

    @classmethod
    def read(cls, values: Sequence[str | None]) -> Counts:
        """From the stored fields, in the order of ``COUNTS``."""
        return cls(*(int(value or 0) for value in values))


COUNTS = Counts._fields


# -- work -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slot:
    """One index to run: as its ``attempt``-th attempt, under its ``launch``-th id."""

    index: int
    attempt: int
    launch: int


@dataclass(frozen=True, slots=True)
class Work:
    """What is still to be claimed of a job: the array from ``cursor`` (an offset, not an index) on, less
    ``skipped`` offsets, and before them the indices that came back."""

    cursor: int = 0
    returned: tuple[Slot, ...] = ()
    skipped: tuple[int, ...] = ()
    killed: bool = False
    """Nothing comes back any more."""
    since: float | None = None
    """When the wait for a preferred agent began; None where there is none."""
    running: int = 0
    """Tasks that are claimed and have not ended, of a job that limits their number; else 0."""
    blocked: bool = False
    """It runs after jobs that have not ended: nothing can be claimed."""

    @property
    def text(self) -> str:
        """As it is stored."""
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
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Work:
        """From what is stored."""
        value = json.loads(text)
        return cls(
            cursor=value["c"],
            returned=tuple(Slot(*slot) for slot in value.get("r", ())),
            skipped=tuple(value.get("s", ())),
            killed=bool(value.get("k")),
            since=value.get("w"),
            running=value.get("n", 0),
            blocked=bool(value.get("b")),
        )

    @classmethod
    def of(cls, spec: JobSpec, now: float) -> Work:
        """Of a new job."""
        return cls(since=now if spec.locality_wait else None, blocked=bool(spec.after))

    def unblocked(self) -> Work:
        """With nothing left that it has to wait for."""
        return replace(self, blocked=False)

    def waits_until(self, spec: JobSpec, now: float) -> float:
        """Until when only preferred agents will do; 0 if any will."""
        if self.since is None:
            return 0.0
        if self.since > now + MAX_SKEW_SECONDS:
            return 0.0  # the store's clock was set back since: how long the wait has lasted is not known
        # By a clock that is a little ahead of this one it began at this moment.
        until = min(self.since, now) + spec.locality_wait
        return until if now < until else 0.0

    def waits_anew(self, now: float) -> Work:
        """A task found a preferred agent, or the first one begins to wait."""
        return self if self.since is None else replace(self, since=now)

    def pending(self, total: int) -> int:
        """How many can be claimed."""
        return len(self.returned) + total - self.cursor - len(self.skipped)

    def claimable(self, total: int, max_running: int) -> int:
        """How many can be claimed now, when at most ``max_running`` run at a time (0: any number)."""
        waiting = self.pending(total)
        return min(waiting, max(max_running - self.running, 0)) if max_running else waiting

    def take(self, first: int, total: int, most: int, ranges: Sequence[Range] = ()) -> tuple[list[Slot], Work]:
        """Up to ``most`` slots, those that came back first; and what is left."""
        slots = list(self.returned[:most])
        cursor = self.cursor
        skipped = set(self.skipped)
        while len(slots) < most and cursor < total:
            if cursor in skipped:
                skipped.discard(cursor)
            else:
                slots.append(Slot(index_at(first, ranges, cursor), 1, 1))
            cursor += 1
        # Offsets to skip right behind the last one taken are passed too, or an empty rest would look full.
        while cursor in skipped:
            skipped.discard(cursor)
            cursor += 1
        rest = replace(self, cursor=cursor, returned=self.returned[len(slots) :], skipped=tuple(sorted(skipped)))
        return slots, rest

    def give_back(self, slots: Sequence[Slot]) -> Work:
        """With more indices to run again."""
        return replace(self, returned=(*self.returned, *slots))

    def ran(self, tasks: int) -> Work:
        """With that many more tasks (or fewer, if negative) that run, of a job that limits their number."""
        return replace(self, running=max(self.running + tasks, 0))

    def without(self, index: int, first: int, total: int, ranges: Sequence[Range] = ()) -> tuple[Slot, Work] | None:
        """Without one index, and the slot it had; None if it is not to be claimed (any more)."""
        for at, slot in enumerate(self.returned):
            if slot.index == index:
                return slot, replace(self, returned=self.returned[:at] + self.returned[at + 1 :])
        offset = offset_of(first, total, ranges, index)
        if offset is None or offset < self.cursor or offset in self.skipped:
            return None
        return Slot(index, 1, 1), replace(self, skipped=tuple(sorted((*self.skipped, offset))))

    def emptied(self, total: int) -> Work:
        """Of a killed job."""
        return Work(cursor=total, killed=True)


def clip(text: str) -> str:
    """A status' message, short enough to keep."""
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
