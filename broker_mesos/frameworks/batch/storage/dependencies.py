"""Releases jobs that run after others when their dependencies have ended, or fails them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker_mesos.core.model.framework import Demand
from broker_mesos.errors import NotFound, StoreUnavailable
from broker_mesos.frameworks.batch.planning.dependencies import Verdict, plan_release, verdict_on
from broker_mesos.frameworks.batch.storage.changes import Changes
from broker_mesos.frameworks.batch.storage.reader import CHUNK
from broker_mesos.frameworks.batch.storage.records import META, WORK, JobRecord, Work, dependents_key
from broker_mesos.ports.store import Records
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)


class Dependencies:
    """Handles the jobs that run after others. ``fail`` ends a job for a reason; ``wanted`` gets the new demand.

    The worker that ends a job releases those that run after it. If it dies first, another worker does so when it
    looks at the jobs that have not ended: see Housekeeping.
    """

    def __init__(
        self,
        changes: Changes,
        records: Records,
        fail: Callable[[str, str], Awaitable[object]],
        wanted: Callable[[Demand], None],
    ) -> None:
        self._do = changes
        self._records = records
        self._fail = fail
        self._wanted = wanted
        self._ended: list[str] = []
        self._releasing = False

    async def followers(self, job_id: str) -> None:
        """Release or fail the jobs that run after a job that has ended. Jobs that fail are added to a queue, so that
        a long chain of jobs causes no deep recursion."""
        self._ended.append(job_id)
        if self._releasing:
            return
        self._releasing = True
        try:
            while self._ended:
                await self._release(self._ended.pop())
        except StoreUnavailable as error:
            self._ended.clear()
            log.warning("jobs are released later, the store does not answer", error=str(error))
        finally:
            self._releasing = False

    async def _release(self, job_id: str) -> None:
        cursor = "0"
        while True:
            cursor, page = await self._records.scan(dependents_key(job_id), cursor, CHUNK)
            for follower in page:
                await self.settle(follower)
            if cursor == "0":
                return

    async def settle(self, job_id: str) -> None:
        """Release a job, fail it, or let it wait, according to its dependencies."""

        async def attempt() -> bool | None:
            try:
                _, record = await self._do.read.record(job_id)
            except NotFound:
                return True
            work_text = (await self._do.read.fields(WORK, [job_id]))[job_id]
            if work_text is None or not Work.parse(work_text).blocked or record.ended_at is not None:
                return True
            verdict = await self.verdict(record)
            if verdict.failed:
                await self._fail(job_id, verdict.failed)
                return True
            if verdict.waits_for:
                return True
            totals = await self._do.apply(plan_release(job_id, record, work_text))
            if totals is None:
                return None
            self._wanted(self._do.level(totals[META, "demand_version"], True))
            return True

        await self._do.until_applied(attempt)

    async def verdict(self, record: JobRecord) -> Verdict:
        """The verdict on a job from the current records of its dependencies. Raises StoreUnavailable."""
        ids = list(dict.fromkeys(each.job_id for each in record.after))
        known = await self._do.read.records(ids)
        return verdict_on(record.after, {each: known.get(each) for each in ids})
