"""Changes of jobs in the store: claims, statuses, ends, kills."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from broker_mesos.core.api.jobs import JobFilter, JobSummary
from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.errors import NotFound
from broker_mesos.frameworks.batch.planning.claims import Candidate, ClaimPlan, Launch, plan_claim, restate_demand
from broker_mesos.frameworks.batch.planning.gang_offers import (
    GangOffers,
    drop_gang_offers,
    plan_store,
    read_gang_offers,
)
from broker_mesos.frameworks.batch.planning.jobs import (
    Plan,
    counts_in,
    plan_kill,
    plan_kill_pending,
)
from broker_mesos.frameworks.batch.planning.statuses import plan_statuses
from broker_mesos.frameworks.batch.spare import Spare
from broker_mesos.frameworks.batch.storage.attempts import AttemptReader
from broker_mesos.frameworks.batch.storage.changes import Changes
from broker_mesos.frameworks.batch.storage.dependencies import Dependencies
from broker_mesos.frameworks.batch.storage.ends import Ends
from broker_mesos.frameworks.batch.storage.listing import JobLister, Listing
from broker_mesos.frameworks.batch.storage.pending import PAGES, PendingJobs, PendingPage
from broker_mesos.frameworks.batch.storage.reader import Kills
from broker_mesos.frameworks.batch.storage.records import (
    CLAIMS,
    JOBS,
    META,
    PENDING,
    WORK,
    ClaimRecord,
    Counts,
    JobRecord,
    TaskName,
    parse_task_id,
    results_key,
    text_of,
)
from broker_mesos.frameworks.batch.storage.retries import retry
from broker_mesos.frameworks.batch.storage.submits import Submits
from broker_mesos.frameworks.batch.views import summary_of
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.store import Records

MAX_STATUSES = 2_000
"""Maximum number of statuses that are applied in one transaction."""


class Claimed(NamedTuple):
    """The tasks that were claimed, by offer id; ``pending`` is False when no job had a task to claim."""

    launches: dict[str, list[Launch]]
    demand: Demand | None
    pending: bool
    gang_offers: Sequence[Offer] = ()
    """Offers that were kept for a gang, and that are used or not needed any more: they must be answered now."""
    kept: Collection[str] = ()
    """Ids of offers that are kept until their gang is complete, and must not be answered yet."""


class Applied(NamedTuple):
    """The result of applying statuses: tasks to kill, and the new demand if there is one."""

    kills: Kills
    demand: Demand | None


class JobStore:
    """Makes all changes of jobs. Any number of JobStores work on the same records at the same time.

    ``changed`` is called with a job's id when its counts have changed, and with its summary as well as soon as all
    of its tasks have ended; ``wanted`` with the demand of jobs that have waited for others. Every method raises
    StoreUnavailable; the change may have been applied nevertheless, and the call is safe to repeat.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        rng: random.Random,
        *,
        changed: Callable[[str, JobSummary | None], None] = lambda job_id, summary: None,
        offer_timeout: float = 10.0,
        spare: Spare | None = None,
        wanted: Callable[[Demand], None] = lambda demand: None,
    ) -> None:
        self._do = Changes(records, clock, rng)
        self.read = self._do.read
        self.attempts = AttemptReader(self.read)
        self.pending_jobs = PendingJobs(records)
        self.records = self._records = records
        self._clock = clock
        self._changed = changed
        self._offer_timeout = offer_timeout
        self._submits = Submits(self._do, self.pending_jobs, spare, offer_timeout)
        self.dependencies = Dependencies(self._do, records, self._fail, wanted)
        self._ends = Ends(self._do, clock, changed, self.dependencies)
        self._lister = JobLister(records, self.read, self._current)

    async def submit(self, job_id: str, spec: JobSpec) -> Demand | None:
        """Store a job. A repeated call with the same id and spec changes nothing. Returns the demand to publish, if
        there is a new one. Concurrent submits share a transaction. Raises Conflict, InvalidInput."""
        demand = await self._submits.submit(job_id, spec)
        if spec.after:
            await self.dependencies.settle(job_id)
        return demand

    # -- claim

    async def claim(self, offers: Sequence[Offer], depth: Callable[[str], int] = lambda job_id: 0) -> Claimed:
        """Claim tasks for offers: as many as fit, and for each of those up to ``depth(job_id)`` more, which are
        queued on the agent."""

        async def attempt() -> Claimed | None:
            gang_offers = GangOffers(None, {})
            found = await self._plan_remembered(offers, depth)
            if found is None:
                page = PendingPage((), False, False)
                for limit in PAGES:
                    page = await self.pending_jobs.page(limit, {offer.role for offer in offers}, page.jobs)
                    if not page.jobs:
                        return Claimed({}, None, False)
                    gang_offers = await read_gang_offers(self._records, offers, self._clock.time())
                    candidates = await self.read.candidates(page.jobs)
                    all_seen = page.whole and len(candidates) == len(page.jobs)
                    every = [*offers, *gang_offers.offers]
                    found = self._plan_claim(every, candidates, depth, all_seen=all_seen)
                    if not found.room or page.last:
                        break
                assert found is not None
                if len(page.jobs) >= PAGES[0]:
                    restate_demand(found, offers, candidates)
            assert found is not None
            now = self._clock.time()
            until = now + self._offer_timeout
            kept, ready = plan_store(found.plan, gang_offers, offers, found.launches, found.gangs, now, until)
            if not found.plan.changes:
                return Claimed({}, None, True)
            totals = await self._do.apply(found.plan)
            if totals is None:
                return None
            for job_id in found.job_ids:
                self._changed(job_id, None)
            demand = None
            if found.wanted is not None:
                demand = self._do.level(totals[META, "demand_version"], found.wanted)
            return Claimed(found.launches, demand, True, ready, kept)

        return await self._do.until_applied(attempt)

    async def _plan_remembered(self, offers: Sequence[Offer], depth: Callable[[str], int]) -> ClaimPlan | None:
        """A plan from cached values; None unless all pending jobs are cached and something can be claimed. It is
        refused if work has appeared since the values were cached."""
        known = self._do.cache.pending()
        if known is None or not known[1] or any(offer.gang for offer in offers):
            return None
        version, page = known
        candidates = await self._do.candidates(page)
        found = self._plan_claim(offers, candidates, depth, all_seen=len(candidates) == len(page))
        if not found.launches:
            return None
        found.plan.expect(META, "demand_version", str(version))
        return found

    def _plan_claim(
        self,
        offers: Sequence[Offer],
        candidates: Sequence[Candidate],
        depth: Callable[[str], int],
        *,
        all_seen: bool,
    ) -> ClaimPlan:
        now = self._clock.time()
        return plan_claim(offers, candidates, all_seen=all_seen, now=now, settle_after=self._offer_timeout, depth=depth)

    @property
    def nothing_pending(self) -> bool:
        """Whether the cache shows that no job waits to be claimed."""
        return (self._do.cache.pending() or (0, None))[1] == []

    async def rescinded(self, offer_id: str) -> None:
        """Forget an offer that has ended, in case it is kept for a gang."""
        await drop_gang_offers(self._records, offer_id)

    # -- demand

    async def demand(self, floor: int = 0) -> Demand:
        """The stored level of demand. If its version is below ``floor``, or below one that this worker has seen, the
        store went back in time and some cell may have applied the higher one; then a new version above that is
        taken."""
        floor = max(floor, self._do.known_version)

        async def attempt() -> Demand | None:
            meta = await self.read.fields(META, ["demand_version", "wanted"])
            found = self._do.stored_level(meta)
            if found.version >= floor:
                return found
            # The version taken now seems to be the successor of the last one that was cached here, and is not.
            self._do.cache.forget()
            pending = await self._records.size(PENDING)
            plan = Plan()
            plan.expect(META, "demand_version", meta["demand_version"])
            plan.expect_size(PENDING, pending)
            plan.increment(META, "demand_version", floor + 1 - found.version)
            plan.set(META, "wanted", "1" if pending else "0")
            if await self._do.apply(plan) is None:
                return None
            return self._do.level(floor + 1, bool(pending))

        return await self._do.until_applied(attempt)

    async def restate(self, version: int) -> Demand | None:
        """Take a new version of demand, since the wanted shapes have changed by time alone. None if ``version`` is
        not the latest one any more, or nothing is wanted."""
        plan = Plan()
        plan.expect(META, "demand_version", str(version))
        plan.expect(META, "wanted", "1")
        plan.demand(True)
        totals = await self._do.apply(plan)
        return None if totals is None else self._do.level(totals[META, "demand_version"], True)

    async def pending(self, limit: int, version: int | None = None) -> list[Candidate] | None:
        """All jobs with tasks to claim, in the order in which they are served; None if there are more than ``limit``,
        or one of them cannot be read. With ``version``, jobs that appeared after that version of demand may be
        missing."""
        known = None if version is None else self._do.cache.pending()
        if known is not None and known[0] == version:
            found = await self._do.candidates(known[1])
            if len(found) == len(known[1]) <= limit:
                return found
        page = await self._records.range(PENDING, limit=limit + 1)
        if len(page) > limit:
            return None
        found = await self.read.candidates(page)
        return found if len(found) == len(page) else None

    async def idle(self) -> Demand:
        """Store that nothing is wanted, after no pending job was found, unless work has appeared since. Returns the
        level of demand that holds."""

        async def attempt() -> Demand | None:
            meta = await self.read.fields(META, ["demand_version", "wanted"])
            if meta["wanted"] == "0":
                return self._do.stored_level(meta)
            if await self._records.size(PENDING):
                self._do.cache.forget()  # it may have shown no work, and the store has gone back in time since
                return self._do.stored_level(meta)
            plan = Plan()
            plan.expect(META, "wanted", meta["wanted"])
            plan.expect_size(PENDING, 0)
            plan.demand(False)
            totals = await self._do.apply(plan)
            if totals is None:
                return None
            return self._do.level(totals[META, "demand_version"], False)

        return await self._do.until_applied(attempt)

    # -- statuses

    async def apply(self, statuses: Sequence[TaskStatus]) -> Applied:
        """Apply statuses, in their order; a repeated status changes nothing."""
        kills: dict[str, str] = {}
        demand: Demand | None = None
        for at in range(0, len(statuses), MAX_STATUSES):
            part = statuses[at : at + MAX_STATUSES]
            applied = await self._do.until_applied(partial(self._try_apply, part))
            kills.update(applied.kills)
            demand = applied.demand or demand
        return Applied(list(kills.items()), demand)

    async def _try_apply(self, statuses: Sequence[TaskStatus]) -> Applied | None:
        names = [name for status in statuses if (name := parse_task_id(status.task_id))]
        (claims, cached), (texts, recalled) = await self._do.both(
            (CLAIMS, dict.fromkeys(name.claim for name in names)),
            (JOBS, dict.fromkeys(name.job_id for name in names)),
        )
        records = {
            job_id: None if text is None else JobRecord.model_validate_json(text) for job_id, text in texts.items()
        }
        now = self._clock.time()
        works: dict[str, str | None] = {}
        found = plan_statuses(statuses, claims, records, works, now)
        # A status that changes nothing may belong to a claim that another worker has made since.
        compared = {check.field for check in found.plan.checks if check.key == CLAIMS}
        if unchecked := [field for field in cached if field not in compared]:
            claims.update(await self.read.fields(CLAIMS, unchecked))
            found = plan_statuses(statuses, claims, records, works, now)
        while found.need_work:
            works.update(await self.read.fields(WORK, found.need_work))
            found = plan_statuses(statuses, claims, records, works, now)
        if not found.plan.changes:
            return Applied(found.kills, None)
        for job_id in recalled:
            found.plan.expect(JOBS, job_id, texts[job_id])
        ended = self._ends.plan_with(found, records, texts, now)
        totals = await self._do.apply(found.plan)
        if totals is None:
            return None
        complete: dict[str, Counts] = {}
        for job_id in found.job_ids:
            record, counts = records[job_id], counts_in(totals, job_id)
            if record is None:
                continue
            if job_id in ended:
                self._changed(job_id, summary_of(job_id, ended[job_id], counts))
            elif counts.ended >= record.total:
                complete[job_id] = counts
            else:
                self._changed(job_id, None)
        await self._ends.close(complete, texts)
        await self._ends.release(ended)
        version = totals.get((META, "demand_version"))
        return Applied(found.kills, None if version is None else self._do.level(version, True))

    # -- kill

    async def _fail(self, job_id: str, reason: str) -> None:
        await self.kill(job_id, reason=reason)

    async def kill(self, job_id: str, index: int | None = None, *, reason: str = "") -> tuple[JobSummary, Kills]:
        """Kill a job, or one index of it. Returns its summary and the claimed tasks, which the caller must kill on
        their agents. Raises NotFound."""
        if index is not None:
            return await self._kill_index(job_id, index)

        async def attempt() -> Counts | None:
            text, record = await self.read.record(job_id)
            if record.killed or record.ended_at is not None:
                return await self.read.counts(job_id)
            work = (await self.read.fields(WORK, [job_id]))[job_id]
            totals = await self._do.apply(plan_kill(job_id, text, work, reason))
            return None if totals is None else counts_in(totals, job_id)

        counts = await self._do.until_applied(attempt)
        # No task of this job can be claimed any more, so this finds every claim.
        kills = await self.read.claims_of(job_id) if counts.claimed else []
        self._changed(job_id, None)
        return await self.summary(job_id), kills

    async def _kill_index(self, job_id: str, index: int) -> tuple[JobSummary, Kills]:
        async def attempt() -> Kills | None:
            _, record = await self.read.record(job_id)
            if not record.has(index):
                last = record.index_at(record.total - 1)
                raise NotFound(f"job {job_id} has no index {index}: it goes from {record.first} to {last}")
            works = await self.read.fields(WORK, [job_id])
            plan = plan_kill_pending(job_id, index, record, works[job_id], self._clock.time())
            if plan is not None:
                return None if await self._do.apply(plan) is None else []
            name = f"{job_id}.{index}"
            text = (await self.read.fields(CLAIMS, [name]))[name]
            if text is not None:
                claim = ClaimRecord.model_validate_json(text)
                if not claim.kill:
                    plan = Plan()
                    plan.expect(CLAIMS, name, text)
                    plan.set(CLAIMS, name, text_of(claim.model_copy(update={"kill": True})))
                    if await self._do.apply(plan) is None:
                        return None
                return [(TaskName(job_id, index, claim.attempt, claim.launch).task_id, claim.agent_id)]
            ended = (await self.read.fields(results_key(job_id), [str(index)]))[str(index)] is not None
            # The index neither waits nor is claimed nor has ended: it changed between the reads, so they are repeated.
            return [] if ended or record.killed or record.ended_at is not None else None

        kills = await self._do.until_applied(attempt)
        self._changed(job_id, None)
        return await self.summary(job_id), kills

    # -- summaries of jobs

    def cached(self, job_id: str) -> JobSummary | None:
        """The summary of a job that has not ended, from cached values; None if they are not cached."""
        text = self._do.cache.text(JOBS, job_id)
        record = None if text is None else JobRecord.model_validate_json(text)
        if record is None or record.ended_at is not None:
            return None
        counts = self._do.cache.counts(job_id) or Counts()
        return None if counts.ended >= record.total else summary_of(job_id, record, counts)

    def notified(self, summary: JobSummary) -> None:
        """Drop cached values of a job that are older than this summary, which another worker has published."""
        self._do.cache.forget_job(summary.job_id, summary.version)

    def feed_lost(self) -> None:
        """Drop the cache, since messages of other workers on the feed may have been lost."""
        self._do.cache.forget()

    async def summary(self, job_id: str) -> JobSummary:
        """The current summary of a job. Raises NotFound."""
        _, record = await self.read.record(job_id)
        if record.ended_at is not None:
            return summary_of(job_id, record, Counts())
        return await self._current(job_id, record, await self.read.counts(job_id))

    async def _current(self, job_id: str, record: JobRecord, counts: Counts) -> JobSummary:
        if record.ended_at is None and counts.ended >= record.total:
            # The worker that applied the last status died before it closed the job, or is just closing it.
            record = (await self._ends.close({job_id: counts})).get(job_id, record)
        return summary_of(job_id, record, counts)

    async def jobs(self, limit: int, which: JobFilter | None = None, only: Collection[str] | None = None) -> Listing:
        """The latest jobs that match the filter, up to ``limit``; of those with the ids in ``only`` if it is given."""
        return await self._lister.list(limit, which or JobFilter(), only)

    # -- retry

    async def retry(self, job_id: str) -> tuple[JobSummary, Demand]:
        """Run the failed tasks of an ended job again, each with one more attempt. Returns the job's summary and the
        demand to publish. Raises NotFound, Conflict, InvalidInput."""
        await self.summary(job_id)  # it closes a job of which all tasks have ended
        summary, demand = await retry(self._do, self._records, job_id)
        self._changed(job_id, None)
        return summary, demand
