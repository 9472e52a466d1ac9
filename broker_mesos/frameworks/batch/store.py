"""Changing jobs in the store: read, plan, write if nothing has moved meanwhile, else again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from broker_mesos.core.messages import Demand, Offer, TaskStatus
from broker_mesos.core.operator import JobSpec, JobSummary
from broker_mesos.errors import Conflict, NotFound, StoreUnavailable
from broker_mesos.frameworks.batch.claims import Candidate, ClaimPlan, Launch, check_size, plan_claim
from broker_mesos.frameworks.batch.gathering import drop_gathered, plan_keep, read_gathered
from broker_mesos.frameworks.batch.jobs import (
    Ending,
    Plan,
    counts_in,
    plan_end,
    plan_kill,
    plan_kill_pending,
    plan_submit,
)
from broker_mesos.frameworks.batch.reader import CHUNK, JobReader
from broker_mesos.frameworks.batch.records import (
    ACTIVE,
    CLAIMS,
    JOBS,
    KILLED_CODE,
    LOST_CODE,
    META,
    ORDER,
    PENDING,
    SPECS,
    WORK,
    ClaimRecord,
    Counts,
    JobRecord,
    ResultRecord,
    TaskName,
    failures_key,
    parse_claim_field,
    parse_task_id,
    results_key,
    text_of,
)
from broker_mesos.frameworks.batch.statuses import plan_statuses
from broker_mesos.frameworks.batch.views import summary_of
from broker_mesos.ports import Clock, Records

PAGES = (50, 500, 10_000)
"""Pending jobs looked at for offers: more only if the first ones leave room in them."""
MAX_STATUSES = 2_000
"""Statuses applied in one transaction."""
MAX_SUBMITS = 100
"""Jobs stored in one transaction, as long as their specs have fewer than ``MAX_SUBMIT_BYTES`` in all."""
MAX_SUBMIT_BYTES = 4 << 20
MAX_TRIES = 200

T = TypeVar("T")
Kills = list[tuple[str, str]]
"""Pairs of task id and agent id."""


class Claimed(NamedTuple):
    """What was claimed, by offer id; ``pending`` is False when no job had anything to claim."""

    launches: dict[str, list[Launch]]
    demand: Demand | None
    pending: bool
    gathered: Sequence[Offer] = ()
    """Offers that were kept for a gang: now they are used, or not needed any more."""
    kept: Collection[str] = ()
    """Ids of offers that are kept until their gang is complete."""


class Applied(NamedTuple):
    """What statuses led to."""

    kills: Kills
    demand: Demand | None


class _Submit(NamedTuple):
    job_id: str
    spec: JobSpec
    size: int
    future: asyncio.Future[Demand | None]


class JobStore:
    """All changes of jobs. Any number of stores work on the same records at once.

    ``changed`` is called with a job's id when its counts moved, and at once with its summary when all its
    tasks have ended. Every method raises StoreUnavailable; it may have been applied then, and is safe to
    repeat.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        rng: random.Random,
        *,
        changed: Callable[[str, JobSummary | None], None] = lambda job_id, summary: None,
        offer_timeout: float = 10.0,
    ) -> None:
        self.read = JobReader(records)
        self._records = records
        self._clock = clock
        self._rng = rng
        self._changed = changed
        self._offer_timeout = offer_timeout
        self._known_version = 0
        self._submits: list[_Submit] = []
        self._submitting: asyncio.Task[None] | None = None

    async def _until_applied(self, attempt: Callable[[], Awaitable[T | None]]) -> T:
        """Repeat an attempt that returns None when somebody else was faster. Each such loss is another's
        progress, so this ends; the pause keeps many workers from running in step."""
        for tries in range(MAX_TRIES):
            result = await attempt()
            if result is not None:
                return result
            if tries:
                await self._clock.sleep(self._rng.random() * min(0.001 * 2**tries, 0.05))
        raise StoreUnavailable("too many workers change the same job at once; try again")

    async def _apply(self, plan: Plan) -> dict[tuple[str, str], int] | None:
        values = await self._records.transact(plan.checks, plan.changes)
        return None if values is None else plan.totals(values)

    def _level(self, version: int, wanted: bool) -> Demand:
        self._known_version = max(self._known_version, version)
        return Demand(version=version, wanted=wanted)

    def _stored_level(self, meta: Mapping[str, str | None]) -> Demand:
        return self._level(int(meta["demand_version"] or 0), meta["wanted"] == "1")

    # -- submit

    async def submit(self, job_id: str, spec: JobSpec) -> Demand | None:
        """Store a job, once: with the same spec again nothing happens. Returns the demand to publish, if it
        is new. Submits that come together share a transaction. Raises Conflict, InvalidInput."""
        size = len(text_of(spec).encode())
        check_size(spec, size)
        future: asyncio.Future[Demand | None] = asyncio.get_running_loop().create_future()
        self._submits.append(_Submit(job_id, spec, size, future))
        if self._submitting is None or self._submitting.done():
            self._submitting = asyncio.create_task(self._flush_submits(), name="batch-submit")
        return await future

    async def _flush_submits(self) -> None:
        while self._submits:
            size = 0
            batch: list[_Submit] = []
            for each in self._submits[:MAX_SUBMITS]:
                size += each.size
                if batch and size > MAX_SUBMIT_BYTES:
                    break
                batch.append(each)
            del self._submits[: len(batch)]
            try:
                demand, stored = await self._until_applied(partial(self._try_submit, batch))
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

    async def _try_submit(self, batch: Sequence[_Submit]) -> tuple[Demand | None, dict[str, JobSpec]] | None:
        """The new demand, and the spec of every job of the batch as it is stored."""
        ids = list(dict.fromkeys(each.job_id for each in batch))
        known, meta = await asyncio.gather(self.read.fields(SPECS, ids), self.read.fields(META, ["seq"]))
        stored = {
            job_id: JobSpec.model_validate_json(text) for job_id, text in known.items() if text is not None
        }
        new: dict[str, JobSpec] = {}
        for each in batch:
            if each.job_id not in stored:
                new.setdefault(each.job_id, each.spec)
        if not new:
            return None, stored
        plan = plan_submit(list(new.items()), meta["seq"], self._clock.time())
        totals = await self._apply(plan)
        if totals is None:
            return None
        for change in plan.changes:
            if change.key == PENDING:
                self.read.remember(change.field, new[change.field], float(change.value))
        return self._level(totals[META, "demand_version"], True), {**stored, **new}

    # -- claim

    async def claim(self, offers: Sequence[Offer], depth: Callable[[str], int] = lambda job_id: 0) -> Claimed:
        """Claim tasks for offers, as many as fit; and of each job ``depth`` for each of them, to stand in
        line."""

        async def attempt() -> Claimed | None:
            for limit in PAGES:
                page = await self._records.range(PENDING, limit=limit)
                if not page:
                    return Claimed({}, None, False)
                gathered = await read_gathered(self._records, offers, self._clock.time())
                every = [*offers, *gathered.offers]
                found = await self._plan_claim(every, page, depth, all_seen=len(page) < limit)
                if not found.room or len(page) < limit:
                    break
            until = self._clock.time() + self._offer_timeout
            kept, ready = plan_keep(found.plan, gathered, offers, found.launches, found.gangs, until)
            if not found.plan.changes:
                return Claimed({}, None, True)
            totals = await self._apply(found.plan)
            if totals is None:
                return None
            for job_id in found.job_ids:
                self._changed(job_id, None)
            demand = None
            if found.wanted is not None:
                demand = self._level(totals[META, "demand_version"], found.wanted)
            return Claimed(found.launches, demand, True, ready, kept)

        return await self._until_applied(attempt)

    async def _plan_claim(
        self,
        offers: Sequence[Offer],
        page: Sequence[tuple[str, float]],
        depth: Callable[[str], int],
        *,
        all_seen: bool,
    ) -> ClaimPlan:
        candidates = await self.read.candidates(page)
        now = self._clock.time()
        due = now + self._offer_timeout
        all_seen = all_seen and len(candidates) == len(page)
        return plan_claim(offers, candidates, all_seen=all_seen, now=now, due=due, depth=depth)

    async def rescinded(self, offer_id: str) -> None:
        """An offer has ended, perhaps one that is kept for a gang."""
        await drop_gathered(self._records, offer_id)

    # -- demand

    async def demand(self, floor: int = 0) -> Demand:
        """The level as it is stored. A version below ``floor``, or one known here, which some cell may have
        heard, means that the store went back in time: then the level is taken anew, above it."""
        floor = max(floor, self._known_version)

        async def attempt() -> Demand | None:
            meta = await self.read.fields(META, ["demand_version", "wanted"])
            found = self._stored_level(meta)
            if found.version >= floor:
                return found
            pending = await self._records.size(PENDING)
            plan = Plan()
            plan.expect(META, "demand_version", meta["demand_version"])
            plan.expect_size(PENDING, pending)
            plan.increment(META, "demand_version", floor + 1 - found.version)
            plan.set(META, "wanted", "1" if pending else "0")
            if await self._apply(plan) is None:
                return None
            return self._level(floor + 1, bool(pending))

        return await self._until_applied(attempt)

    async def restate(self, version: int) -> Demand | None:
        """A new version, for what is wanted has changed by time alone; None if ``version`` is over, or
        nothing is wanted."""
        plan = Plan()
        plan.expect(META, "demand_version", str(version))
        plan.expect(META, "wanted", "1")
        plan.demand(True)
        totals = await self._apply(plan)
        return None if totals is None else self._level(totals[META, "demand_version"], True)

    async def pending(self, limit: int) -> list[Candidate] | None:
        """All jobs with something to claim, in the order in which they are served; None if there are more
        than ``limit``, or one of them cannot be read."""
        page = await self._records.range(PENDING, limit=limit + 1)
        if len(page) > limit:
            return None
        found = await self.read.candidates(page)
        return found if len(found) == len(page) else None

    async def idle(self) -> Demand:
        """Nothing was pending: want no offers, unless work has appeared. Returns the level that holds."""

        async def attempt() -> Demand | None:
            meta = await self.read.fields(META, ["demand_version", "wanted"])
            if meta["wanted"] == "0" or await self._records.size(PENDING):
                return self._stored_level(meta)
            plan = Plan()
            plan.expect(META, "wanted", meta["wanted"])
            plan.expect_size(PENDING, 0)
            plan.demand(False)
            totals = await self._apply(plan)
            if totals is None:
                return None
            return self._level(totals[META, "demand_version"], False)

        return await self._until_applied(attempt)

    # -- statuses

    async def apply(self, statuses: Sequence[TaskStatus]) -> Applied:
        """Apply statuses, in their order; those that came before change nothing."""
        kills: dict[str, str] = {}
        demand: Demand | None = None
        for at in range(0, len(statuses), MAX_STATUSES):
            part = statuses[at : at + MAX_STATUSES]
            applied = await self._until_applied(partial(self._try_apply, part))
            kills.update(applied.kills)
            demand = applied.demand or demand
        return Applied(list(kills.items()), demand)

    async def _try_apply(self, statuses: Sequence[TaskStatus]) -> Applied | None:
        names = [name for status in statuses if (name := parse_task_id(status.task_id))]
        claims, texts = await asyncio.gather(
            self.read.fields(CLAIMS, dict.fromkeys(name.claim for name in names)),
            self.read.fields(JOBS, dict.fromkeys(name.job_id for name in names)),
        )
        records = {
            job_id: None if text is None else JobRecord.model_validate_json(text)
            for job_id, text in texts.items()
        }
        now = self._clock.time()
        works: dict[str, str | None] = {}
        found = plan_statuses(statuses, claims, records, works, now)
        while found.need_work:
            works.update(await self.read.fields(WORK, found.need_work))
            found = plan_statuses(statuses, claims, records, works, now)
        if not found.plan.changes:
            return Applied(found.kills, None)
        totals = await self._apply(found.plan)
        if totals is None:
            return None
        complete: dict[str, Counts] = {}
        for job_id in found.job_ids:
            record, counts = records[job_id], counts_in(totals, job_id)
            if record is None:
                continue
            if counts.ended >= record.total:
                complete[job_id] = counts
            else:
                self._changed(job_id, None)
        await self._end(complete, texts)
        version = totals.get((META, "demand_version"))
        return Applied(found.kills, None if version is None else self._level(version, True))

    # -- the end of jobs

    async def _end(
        self, complete: Mapping[str, Counts], texts: Mapping[str, str | None] | None = None
    ) -> dict[str, JobRecord]:
        """Close jobs whose tasks have all ended. Returns their records."""
        done: dict[str, JobRecord] = {}
        known = dict(texts or {})

        async def attempt() -> bool | None:
            nonlocal known
            left = [job_id for job_id in complete if job_id not in done]
            if not known:
                known = await self.read.fields(JOBS, left)
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
                counts = complete[job_id]
                ending = Ending(job_id, text, counts, await self._exit_code(job_id, counts))
                endings.append(ending)
                # Whoever waits need not wait for the bookkeeping: the results are stored.
                self._changed(job_id, summary_of(job_id, ending.record(now), counts))
            known = {}
            if not endings:
                return True
            if await self._apply(plan_end(endings, now)) is None:
                return None
            done.update((ending.job_id, ending.record(now)) for ending in endings)
            return True

        if complete:
            await self._until_applied(attempt)
        return done

    async def _exit_code(self, job_id: str, counts: Counts) -> int:
        if counts.finished == counts.ended:
            return 0
        failures = await self._records.range(failures_key(job_id), limit=1)
        if failures:
            text = (await self._records.get(results_key(job_id), [failures[0][0]]))[0]
            if text is not None:
                return ResultRecord.model_validate_json(text).job_exit_code
        return KILLED_CODE if counts.killed else LOST_CODE

    # -- kill

    async def kill(self, job_id: str, index: int | None = None) -> tuple[JobSummary, Kills]:
        """End a job, or one index of it. What is claimed is returned, to be killed where it runs. Raises
        NotFound."""
        if index is not None:
            return await self._kill_index(job_id, index)

        async def attempt() -> Counts | None:
            text, record = await self.read.record(job_id)
            if record.killed or record.ended_at is not None:
                return await self.read.counts(job_id)
            work = (await self.read.fields(WORK, [job_id]))[job_id]
            totals = await self._apply(plan_kill(job_id, text, work))
            return None if totals is None else counts_in(totals, job_id)

        counts = await self._until_applied(attempt)
        # Nothing of this job can be claimed any more, so this meets every claim that there is.
        kills = await self.claims_of(job_id) if counts.claimed else []
        self._changed(job_id, None)
        return await self.summary(job_id), kills

    async def _kill_index(self, job_id: str, index: int) -> tuple[JobSummary, Kills]:
        async def attempt() -> Kills | None:
            _, record = await self.read.record(job_id)
            if not record.has(index):
                last = record.first + record.total - 1
                raise NotFound(f"job {job_id} has no index {index}: it goes from {record.first} to {last}")
            works = await self.read.fields(WORK, [job_id])
            plan = plan_kill_pending(job_id, index, record, works[job_id], self._clock.time())
            if plan is not None:
                return None if await self._apply(plan) is None else []
            name = f"{job_id}.{index}"
            text = (await self.read.fields(CLAIMS, [name]))[name]
            if text is not None:
                claim = ClaimRecord.model_validate_json(text)
                if not claim.kill:
                    plan = Plan()
                    plan.expect(CLAIMS, name, text)
                    plan.set(CLAIMS, name, text_of(claim.model_copy(update={"kill": True})))
                    if await self._apply(plan) is None:
                        return None
                return [(TaskName(job_id, index, claim.launch).task_id, claim.agent_id)]
            ended = (await self.read.fields(results_key(job_id), [str(index)]))[str(index)] is not None
            # Neither waiting nor claimed nor ended: it moved while we looked.
            return [] if ended or record.killed or record.ended_at is not None else None

        kills = await self._until_applied(attempt)
        self._changed(job_id, None)
        return await self.summary(job_id), kills

    async def claims_of(self, job_id: str) -> Kills:
        """Everything claimed of a job."""
        found: dict[str, str] = {}
        cursor = "0"
        while True:
            cursor, page = await self._records.scan(CLAIMS, cursor, CHUNK)
            for field, text in page.items():
                owner, index = parse_claim_field(field)
                if owner == job_id:
                    claim = ClaimRecord.model_validate_json(text)
                    found[TaskName(job_id, index, claim.launch).task_id] = claim.agent_id
            if cursor == "0":
                return list(found.items())

    # -- where jobs stand

    async def summary(self, job_id: str) -> JobSummary:
        """Where a job stands. Raises NotFound."""
        _, record = await self.read.record(job_id)
        if record.ended_at is not None:
            return summary_of(job_id, record, Counts())
        return await self._current(job_id, record, await self.read.counts(job_id))

    async def _current(self, job_id: str, record: JobRecord, counts: Counts) -> JobSummary:
        if record.ended_at is None and counts.ended >= record.total:
            # Whoever applied the last status died before closing the job, or is at it.
            record = (await self._end({job_id: counts})).get(job_id, record)
        return summary_of(job_id, record, counts)

    async def jobs(self, limit: int, *, active: bool) -> tuple[list[JobSummary], int]:
        """The latest jobs (that have not ended), and how many of them there are."""
        key = ACTIVE if active else ORDER
        ids = [job_id for job_id, _ in await self._records.range(key, limit=PAGES[-1] if active else limit)]
        records = await self.read.records(ids)
        latest = sorted(records, key=lambda job_id: -records[job_id].seq)[:limit]
        counts = await self.read.counts_of([each for each in latest if records[each].ended_at is None])
        found = [await self._current(each, records[each], counts.get(each, Counts())) for each in latest]
        return found, await self._records.size(key)
