"""Read, plan, write if nothing has moved meanwhile, else again."""

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
    """How a store changes its records. What it stored last it remembers: see ``memo``."""

    def __init__(self, records: Records, clock: Clock, rng: random.Random) -> None:
        self.read = JobReader(records)
        self.cache = Cache(clock)
        self.known_version = 0
        """The highest version of demand that was ever seen."""
        self.clock = clock
        self._records = records
        self._rng = rng

    async def until_applied(self, attempt: Callable[[], Awaitable[T | None]]) -> T:
        """Repeat an attempt that returns None when somebody else was faster. Each such loss is another's
        progress, so this ends; the pause keeps many workers from running in step."""
        for tries in range(MAX_TRIES):
            result = await attempt()
            if result is not None:
                return result
            if tries:
                await self.clock.sleep(self._rng.random() * min(0.001 * 2**tries, 0.05))
        raise StoreUnavailable("too many workers change the same job at once; try again")

    async def apply(self, plan: Plan) -> dict[tuple[str, str], int] | None:
        """Carry out a plan; its totals, or None if something has moved."""
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
        """A level of demand that was read or taken."""
        self.known_version = max(self.known_version, version)
        return Demand(version=version, wanted=wanted)

    def stored_level(self, meta: Mapping[str, str | None]) -> Demand:
        """The level in ``meta`` as it was read."""
        return self.level(int(meta["demand_version"] or 0), meta["wanted"] == "1")

    async def fields(self, key: str, fields: Collection[str]) -> tuple[dict[str, str | None], list[str]]:
        """Values of fields, and which of them were remembered: a plan has to compare those."""
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
        """``fields`` of two keys, at once where they have to be read."""
        if all(self.cache.text(key, field) is not None for key, fields in (one, other) for field in fields):
            return await self.fields(*one), await self.fields(*other)
        return await asyncio.gather(self.fields(*one), self.fields(*other))

    async def candidates(self, pending: Sequence[tuple[str, float]]) -> list[Candidate]:
        """Pending jobs, given with their scores, and what is left of them to claim; remembered or read."""
        # Mostly both are remembered; then this takes no turn of the loop.
        works, _ = await self.fields(WORK, [job_id for job_id, _ in pending])
        specs = await self.read.specs(pending)
        return [
            Candidate(job_id, specs[job_id].spec, work, specs[job_id].size)
            for job_id, _ in pending
            if (work := works[job_id]) is not None and job_id in specs
        ]
