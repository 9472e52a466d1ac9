"""Reads one task of a job, by each of its names, with its history and the earlier attempts at its index."""

from __future__ import annotations

from broker_mesos.core.api.jobs import JobTask, JobTaskDetails
from broker_mesos.errors import NotFound
from broker_mesos.frameworks.batch.storage.reader import JobReader
from broker_mesos.frameworks.batch.storage.records import (
    CLAIMS,
    JOBS,
    MAX_ATTEMPTS,
    WORK,
    JobRecord,
    Slot,
    TaskName,
    Work,
    attempt_field,
    attempts_key,
    parse_task_id,
    results_key,
)
from broker_mesos.frameworks.batch.views import details_of, earlier_task, task_of


class AttemptReader:
    """Reads tasks. Every method raises StoreUnavailable."""

    def __init__(self, reader: JobReader) -> None:
        self._read = reader

    async def task(self, task_id: str, *, earlier: bool = False) -> JobTaskDetails:
        """A task by its id. ``JOB.INDEX`` means the latest attempt of an index, and ``JOB`` that of a job's only task.
        With ``earlier``, the id of an earlier attempt means that one.

        Raises NotFound.
        """
        name, (head, _, tail) = parse_task_id(task_id), task_id.rpartition(".")
        readings: list[tuple[str, str | None, bool]] = [(task_id, None, False)]
        if head and tail.isascii() and tail.isdigit():
            readings.append((head, tail, False))
        if name is not None:
            readings.append((name.job_id, str(name.index), True))
        known = await self._read.fields(JOBS, [job_id for job_id, _, _ in readings])
        replaced: NotFound | None = None
        # A job's id may contain dots: of several readings the one as a full task id, the commonest, is preferred.
        for job_id, index_text, is_full in reversed(readings):
            text = known[job_id]
            if text is None:
                continue
            record = JobRecord.model_validate_json(text)
            index = record.first if index_text is None else int(index_text[:18])
            if not record.has(index):
                continue
            task = await self._details(job_id, record, index)
            if is_full and task.task_id != task_id:
                if earlier and name is not None and (found := await self._earlier(task, name)) is not None:
                    return found
                replaced = NotFound(f"task {task_id} was replaced by {task.task_id} ({task.state}); ask for that")
                continue
            return task
        raise replaced or NotFound(f"no task {task_id}; `bmesos status JOB` lists a job's tasks")

    async def _details(self, job_id: str, record: JobRecord, index: int) -> JobTaskDetails:
        """The latest attempt at an index, with the earlier ones."""
        name = f"{job_id}.{index}"
        # Results are read last: an index that ends in between has a claim and a result rather than neither.
        claim = (await self._read.fields(CLAIMS, [name]))[name]
        result = (await self._read.fields(results_key(job_id), [str(index)]))[str(index)]
        task = task_of(job_id, index, record, claim, result)
        launched = parse_task_id(task.task_id) if claim is not None or result is not None else None
        launch = 0 if launched is None else launched.launch
        if not launch and (slot := await self._waiting_slot(job_id, index)) is not None:
            task, launch = task.model_copy(update={"attempt": slot.attempt}), slot.launch
        attempts = await self._attempts(job_id, index, launch)
        return details_of(task, claim, result, attempts, truncated=launch > MAX_ATTEMPTS + 1)

    async def _waiting_slot(self, job_id: str, index: int) -> Slot | None:
        """The slot of an index that waits to run again; None if it has not run yet."""
        text = (await self._read.fields(WORK, [job_id]))[job_id]
        returned = () if text is None else Work.parse(text).returned
        return next((slot for slot in returned if slot.index == index), None)

    async def _attempts(self, job_id: str, index: int, launch: int) -> list[JobTask]:
        """The attempts before a launch, the oldest first."""
        fields = [attempt_field(index, each) for each in range(max(1, launch - MAX_ATTEMPTS), launch)]
        texts = await self._read.fields(attempts_key(job_id), fields)
        return [earlier_task(job_id, index, text) for text in texts.values() if text is not None]

    async def _earlier(self, latest: JobTaskDetails, name: TaskName) -> JobTaskDetails | None:
        """An earlier attempt than the latest one; None if it is not kept."""
        field = attempt_field(name.index, name.launch)
        text = (await self._read.fields(attempts_key(name.job_id), [field]))[field]
        if text is None:
            return None
        task = earlier_task(name.job_id, name.index, text)
        if task.task_id != name.task_id:
            return None
        found = details_of(task, None, text, latest.attempts, truncated=latest.attempts_truncated)
        return found.model_copy(update={"latest": latest.task_id})
