"""Storing new jobs: those that come together share a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from broker_mesos.core.messages import Demand
from broker_mesos.core.operator import JobSpec
from broker_mesos.errors import Conflict
from broker_mesos.frameworks.batch.changes import Changes
from broker_mesos.frameworks.batch.claims import check_size
from broker_mesos.frameworks.batch.jobs import plan_submit
from broker_mesos.frameworks.batch.records import META, PENDING, SPECS, text_of

MAX_SUBMITS = 100
"""Jobs stored in one transaction, as long as their specs have fewer than ``MAX_SUBMIT_BYTES`` in all."""
MAX_SUBMIT_BYTES = 4 << 20


class _Submit(NamedTuple):
    job_id: str
    spec: JobSpec
    size: int
    future: asyncio.Future[Demand | None]


class Submits:
    """The submits of one worker."""

    def __init__(self, changes: Changes) -> None:
        self._do = changes
        self._waiting: list[_Submit] = []
        self._storing: asyncio.Task[None] | None = None

    async def submit(self, job_id: str, spec: JobSpec) -> Demand | None:
        """See JobStore."""
        size = len(text_of(spec).encode())
        check_size(spec, size)
        future: asyncio.Future[Demand | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Submit(job_id, spec, size, future))
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._flush(), name="batch-submit")
        return await future

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
        """The new demand, and the spec of every job of the batch as it is stored."""
        ids = list(dict.fromkeys(each.job_id for each in batch))
        stored: dict[str, JobSpec] = {}
        seq = self._do.memo.text(META, "seq")
        # Whoever remembers the latest number has stored it last; then ids are new, or it is refused.
        if seq is None:
            read = self._do.read
            known, meta = await asyncio.gather(read.fields(SPECS, ids), read.fields(META, ["seq"]))
            stored = {
                job_id: JobSpec.model_validate_json(text)
                for job_id, text in known.items()
                if text is not None
            }
            seq = meta["seq"]
        new: dict[str, JobSpec] = {}
        for each in batch:
            if each.job_id not in stored:
                new.setdefault(each.job_id, each.spec)
        if not new:
            return None, stored
        plan = plan_submit(list(new.items()), seq, self._do.clock.time())
        totals = await self._do.apply(plan)
        if totals is None:
            return None
        for change in plan.changes:
            if change.key == PENDING:
                self._do.read.remember(change.field, new[change.field], float(change.value))
        return self._do.level(totals[META, "demand_version"], True), {**stored, **new}
