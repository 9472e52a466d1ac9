"""Pure functions that turn values read from the store into a transaction that changes jobs.

When a transaction is applied, every value that it depends on is compared with the exact text that was read, so that
any number of workers can plan at once: of two plans that touch the same value one applies, and the worker of the
other one reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.roles import ANYBODY
from broker_mesos.frameworks.batch.storage.records import (
    ACTIVE,
    COUNTS,
    ENDED,
    JOBS,
    LOOK_AGAIN,
    META,
    ORDER,
    PENDING,
    ROLES,
    SPECS,
    WORK,
    Counts,
    JobRecord,
    ResultRecord,
    Work,
    counts_key,
    failures_key,
    pending_key,
    results_key,
    text_of,
)
from broker_mesos.ports.store import Change, Check


class Plan:
    """A transaction that is being built: comparisons first, then changes."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.changes: list[Change] = []
        self._increments: list[tuple[str, str]] = []

    def expect(self, key: str, field: str, value: str | None) -> None:
        """Apply the transaction only if the field still has this value (None: if it does not exist)."""
        self.checks.append(Check("hash", key, field, value))

    def expect_size(self, key: str, size: int) -> None:
        """Apply the transaction only if the sorted set has this many members."""
        self.checks.append(Check("zcard", key, value=size))

    def set(self, key: str, field: str, value: str) -> None:
        """Set a field."""
        self.changes.append(Change("hset", key, field, value))

    def unset(self, key: str, field: str) -> None:
        """Remove a field."""
        self.changes.append(Change("hdel", key, field))

    def add(self, key: str, member: str, score: float) -> None:
        """Add or move a member of a sorted set."""
        self.changes.append(Change("zadd", key, member, score))

    def add_after(self, key: str, member: str, seconds: float) -> None:
        """Add or move a member of a sorted set of times: its score becomes the store's time plus ``seconds``."""
        self.changes.append(Change("zadd_after", key, member, seconds))

    def add_last(self, key: str, member: str, score: float) -> None:
        """Add a member of a sorted set that is above all that are there: its score becomes at least ``score``."""
        self.changes.append(Change("zadd_last", key, member, score))

    def drop(self, key: str, member: str) -> None:
        """Remove a member of a sorted set."""
        self.changes.append(Change("zrem", key, member))

    def add_pending(self, job_id: str, role: str, score: float) -> None:
        """Note that a job of a role has something to claim."""
        self.add(PENDING, job_id, score)
        self.add(pending_key(role), job_id, score)
        if role != ANYBODY:
            self.set(ROLES, role, "1")

    def drop_pending(self, job_id: str, role: str) -> None:
        """Note that a job of a role has nothing to claim."""
        self.drop(PENDING, job_id)
        self.drop(pending_key(role), job_id)

    def forget_pending(self) -> None:
        """Remove all changes of which jobs are pending from the plan."""
        self.changes = [each for each in self.changes if each.key.partition(":")[0] != PENDING]

    def delete(self, key: str) -> None:
        """Remove a whole key."""
        self.changes.append(Change("del", key))

    def increment(self, key: str, field: str, by: int) -> None:
        """Add to a number; ``totals`` returns its new value after the transaction."""
        self.changes.append(Change("hincrby", key, field, by))
        self._increments.append((key, field))

    def count(self, job_id: str, **by: int) -> None:
        """Change a job's counts; ``totals`` returns all of them after the transaction. May be called once for each
        job in a plan."""
        for field in COUNTS:
            self.increment(counts_key(job_id), field, by.get(field, 0))

    def demand(self, wanted: bool) -> None:
        """Set the level of demand under a new version, which is taken in the transaction that makes work appear or
        run out."""
        self.increment(META, "demand_version", 1)
        self.set(META, "wanted", "1" if wanted else "0")

    def join(self, other: Plan, key: str, field: str) -> None:
        """Append another plan to this one. The other plan must not compare the value that this one stores in
        ``field``."""
        self.checks += [each for each in other.checks if (each.key, each.field) != (key, field)]
        self.changes += other.changes
        self._increments += other._increments

    def totals(self, values: Sequence[int]) -> dict[tuple[str, str], int]:
        """The new values of the incremented numbers, by key and field; ``values`` come from the applied
        transaction."""
        return dict(zip(self._increments, values, strict=True))


def counts_in(totals: Mapping[tuple[str, str], int], job_id: str) -> Counts:
    """A job's counts after a plan that called ``count``, from its totals."""
    key = counts_key(job_id)
    return Counts(*(totals[key, field] for field in COUNTS))


# -- submit, kill, end ----------------------------------------------------------------------------------


