"""Runs the failed tasks of an ended job again, in the store."""

from __future__ import annotations

from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.core.model.framework import Demand
from broker_mesos.errors import Conflict, InvalidInput
from broker_mesos.frameworks.batch.planning.jobs import counts_in
from broker_mesos.frameworks.batch.planning.retries import plan_retry
from broker_mesos.frameworks.batch.storage.changes import Changes
from broker_mesos.frameworks.batch.storage.records import META, failures_key, results_key
from broker_mesos.frameworks.batch.views import summary_of
from broker_mesos.ports.store import Records

MAX_RETRIED = 20_000
"""Maximum number of failed tasks of one job that can be run again by one retry, in one transaction."""


async def retry(changes: Changes, records: Records, job_id: str) -> tuple[JobSummary, Demand]:
    """Run the failed tasks of an ended job again; see ``JobStore.retry``."""
    read = changes.read

    async def attempt() -> tuple[JobSummary, Demand] | None:
        text, record = await read.record(job_id)
        if record.ended_at is None:
            raise Conflict(f"job {job_id} has not ended; wait for its end with `bmesos wait {job_id}`")
        failed = await records.range(failures_key(job_id), limit=MAX_RETRIED + 1)
        if len(failed) > MAX_RETRIED:
            raise InvalidInput(f"job {job_id} has more than {MAX_RETRIED} failed tasks; submit it again")
        results = await read.fields(results_key(job_id), [index for index, _ in failed])
        spec = await read.spec(job_id)
        known = {index: result for index, result in results.items() if result is not None}
        plan, fresh, tasks = plan_retry(job_id, text, known, changes.clock.time(), bool(spec.locality_wait))
        if not tasks:
            raise Conflict(f"job {job_id} has no failed task to run again; submit it again to run all of it")
        totals = await changes.apply(plan)
        if totals is None:
            return None
        return summary_of(job_id, fresh, counts_in(totals, job_id)), changes.level(totals[META, "demand_version"], True)

    return await changes.until_applied(attempt)
