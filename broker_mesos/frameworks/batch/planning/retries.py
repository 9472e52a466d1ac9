"""The pure function behind ``bmesos retry``: it runs the failed tasks of an ended job again."""

from __future__ import annotations

from collections.abc import Mapping

from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.planning.statuses import keep_attempt
from broker_mesos.frameworks.batch.storage.records import (
    ACTIVE,
    ENDED,
    JOBS,
    LOOK_AGAIN,
    WORK,
    JobRecord,
    ResultRecord,
    Slot,
    Work,
    failures_key,
    results_key,
    text_of,
)


def plan_retry(
    job_id: str, record_text: str, results: Mapping[str, str], now: float, locality_wait: bool
) -> tuple[Plan, JobRecord, int]:
    """The transaction that reopens a job: each task that failed or was lost gets one more attempt under its index.

    ``results`` are the texts of its failures' results, by index. Returns the plan, the job's new record and the
    number of tasks that run again.
    """
    record = JobRecord.model_validate_json(record_text)
    slots: list[Slot] = []
    local = 0
    plan = Plan()
    plan.expect(JOBS, job_id, record_text)
    for index, text in results.items():
        result = ResultRecord.model_validate_json(text)
        if result.state in ("failed", "lost"):
            slots.append(Slot(int(index), result.attempt + 1, result.launch + 1))
            local += result.local
            if result.agent_id:
                keep_attempt(plan, job_id, index, result)
            plan.unset(results_key(job_id), index)
            plan.drop(failures_key(job_id), index)
    fresh = record.model_copy(update={"ended_at": None, "exit_code": None, "counts": None, "killed": False})
    work = Work(cursor=record.total, returned=tuple(slots), since=now if locality_wait else None)
    plan.set(JOBS, job_id, text_of(fresh))
    plan.set(WORK, job_id, work.text)
    plan.add_pending(job_id, record.role, record.score)
    plan.add_after(ACTIVE, job_id, LOOK_AGAIN)
    plan.drop(ENDED, job_id)
    # The counts in the store are those that the record took over at its end.
    plan.count(job_id, failed=-len(slots), local=-local, version=1)
    plan.demand(True)
    return plan, fresh, len(slots)
