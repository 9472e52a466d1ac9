"""Reads jobs from the store: specs (cached, since they never change), records, counts, tasks."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from broker_mesos.core.api.jobs import JobTask
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import NotFound
from broker_mesos.frameworks.batch.planning.claims import Candidate
from broker_mesos.frameworks.batch.storage.records import (
    CLAIMS,
    COUNTS,
    JOBS,
    KILLED_CODE,
    LOST_CODE,
    SPECS,
    WORK,
    ClaimRecord,
    Counts,
    JobRecord,
    ResultRecord,
    TaskName,
    counts_key,
    failures_key,
    parse_claim_field,
    results_key,
    text_of,
)
from broker_mesos.frameworks.batch.views import task_of
from broker_mesos.ports.store import Records

CACHE_BYTES = 64 << 20
"""Maximum size of the cached specs' JSON, in bytes; decoded they take several times as much."""
CHUNK = 1_000
"""Maximum number of fields that are read or removed by one request to the store."""
MAX_STAGING_LOOK = 100
"""Maximum number of indices whose claims are read to see whether a task of a job has started."""
_NOT_STARTED = (None, TaskState.STAGING, TaskState.STARTING)
MAX_LOOKED_AT = 20_000
"""Maximum number of tasks that are read for one page of a listing that is narrowed to some states."""


Kills = list[tuple[str, str]]
"""Pairs of task id and agent id."""


class Loaded(NamedTuple):
    """A job's spec, the size of its JSON in bytes, and its score among the pending jobs."""

    spec: JobSpec
    size: int
    score: float


class Page(NamedTuple):
    """Some tasks of a job, and the offset of the next page."""

    tasks: list[JobTask]
    more: int | None


