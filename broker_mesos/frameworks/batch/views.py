"""Pure functions that turn records of jobs into the summaries and tasks that users see."""

from __future__ import annotations

from collections.abc import Sequence

from broker_mesos.core.api.jobs import JobState, JobSummary, JobTask, JobTaskDetails
from broker_mesos.core.model.task_history import MAX_REASON, Step, all_steps
from broker_mesos.frameworks.batch.storage.records import (
    USAGE,
    ClaimRecord,
    Counts,
    JobRecord,
    ResultRecord,
    TaskName,
)

_NOT_OF_A_TASK = {"attempt", "launch", "local", "claimed_at", "history", "used", *USAGE}


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


def earlier_task(job_id: str, index: int, text: str) -> JobTask:
    """An earlier attempt at one index, from its result."""
    result = ResultRecord.model_validate_json(text)
    return JobTask(
        task_id=TaskName(job_id, index, result.attempt, result.launch).task_id,
        job_id=job_id,
        index=index,
        attempt=result.attempt,
        **result.model_dump(exclude=_NOT_OF_A_TASK),
        **result.usage,  # type: ignore[arg-type]
    )


def details_of(
    task: JobTask, claim_text: str | None, result_text: str | None, attempts: Sequence[JobTask], *, truncated: bool
) -> JobTaskDetails:
    """A task with its history, from its claim or result. ``truncated``: whether earlier attempts are not kept."""
    made = JobTaskDetails(**task.model_dump(), attempts=tuple(attempts), attempts_truncated=truncated)
    if result_text is not None:
        result = ResultRecord.model_validate_json(result_text)
        last = None if result.ended_at is None else Step(result.state, result.ended_at, result.message[:MAX_REASON])
        steps = all_steps(result.claimed_at or 0.0, result.started_at, result.history, last)
        claimed_at = result.claimed_at
    elif claim_text is not None:
        claim = ClaimRecord.model_validate_json(claim_text)
        steps = all_steps(claim.claimed_at, claim.started_at, claim.history, None)
        claimed_at = claim.claimed_at
    else:
        return made
    history, cut = steps
    return made.model_copy(update={"claimed_at": claimed_at, "history": history, "history_truncated": cut})


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
            **result.model_dump(exclude=_NOT_OF_A_TASK),
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
