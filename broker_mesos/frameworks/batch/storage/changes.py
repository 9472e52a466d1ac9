"""Optimistic changes of records: read, plan, and apply the plan if nothing was changed meanwhile, else repeat."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from broker_mesos.core.model.framework import Demand
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.planning.claims import Candidate
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.cache import Cache
from broker_mesos.frameworks.batch.storage.reader import JobReader
from broker_mesos.frameworks.batch.storage.records import WORK
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.store import Records

MAX_TRIES = 200

T = TypeVar("T")


class Changes:
    """Applies plans to the records of a store, and caches what it has stored (see ``storage/cache.py``)."""

    def __init__(self, records: Records, clock: Clock, rng: random.Random) -> None:
        self.read = JobReader(records)
        self.cache = Cache(clock)
        self.known_version = 0
        """The highest version of demand that this worker has seen."""
        self.clock = clock
        self._records = records
        self._rng = rng

    async def until_applied(self, attempt: Callable[[], Awaitable[T | None]]) -> T:
        """Repeat an attempt until its result is not None; it returns None when another worker was faster. Another
        worker has made progress each time, so this ends; the random pause keeps many workers from retrying in step.
        Raises StoreUnavailable after MAX_TRIES attempts."""
        for tries in range(MAX_TRIES):
            result = await attempt()
            if result is not None:
                return result
            if tries:
                await self.clock.sleep(self._rng.random() * min(0.001 * 2**tries, 0.05))
        raise StoreUnavailable("too many workers change the same job at once; try again")

    async def apply(self, plan: Plan) -> dict[tuple[str, str], int] | None:
        """Apply a plan. Returns its totals, or None if a compared value has changed."""
        pending = self.cache.begin(plan)
        try:
            values = await self._records.transact(plan.checks, plan.changes)
            if values is not None:
                totals = plan.totals(values)
                self.cache.applied(plan, totals)
                return totals
        except BaseException:
            self.cache.forget()  # it may have been applied
            raise
        finally:
            if pending:
                self.cache.end()
        self.cache.forget()
        return None

    def level(self, version: int, wanted: bool) -> Demand:
        """The demand of a version that was read or taken, which is remembered if it is the highest."""
        self.known_version = max(self.known_version, version)
        return Demand(version=version, wanted=wanted)

    def stored_level(self, meta: Mapping[str, str | None]) -> Demand:
        """The level of demand in the fields of ``meta`` that were read."""
        return self.level(int(meta["demand_version"] or 0), meta["wanted"] == "1")

    async def fields(self, key: str, fields: Collection[str]) -> tuple[dict[str, str | None], list[str]]:
        """The values of fields, and the names of those that come from the cache: a plan must compare those."""
        found: dict[str, str | None] = {}
        recalled: list[str] = []
        for field in fields:
            text = found[field] = self.cache.text(key, field)
            if text is not None:
                recalled.append(field)
        if len(recalled) < len(found):
            found.update(await self.read.fields(key, [field for field, text in found.items() if text is None]))
        return found, recalled

    async def both(
        self, one: tuple[str, Collection[str]], other: tuple[str, Collection[str]]
    ) -> tuple[tuple[dict[str, str | None], list[str]], tuple[dict[str, str | None], list[str]]]:
        """``fields`` of two keys, read at the same time where they are not cached."""
        if all(self.cache.text(key, field) is not None for key, fields in (one, other) for field in fields):
            return await self.fields(*one), await self.fields(*other)
        return await asyncio.gather(self.fields(*one), self.fields(*other))

    async def candidates(self, pending: Sequence[tuple[str, float]]) -> list[Candidate]:
        """The candidates for pending jobs (id and score), from the cache or the store."""
        # Mostly works and specs are both cached; then this takes no turn of the loop.
        works, _ = await self.fields(WORK, [job_id for job_id, _ in pending])
        specs = await self.read.specs(pending)
        return [
            Candidate(job_id, specs[job_id].spec, work, specs[job_id].size)
            for job_id, _ in pending
            if (work := works[job_id]) is not None and job_id in specs
        ]
