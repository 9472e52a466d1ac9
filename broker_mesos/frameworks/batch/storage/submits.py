"""Stores new jobs; concurrent submits share a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.job import JobSpec
from broker_mesos.errors import Conflict
from broker_mesos.frameworks.batch.planning.claims import Candidate, check_spec, plan_claim
from broker_mesos.frameworks.batch.planning.dependencies import plan_follow
from broker_mesos.frameworks.batch.planning.jobs import Plan, plan_submit
from broker_mesos.frameworks.batch.spare import Spare
from broker_mesos.frameworks.batch.storage.changes import Changes
from broker_mesos.frameworks.batch.storage.pending import PendingJobs
from broker_mesos.frameworks.batch.storage.records import JOBS, META, PENDING, SPECS, JobRecord, Work, text_of
from broker_mesos.runtime import failpoints

MAX_SUBMITS = 100
"""Maximum number of jobs that are stored in one transaction."""
MAX_SUBMIT_BYTES = 4 << 20
"""Maximum size of the specs that are stored in one transaction, in bytes of JSON, unless there is only one spec."""


class _Submit(NamedTuple):
    job_id: str
    spec: JobSpec
    size: int
    future: asyncio.Future[Demand | None]


class Submits:
    """Collects the concurrent submits of one worker and stores them in batches."""

    def __init__(self, changes: Changes, pending: PendingJobs, spare: Spare | None, offer_timeout: float) -> None:
        self._do = changes
        self._pending = pending
        self._spare = spare
        self._offer_timeout = offer_timeout
        self._waiting: list[_Submit] = []
        self._storing: asyncio.Task[None] | None = None

    async def submit(self, job_id: str, spec: JobSpec) -> Demand | None:
        """Store a job; see ``JobStore.submit``."""
        size = len(text_of(spec).encode())
        check_spec(spec, size)
        await self._pending.check_roles([spec.role])
        if spec.after:
            await self._check_dependencies(job_id, spec)
        future: asyncio.Future[Demand | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Submit(job_id, spec, size, future))
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._flush(), name="batch-submit")
        return await future

    async def _check_dependencies(self, job_id: str, spec: JobSpec) -> None:
        """Raise NotFound if a new job runs after a job that does not exist; so jobs cannot wait for each other."""
        if (await self._do.read.fields(SPECS, [job_id]))[job_id] is None:
            for each in spec.after:
                await self._do.read.record(each.job_id)

    async def _flush(self) -> None:
        while self._waiting:
            size = 0
            batch: list[_Submit] = []
            for each in self._waiting[:MAX_SUBMITS]:
                size += each.size
                if batch and size > MAX_SUBMIT_BYTES:
                    break
                batch.append(each)
            del self._waiting[: len(batch)]
            try:
                demand, stored = await self._do.until_applied(partial(self._try, batch))
            except Exception as error:
                for each in batch:
                    if not each.future.done():
                        each.future.set_exception(error)
                continue
            for job_id, spec, _, future in batch:
                if future.done():
                    continue
                if stored[job_id] != spec:
                    future.set_exception(Conflict(f"job {job_id} exists and is another one; choose a new id"))
                else:
                    future.set_result(demand)

    async def _try(self, batch: Sequence[_Submit]) -> tuple[Demand | None, dict[str, JobSpec]] | None:
        """Store a batch. Returns the new demand, and the stored spec of every job of the batch; None if the
        transaction was refused."""
        ids = list(dict.fromkeys(each.job_id for each in batch))
        stored: dict[str, JobSpec] = {}
        seq = self._do.cache.text(META, "seq")
        # If the latest number is cached, this worker was the last to store a job: the ids are new, or the
        # transaction is refused.
        if seq is None:
            read = self._do.read
            known, meta = await asyncio.gather(read.fields(SPECS, ids), read.fields(META, ["seq"]))
            stored = {job_id: JobSpec.model_validate_json(text) for job_id, text in known.items() if text is not None}
            seq = meta["seq"]
        new: dict[str, JobSpec] = {}
        for each in batch:
            if each.job_id not in stored:
                new.setdefault(each.job_id, each.spec)
        if not new:
            return None, stored
        if (
            len(new) == 1
            and not any(spec.after for spec in new.values())
            and await self._begin_at_once(*next(iter(new.items())), seq)
        ):
            return None, {**stored, **new}
        before = list({each.job_id: None for spec in new.values() for each in spec.after})
        texts = await self._do.read.fields(JOBS, before)
        followed: set[str] = set()

        def follow(plan: Plan, job_id: str, spec: JobSpec) -> None:
            plan_follow(plan, job_id, spec.after, texts, followed)

        plan = plan_submit(list(new.items()), seq, self._do.clock.time(), follow=follow)
        totals = await self._do.apply(plan)
        if totals is None:
            return None
        for change in plan.changes:
            if change.key == PENDING:
                self._do.read.remember(change.field, new[change.field], float(change.value))
        version = totals.get((META, "demand_version"))
        return None if version is None else self._do.level(version, True), {**stored, **new}

    async def _begin_at_once(self, job_id: str, spec: JobSpec, seq: str | None) -> bool:
        """Store a job and claim its task in one transaction, if a spare offer fits it and no other job waits.
        Returns whether that was done; if not, nothing was changed."""
        pending = self._do.cache.pending()
        if self._spare is None or pending is None or pending[1]:
            return False
        offer = self._spare.take(spec)
        if offer is None:
            return False
        now = self._do.clock.time()
        record = JobRecord.of(spec, int(seq or 0) + 1, now)
        candidate = Candidate(job_id, spec, Work.of(spec, now).text, len(text_of(spec).encode()))
        found = plan_claim([offer], [candidate], all_seen=False, now=now, settle_after=self._offer_timeout)
        launches = found.launches.get(offer.offer_id)
        if not launches:
            self._spare.keep(offer)
            return False
        plan = plan_submit([(job_id, spec)], seq, now, found.plan, pending[0])
        failpoints.hit("batch.before-claim")
        try:
            totals = await self._do.apply(plan)
        except BaseException:
            # If the transaction was applied after all, the claim is settled like that of a worker that died.
            self._spare.refuse(offer)
            raise
        if totals is None:
            self._spare.keep(offer)
            return False
        failpoints.hit("batch.after-claim")
        self._do.read.remember(job_id, spec, record.score)
        self._spare.use(offer, launches, self._do.level(totals[META, "demand_version"], False))
        return True
