"""Jobs that run after others: what they wait for, and what becomes of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker_mesos.core.model.job import Dependency
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import (
    JOBS,
    PENDING,
    WORK,
    JobRecord,
    Work,
    dependents_key,
    text_of,
)


class Verdict(NamedTuple):
    """What a job that runs after others is to do."""

    waits_for: tuple[str, ...] = ()
    """Ids of the jobs that have not ended."""
    failed: str = ""
    """Why it can never run, in one line; empty if it can."""


def judge(after: Sequence[Dependency], records: Mapping[str, JobRecord | None]) -> Verdict:
    """Where a job stands whose dependencies have these records (None: it is not known any more)."""
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
    """Complete the plan of a new job: whoever ends one of its dependencies finds it. ``followed``: jobs that
    the plan has marked already."""
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
            # An end that was planned without knowing of it is refused.
            plan.expect(JOBS, each.job_id, text)
            if not record.followed:
                plan.set(JOBS, each.job_id, text_of(record.model_copy(update={"followed": True})))


def plan_release(job_id: str, record: JobRecord, work_text: str) -> Plan:
    """Nothing stands in its way any more: its tasks can be claimed."""
    plan = Plan()
    plan.expect(WORK, job_id, work_text)
    plan.set(WORK, job_id, Work.parse(work_text).unblocked().text)
    plan.add(PENDING, job_id, record.score)
    plan.demand(True)
    return plan