def plan_submit(
    jobs: Sequence[tuple[str, JobSpec]],
    seq_text: str | None,
    now: float,
    claim: Plan | None = None,
    version: int = 0,
    follow: Callable[[Plan, str, JobSpec], None] = lambda plan, job_id, spec: None,
) -> Plan:
    """The transaction that stores new jobs, in this order. ``seq_text`` is the number of the latest job, as it was
    read; ``follow`` adds to the plan what a job that runs after others needs.

    With ``claim`` there is one job, and that plan claims all of its tasks in the same transaction, so that the job
    is never pending. No other job may be pending either, as of that ``version`` of demand.
    """
    plan = Plan()
    seq = int(seq_text or 0)
    plan.expect(META, "seq", seq_text)
    for job_id, spec in jobs:
        seq += 1
        record = JobRecord.of(spec, seq, now)
        plan.expect(SPECS, job_id, None)
        plan.set(SPECS, job_id, text_of(spec))
        plan.set(JOBS, job_id, text_of(record))
        if claim is None:
            plan.set(WORK, job_id, Work.of(spec, now).text)
            if spec.after:
                follow(plan, job_id, spec)
            else:
                plan.add_pending(job_id, record.role, record.score)
        else:
            claim.forget_pending()
            plan.join(claim, WORK, job_id)
        plan.add_after(ACTIVE, job_id, LOOK_AGAIN)
        plan.add(ORDER, job_id, -seq)
    plan.set(META, "seq", str(seq))
    if claim is not None:
        plan.expect(META, "demand_version", str(version))
    if any(not spec.after for _, spec in jobs):
        plan.demand(claim is None)
    return plan


def plan_kill(job_id: str, record_text: str, work_text: str | None, reason: str = "") -> Plan:
    """The transaction that kills a job: its waiting tasks never run, and no task is run again. The caller must kill
    the tasks that are claimed."""
    record = JobRecord.model_validate_json(record_text)
    plan = Plan()
    plan.expect(JOBS, job_id, record_text)
    plan.set(JOBS, job_id, text_of(record.model_copy(update={"killed": True, "reason": reason})))
    plan.expect(WORK, job_id, work_text)
    waiting = 0
    if work_text is not None:
        work = Work.parse(work_text)
        waiting = work.pending(record.total)
        plan.set(WORK, job_id, work.emptied(record.total).text)
    plan.drop_pending(job_id, record.role)
    plan.count(job_id, killed=waiting, version=waiting)
    if waiting:
        plan.demand(True)  # a new version for the other jobs, if any wait: this job's tasks need no offers any more
    return plan


def plan_kill_pending(job_id: str, index: int, record: JobRecord, work_text: str | None, now: float) -> Plan | None:
    """The transaction that kills one waiting index, so that it never runs; None if the index does not wait."""
    found = (
        None if work_text is None else Work.parse(work_text).without(index, record.first, record.total, record.ranges)
    )
    if found is None:
        return None
    slot, rest = found
    result = ResultRecord(
        state="killed",
        attempt=slot.attempt,
        launch=slot.launch - 1,
        ended_at=now,
        message="killed before it ran" if slot.launch == 1 else "killed before it ran again",
    )
    plan = Plan()
    plan.expect(WORK, job_id, work_text)
    plan.set(WORK, job_id, rest.text)
    if not rest.claimable(record.total, record.max_running):
        plan.drop_pending(job_id, record.role)
        plan.demand(True)
    plan.set(results_key(job_id), str(index), text_of(result))
    plan.add(failures_key(job_id), str(index), index)
    plan.count(job_id, killed=1, version=1)
    return plan


class Ending(NamedTuple):
    """A job whose tasks have all ended, and its final values."""

    job_id: str
    record_text: str
    counts: Counts
    exit_code: int

    def record(self, now: float) -> JobRecord:
        """The job's last record."""
        record = JobRecord.model_validate_json(self.record_text)
        return record.model_copy(update={"ended_at": now, "exit_code": self.exit_code, "counts": tuple(self.counts)})


def plan_end(endings: Sequence[Ending], now: float, plan: Plan | None = None) -> Plan:
    """The transaction that closes jobs, added to ``plan`` if there is one."""
    plan = plan or Plan()
    for ending in endings:
        job_id, record = ending.job_id, ending.record(now)
        plan.expect(JOBS, job_id, ending.record_text)
        plan.set(JOBS, job_id, text_of(record))
        plan.unset(WORK, job_id)
        plan.drop_pending(job_id, record.role)
        plan.drop(ACTIVE, job_id)
        plan.add_last(ENDED, job_id, now)  # the clock of the store may have been set back
    return plan