class JobReader:
    """Reads jobs. Every method raises StoreUnavailable."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._specs: OrderedDict[str, Loaded] = OrderedDict()
        self._size = 0

    async def fields(self, key: str, fields: Collection[str]) -> dict[str, str | None]:
        """The values of fields of a hash; None for a field that does not exist."""
        if not fields:
            return {}
        names = list(fields)
        return dict(zip(names, await self._records.get(key, names), strict=True))

    async def specs(self, pending: Sequence[tuple[str, float]]) -> dict[str, Loaded]:
        """Specs of pending jobs (id and score), by job id. The score distinguishes a job from an earlier one with the
        same id, which was deleted since and may be cached."""
        found: dict[str, Loaded] = {}
        for job_id, score in pending:
            cached = self._specs.get(job_id)
            if cached is not None and cached.score == score:
                self._specs.move_to_end(job_id)
                found[job_id] = cached
        missing = {job_id: score for job_id, score in pending if job_id not in found}
        for job_id, text in (await self.fields(SPECS, missing)).items():
            if text is not None:
                found[job_id] = Loaded(JobSpec.model_validate_json(text), len(text.encode()), missing[job_id])
                self._remember(job_id, found[job_id])
        return found

    async def candidates(self, pending: Sequence[tuple[str, float]]) -> list[Candidate]:
        """The candidates for pending jobs (id and score): their specs, and what is left to claim."""
        ids = [job_id for job_id, _ in pending]
        works, specs = await asyncio.gather(self.fields(WORK, ids), self.specs(pending))
        return [
            Candidate(job_id, specs[job_id].spec, work, specs[job_id].size)
            for job_id in ids
            if (work := works[job_id]) is not None and job_id in specs
        ]

    async def spec(self, job_id: str) -> JobSpec:
        """A job's spec. Raises NotFound."""
        text = (await self._records.get(SPECS, [job_id]))[0]
        if text is None:
            raise no_job(job_id)
        return JobSpec.model_validate_json(text)

    def remember(self, job_id: str, spec: JobSpec, score: float) -> None:
        """Cache the spec of a job that was just stored."""
        self._remember(job_id, Loaded(spec, len(text_of(spec).encode()), score))

    def _remember(self, job_id: str, loaded: Loaded) -> None:
        self._forget(job_id)
        self._specs[job_id] = loaded
        self._size += loaded.size
        while self._size > CACHE_BYTES and len(self._specs) > 1:
            self._forget(next(iter(self._specs)))

    def _forget(self, job_id: str) -> None:
        old = self._specs.pop(job_id, None)
        if old is not None:
            self._size -= old.size

    async def record(self, job_id: str) -> tuple[str, JobRecord]:
        """A job's record, as the stored text and decoded. Raises NotFound."""
        text = (await self._records.get(JOBS, [job_id]))[0]
        if text is None:
            raise no_job(job_id)
        return text, JobRecord.model_validate_json(text)

    async def counts(self, job_id: str) -> Counts:
        """A job's counts; all zero for a new job, and for one that does not exist."""
        return Counts.read(await self._records.get(counts_key(job_id), list(COUNTS)))

    async def exit_code(self, job_id: str, counts: Counts) -> int:
        """The exit code of a job whose tasks have all ended: that of its first failure, or 0."""
        if counts.finished == counts.ended:
            return 0
        failures = await self._records.range(failures_key(job_id), limit=1)
        if failures:
            text = (await self._records.get(results_key(job_id), [failures[0][0]]))[0]
            if text is not None:
                return ResultRecord.model_validate_json(text).job_exit_code
        return KILLED_CODE if counts.killed else LOST_CODE

    async def claims_of(self, job_id: str) -> Kills:
        """Task id and agent id of every claim of a job."""
        found: dict[str, str] = {}
        cursor = "0"
        while True:
            cursor, page = await self._records.scan(CLAIMS, cursor, CHUNK)
            for field, text in page.items():
                owner, index = parse_claim_field(field)
                if owner == job_id:
                    claim = ClaimRecord.model_validate_json(text)
                    found[TaskName(job_id, index, claim.attempt, claim.launch).task_id] = claim.agent_id
            if cursor == "0":
                return list(found.items())

    async def none_has_started(self, job_id: str, record: JobRecord) -> bool:
        """Whether tasks of a job of which none has ended are claimed, and none of the first of them has started."""
        indices = map(record.index_at, range(min(record.total, MAX_STAGING_LOOK)))
        texts = await self.fields(CLAIMS, [f"{job_id}.{index}" for index in indices])
        claims = [ClaimRecord.model_validate_json(text) for text in texts.values() if text is not None]
        return bool(claims) and all(claim.started_at is None and claim.state in _NOT_STARTED for claim in claims)

    async def tasks(self, job_id: str, record: JobRecord, indices: Sequence[int]) -> list[JobTask]:
        """The current state of these indices of a job."""
        # Results are read last: an index that ends in between has a claim and a result rather than neither.
        claims = await self.fields(CLAIMS, [f"{job_id}.{index}" for index in indices])
        results = await self.fields(results_key(job_id), [str(index) for index in indices])
        return [task_of(job_id, index, record, claims[f"{job_id}.{index}"], results[str(index)]) for index in indices]

    async def page(self, job_id: str, record: JobRecord, offset: int, limit: int, states: Collection[str]) -> Page:
        """Up to ``limit`` tasks, beginning at an offset in the array; only those in ``states`` unless that is empty.

        A page narrowed to states may be short or empty although more pages follow.
        """
        if states and set(states) <= {"failed", "lost"}:
            return await self._failures(job_id, record, offset, limit, states)
        found: list[JobTask] = []
        end = min(record.total, offset + (MAX_LOOKED_AT if states else limit))
        while offset < end and len(found) < limit:
            step = min(end - offset, CHUNK)
            for task in await self.tasks(job_id, record, [record.index_at(at) for at in range(offset, offset + step)]):
                if len(found) == limit:
                    break
                offset += 1
                if not states or task.state in states:
                    found.append(task)
        return Page(found, offset if offset < record.total else None)

    async def _failures(self, job_id: str, record: JobRecord, offset: int, limit: int, states: Collection[str]) -> Page:
        """A page of failed tasks, from the index of failures: three of a million are found by one request."""
        failed = await self._records.range(failures_key(job_id), limit=MAX_LOOKED_AT)
        offsets = {int(member): record.offset_of(int(member)) or 0 for member, _ in failed}
        indices = [index for index, at in offsets.items() if at >= offset]
        found: list[JobTask] = []
        for at in range(0, len(indices), CHUNK):
            for task in await self.tasks(job_id, record, indices[at : at + CHUNK]):
                if len(found) == limit:
                    return Page(found, offsets[task.index])
                if task.state in states:
                    found.append(task)
        if len(failed) < MAX_LOOKED_AT:
            return Page(found, None)
        following = max(offsets[int(failed[-1][0])] + 1, offset)
        return Page(found, following if indices and following < record.total else None)

    async def records(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """Records by job id, of those jobs that exist, in the given order."""
        found: dict[str, JobRecord] = {}
        for at in range(0, len(job_ids), CHUNK):
            for job_id, text in (await self.fields(JOBS, job_ids[at : at + CHUNK])).items():
                if text is not None:
                    found[job_id] = JobRecord.model_validate_json(text)
        return found

    async def counts_of(self, job_ids: Sequence[str]) -> dict[str, Counts]:
        """Counts of several jobs, by job id."""
        found: dict[str, Counts] = {}
        for at in range(0, len(job_ids), 50):
            part = job_ids[at : at + 50]
            found.update(zip(part, await asyncio.gather(*map(self.counts, part)), strict=True))
        return found


def no_job(job_id: str) -> NotFound:
    """The error for a job id that does not exist."""
    return NotFound(f"no job {job_id}; `bmesos status` lists the jobs")
