"""Ends jobs in the store whose tasks have all ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.frameworks.batch.planning.jobs import Ending, plan_end
from broker_mesos.frameworks.batch.planning.statuses import StatusPlan
from broker_mesos.frameworks.batch.storage.changes import Changes
from broker_mesos.frameworks.batch.storage.dependencies import Dependencies
from broker_mesos.frameworks.batch.storage.records import JOBS, Counts, JobRecord, counts_key
from broker_mesos.frameworks.batch.views import summary_of
from broker_mesos.ports.clock import Clock


class Ends:
    """Ends jobs: in the transaction of their last statuses, or in one of their own.

    ``changed`` is called with a job's id and its summary as soon as all of its tasks have ended; ``dependencies``
    releases the jobs that run after an ended job.
    """

    def __init__(
        self,
        do: Changes,
        clock: Clock,
        changed: Callable[[str, JobSummary | None], None],
        dependencies: Dependencies,
    ) -> None:
        self._do = do
        self._clock = clock
        self._changed = changed
        self._dependencies = dependencies

    def plan_with(
        self,
        found: StatusPlan,
        records: Mapping[str, JobRecord | None],
        texts: Mapping[str, str | None],
        now: float,
    ) -> dict[str, JobRecord]:
        """Extend a plan of statuses so that the last statuses of a job end the job in the same transaction, where its
        counts are cached and its exit code needs no further read. Returns the final records, by job id."""
        ended: dict[str, JobRecord] = {}
        for job_id, by in found.counts.items():
            record, text, known = records[job_id], texts[job_id], self._do.cache.counts(job_id)
            if record is None or text is None or known is None or record.ended_at is not None:
                continue
            counts = known.plus(by)
            if counts.ended < record.total:
                continue
            exit_code = 0 if counts.finished == counts.ended else None
            if record.total == 1:
                exit_code = found.exit_codes[job_id]
            if exit_code is None:
                continue  # the exit code is that of the first failure, which must be read
            ending = Ending(job_id, text, counts, exit_code)
            found.plan.expect(counts_key(job_id), "version", str(known.version))
            plan_end([ending], now, found.plan)
            ended[job_id] = ending.record(now)
        return ended

    async def close(
        self, complete: Mapping[str, Counts], texts: Mapping[str, str | None] | None = None
    ) -> dict[str, JobRecord]:
        """End jobs whose tasks have all ended, with these counts; ``texts`` are their records, if they were read.
        Returns the final records, by job id. Raises StoreUnavailable."""
        done: dict[str, JobRecord] = {}
        known, latest = dict(texts or {}), dict(complete)

        async def attempt() -> bool | None:
            nonlocal known, latest
            left = [job_id for job_id in complete if job_id not in done]
            if not known:
                known = await self._do.read.fields(JOBS, left)
                latest = {**latest, **await self._do.read.counts_of(left)}
            now = self._clock.time()
            endings = []
            for job_id in left:
                text = known.get(job_id)
                if text is None:
                    continue
                record = JobRecord.model_validate_json(text)
                if record.ended_at is not None:
                    done[job_id] = record
                    continue
                counts = latest[job_id]
                if counts.ended < record.total:
                    continue  # another worker has closed it, and it was opened again by a retry since
                ending = Ending(job_id, text, counts, await self._do.read.exit_code(job_id, counts))
                endings.append(ending)
                # The results are stored, so waiting requests are answered before the job's record is written.
                self._changed(job_id, summary_of(job_id, ending.record(now), counts))
            known = {}
            if not endings:
                return True
            plan = plan_end(endings, now)
            for ending in endings:
                plan.expect(counts_key(ending.job_id), "version", str(ending.counts.version))
            if await self._do.apply(plan) is None:
                return None
            done.update((ending.job_id, ending.record(now)) for ending in endings)
            return True

        if complete:
            await self._do.until_applied(attempt)
        await self.release(done)
        return done

    async def release(self, ended: Mapping[str, JobRecord]) -> None:
        """Let the jobs go on that run after these ended jobs. Raises StoreUnavailable."""
        for job_id, record in ended.items():
            if record.followed:
                await self._dependencies.followers(job_id)
