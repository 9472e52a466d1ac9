"""Pure functions that turn records of jobs into the summaries and tasks that users see."""

from __future__ import annotations

from broker_mesos.core.api.jobs import JobState, JobSummary, JobTask
from broker_mesos.frameworks.batch.storage.records import (
    USAGE,
    ClaimRecord,
    Counts,
    JobRecord,
    ResultRecord,
    TaskName,
)


def summary_of(job_id: str, record: JobRecord, counts: Counts, waiting: str = "") -> JobSummary:
    """The summary of a job, from its record and counts."""
    if record.counts is not None:
        counts = Counts(*record.counts)
    return JobSummary(
        job_id=job_id,
        name=record.name,
        user=record.user,
        role=record.role,
        state=_state(record, counts),
        total=record.total,
        counts={
            "pending": record.total - counts.claimed - counts.ended,
            "running": counts.claimed,
            "finished": counts.finished,
            "failed": counts.failed,
            "killed": counts.killed,
        },
        exit_code=record.exit_code,
        submitted_at=record.submitted_at,
        seq=record.seq,
        ended_at=record.ended_at,
        version=counts.version,
        local=counts.local if record.prefers else None,
        waiting=waiting,
        reason=record.reason,
    )


def _state(record: JobRecord, counts: Counts) -> JobState:
    if counts.ended < record.total:
        return "running" if counts.claimed or counts.ended else "pending"
    if counts.killed and (record.killed or not counts.failed):
        return "killed"
    return "failed" if counts.failed else "finished"


def task_of(job_id: str, index: int, record: JobRecord, claim_text: str | None, result_text: str | None) -> JobTask:
    """The current state of one index, from its claim or result, else as pending."""
    if result_text is not None:
        result = ResultRecord.model_validate_json(result_text)
        name = TaskName(job_id, index, result.attempt, result.launch)
        return JobTask(
            # One that was killed before its next attempt has no agent, and no task under the id of that attempt.
            task_id=name.task_id if result.agent_id else name.claim,
            job_id=job_id,
            index=index,
            attempt=result.attempt,
            **result.model_dump(exclude={"attempt", "launch", "local", "used", *USAGE}),
            **result.usage,  # type: ignore[arg-type]
        )
    if claim_text is not None:
        claim = ClaimRecord.model_validate_json(claim_text)
        state = "staging" if claim.state is None else claim.state.short
        return JobTask(
            task_id=TaskName(job_id, index, claim.attempt, claim.launch).task_id,
            job_id=job_id,
            index=index,
            attempt=claim.attempt,
            state={"starting": "staging", "killing": "running"}.get(state, state),
            agent_id=claim.agent_id,
            hostname=claim.hostname,
            started_at=claim.started_at,
            message=claim.message,
        )
    return JobTask(
        task_id=f"{job_id}.{index}",
        job_id=job_id,
        index=index,
        attempt=1,
        state="killed" if record.killed else "pending",
        ended_at=record.ended_at,
    )
