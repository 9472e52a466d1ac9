"""Pure rules for jobs that run after other jobs: which jobs they wait for, and when they may run or must fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker_mesos.core.model.job import Dependency
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import (
    JOBS,
    WORK,
    JobRecord,
    Work,
    dependents_key,
    text_of,
)


class Verdict(NamedTuple):
    """Whether a job that runs after others may run, must wait, or can never run."""

    waits_for: tuple[str, ...] = ()
    """Ids of the jobs that it runs after and that have not ended."""
    failed: str = ""
    """Why the job can never run, in one line; empty if it can."""


def verdict_on(after: Sequence[Dependency], records: Mapping[str, JobRecord | None]) -> Verdict:
    """The verdict on a job whose dependencies have these records (None: the dependency was forgotten)."""
    waits_for: list[str] = []
    for each in after:
        record = records[each.job_id]
        if record is None:
            if not each.any_end:
                return Verdict(failed=f"job {each.job_id}, after which it runs, is not known any more")
        elif record.ended_at is None:
            waits_for.append(each.job_id)
        elif record.exit_code and not each.any_end:
            return Verdict(failed=f"job {each.job_id}, after which it runs, ended with exit code {record.exit_code}")
    return Verdict(tuple(waits_for))


def plan_follow(
    plan: Plan, job_id: str, after: Sequence[Dependency], texts: Mapping[str, str | None], followed: set[str]
) -> None:
    """Add to the plan of a new job that its dependencies are marked, so that the worker that ends one of them finds
    the new job. ``followed`` holds the jobs that the plan has marked already."""
    for each in after:
        text = texts[each.job_id]
        if text is None:
            continue
        record = JobRecord.model_validate_json(text)
        if record.ended_at is not None:
            continue
        plan.set(dependents_key(each.job_id), job_id, "1")
        if each.job_id not in followed:
            followed.add(each.job_id)
            # A concurrent plan that ends the dependency without seeing the new job is then refused.
            plan.expect(JOBS, each.job_id, text)
            if not record.followed:
                plan.set(JOBS, each.job_id, text_of(record.model_copy(update={"followed": True})))


def plan_release(job_id: str, record: JobRecord, work_text: str) -> Plan:
    """The transaction after which a job no longer waits for others, and its tasks can be claimed."""
    plan = Plan()
    plan.expect(WORK, job_id, work_text)
    plan.set(WORK, job_id, Work.parse(work_text).unblocked().text)
    plan.add_pending(job_id, record.role, record.score)
    plan.demand(True)
    return plan
