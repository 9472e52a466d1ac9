"""A store, a clock that stands still, and a cell that knows the batch protocol, for tests without a bus."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.frameworks.batch.storage.housekeeping import Housekeeping
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.store import Change, Check, Records
from broker_mesos.store.memory import MemoryRecords, MemoryStoreState
from tests.clocks import StillClock

TRUE = CommandInfo(arguments=("true",))


def job(**fields: Any) -> JobSpec:
    """A spec: `true`, 1 cpu, 10 mem."""
    fields.setdefault("command", TRUE)
    fields["resources"] = Resources.parse(fields.get("resources", "cpus:1;mem:10"))
    return JobSpec(**fields)


def offer(offer_id: str = "o1", resources: str = "cpus:4;mem:100", **fields: Any) -> Offer:
    """An offer of agent a1 in cell 0."""
    fields = {"framework_id": "batch", "agent_id": "a1", "cell": 0, "hostname": "h1", **fields}
    return Offer(offer_id=offer_id, resources=Resources.parse(resources), **fields)


def status(task_id: str, state: TaskState, **fields: Any) -> TaskStatus:
    """A status of agent a1."""
    return TaskStatus(**{"task_id": task_id, "state": state, "agent_id": "a1", "uuid": "u", **fields})


class Yielding:
    """Records that let others run before and after every call, for as long as the dice say."""

    def __init__(self, records: Records, rng: random.Random) -> None:
        self._records = records
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._records, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._pause()
            try:
                return await method(*args, **kwargs)
            finally:
                await self._pause()

        return call

    async def _pause(self) -> None:
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(0)


class Ahead:
    """Records of a server whose time a test moves on."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def due(self, key: str, *, limit: int, horizon: float) -> list[tuple[str, float]]:
        return await self._records.range(key, limit=limit, max_score=await self._records.now() + self.seconds)

    async def transact(self, checks: Sequence[Check], changes: Sequence[Change]) -> list[int] | None:
        later = [
            each._replace(value=float(each.value) + self.seconds) if each.op == "zadd_after" else each
            for each in changes
        ]
        return await self._records.transact(checks, later)


class World:
    """One store with some workers' JobStores on it."""

    def __init__(
        self,
        workers: int = 1,
        *,
        rng: random.Random | None = None,
        keep_ended: int = 1_000,
        records: Records | None = None,
        clock: StillClock | None = None,
    ) -> None:
        self.clock = clock or StillClock()
        self.state = MemoryStoreState(self.clock)
        self.records: Any = Ahead(records) if records else MemoryRecords(self.state)
        self.news: list[tuple[str, JobSummary | None]] = []
        rng = rng or random.Random(1)
        view: Any = Yielding(self.records, rng) if workers > 1 else self.records
        self.stores = [
            JobStore(view, self.clock, rng, changed=lambda *news: self.news.append(news)) for _ in range(workers)
        ]
        self.upkeeps = [Housekeeping(store, view, keep_ended=keep_ended) for store in self.stores]
        self.store = self.stores[0]
        self.upkeep = self.upkeeps[0]

    async def claim(self, *offers: Offer) -> list[str]:
        """Ids of the tasks that are claimed for offers."""
        claimed = await self.store.claim(offers or [offer()])
        return [launch.name.task_id for launches in claimed.launches.values() for launch in launches]

    def passes(self, seconds: float) -> None:
        """Time passes, on a server's clock as well."""
        self.clock.now += seconds
        if isinstance(self.records, Ahead):
            self.records.seconds += seconds

    async def transact(self, checks: Sequence[Check], changes: Sequence[Change]) -> None:
        """Somebody else's change."""
        assert await self.records.transact(checks, changes) is not None

    async def leftovers(self) -> dict[str, int]:
        """What must be empty when all jobs have ended."""
        keys = ("claims", "unsettled", "pending", "pending:*", "pending:eng", "work", "active")
        return {key: size for key in keys if (size := await self.records.size(key))}
