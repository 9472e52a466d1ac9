"""Periodic work on the store: claims without a status, jobs that no worker has closed, old jobs to delete."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from broker_mesos.errors import NotFound
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.planning.statuses import ASK_NOW_SCORE
from broker_mesos.frameworks.batch.storage.reader import CHUNK, Kills
from broker_mesos.frameworks.batch.storage.records import (
    ACTIVE,
    ASK_AGAIN,
    CLAIMS,
    ENDED,
    JOBS,
    LOOK_AGAIN,
    MAX_SKEW_SECONDS,
    ORDER,
    SPECS,
    UNSETTLED,
    ClaimRecord,
    attempts_key,
    counts_key,
    dependents_key,
    failures_key,
    parse_task_id,
    results_key,
)
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.store import Records

MAX_OVERDUE = 500
MAX_LOOKED_AT = 50


class Overdue(NamedTuple):
    """A claim for which no status has come in time."""

    cell: int
    task_id: str
    offer_id: str


class Housekeeping:
    """Periodic work that any worker does; two workers may do it at the same time."""

    def __init__(
        self,
        store: JobStore,
        records: Records,
        *,
        offer_timeout: float = 10.0,
        keep_ended: int = 1_000,
    ) -> None:
        self._store = store
        self._records = records
        self._offer_timeout = offer_timeout
        self._keep_ended = keep_ended

    async def overdue(self) -> list[Overdue]:
        """Claims whose first status should have come by now, and claims without a status for ASK_AGAIN seconds
        (their cell may have lost them). Each is returned again later if its cell sends no status."""
        horizon = max(ASK_AGAIN, self._offer_timeout) + MAX_SKEW_SECONDS
        due = dict(await self._records.due(UNSETTLED, limit=MAX_OVERDUE, horizon=horizon))
        names = {task_id: name for task_id in due if (name := parse_task_id(task_id))}
        claims = await self._store.read.fields(CLAIMS, dict.fromkeys(name.claim for name in names.values()))
        plan = Plan()
        found: list[Overdue] = []
        for task_id, score in due.items():
            name = names.get(task_id)
            text = None if name is None else claims[name.claim]
            claim = None if text is None else ClaimRecord.model_validate_json(text)
            if claim is None or name is None or claim.launch != name.launch:
                plan.drop(UNSETTLED, task_id)
                continue
            has_status = claim.state is not None and score != ASK_NOW_SCORE
            # Only if the claim still exists: otherwise the entry would outlive it. If one does not, the plan is
            # refused and all of them are due again.
            plan.expect(CLAIMS, name.claim, text)
            plan.add_after(UNSETTLED, task_id, ASK_AGAIN if has_status else self._offer_timeout)
            found.append(Overdue(claim.cell, task_id, claim.offer_id))
        if plan.changes:
            await self._records.transact(plan.checks, plan.changes)
        return found

    async def tidy(self) -> Kills:
        """Close jobs that have ended and that no worker has closed. Returns the tasks that should have been killed
        and may still run."""
        kills: Kills = []
        horizon = LOOK_AGAIN + MAX_SKEW_SECONDS
        for job_id, _ in await self._records.due(ACTIVE, limit=MAX_LOOKED_AT, horizon=horizon):
            plan = Plan()
            try:
                text, record = await self._store.read.record(job_id)
            except NotFound:
                plan.expect(JOBS, job_id, None)
                plan.drop(ACTIVE, job_id)
            else:
                if record.after:
                    await self._store.dependencies.settle(job_id)
                    text, record = await self._store.read.record(job_id)
                summary = await self._store.summary(job_id)
                if summary.ended_at is not None:
                    continue
                if record.killed:
                    kills += await self._store.read.claims_of(job_id)
                plan.expect(JOBS, job_id, text)
                plan.add_after(ACTIVE, job_id, LOOK_AGAIN)
            await self._records.transact(plan.checks, plan.changes)
        return kills

    async def prune(self) -> bool:
        """Delete the oldest of too many ended jobs, one bounded step for each call. Returns whether there is more to
        do. The spec is deleted last: until then the id is in use, so that no new job shows old results."""
        excess = await self._records.size(ENDED) - self._keep_ended
        if excess <= 0:
            return False
        oldest = await self._records.range(ENDED, limit=min(excess, MAX_LOOKED_AT))
        results_left = CHUNK
        for job_id, _ in oldest:
            plan = Plan()
            plan.unset(JOBS, job_id)
            plan.drop(ORDER, job_id)
            results, failures, attempts = results_key(job_id), failures_key(job_id), attempts_key(job_id)
            (_, page), (rest, earlier), failed = await asyncio.gather(
                self._records.scan(results, "0", CHUNK),
                self._records.scan(attempts, "0", CHUNK),
                self._records.range(failures, limit=CHUNK),
            )
            for key, fields in ((results, page), (attempts, earlier)):
                for field in fields:
                    plan.unset(key, field)
            for member, _ in failed:
                plan.drop(failures, member)
            is_last = rest == "0" and len(page) < CHUNK and len(failed) < CHUNK
            if is_last and await self._records.size(results) <= len(page):
                plan.delete(results)
                plan.delete(failures)
                plan.delete(attempts)
                plan.delete(counts_key(job_id))
                plan.delete(dependents_key(job_id))
                plan.unset(SPECS, job_id)
                plan.drop(ENDED, job_id)
            await self._records.transact(plan.checks, plan.changes)
            results_left -= len(page) + len(earlier)
            if results_left <= 0:
                return True
        return excess > len(oldest)
