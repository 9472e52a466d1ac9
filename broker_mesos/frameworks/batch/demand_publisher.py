"""Publishes the framework's demand to the cells: a version and the shapes of the tasks that wait.

The version is taken in the transaction that made work appear or run out. The shapes of a version are read after
it was taken, so they cover all work up to it; work that they leave out was claimed in the meantime. A cell applies
only the first demand that it receives with a version, so every transaction that makes a shape appear takes a new
version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker_mesos.core.model.framework import Demand
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.planning.shapes import MAX_JOBS, NEVER, DemandShapes, demand_roles, demand_shapes
from broker_mesos.frameworks.batch.storage.records import Work
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within

log = get_logger(__name__)

REPUBLISH_SECONDS = 30.0
"""Interval at which demand that still holds is published again under a new version, in seconds, in case a cell has
miscounted what it offered."""
LINGER_SECONDS = 0.05
"""Delay before the end of demand is published, in seconds, where no offer is to be given back. The cells have
counted that all demand was served, so they offer nothing meanwhile; if new work comes within the delay, one message
to each cell is saved."""
RETRY_PAUSE_SECONDS = 1.0
"""Pause before the next attempt when the store does not answer, in seconds."""


class DemandPublisher:
    """Publishes the latest demand only: levels that arrive while shapes are being read are merged.

    ``set_demand`` is called with every demand to publish. The end of demand is published at once, or with
    ``linger`` after LINGER_SECONDS.
    """

    def __init__(self, store: JobStore, clock: Clock, set_demand: Callable[[Demand], None]) -> None:
        self._store = store
        self._clock = clock
        self._set_demand = set_demand
        self._latest = Demand(version=-1)
        self._due = NEVER
        self._roles: tuple[str, ...] = ()
        """The roles of the demand that was published last."""
        self._changed = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None

    def publish(self, demand: Demand, *, linger: bool = False) -> None:
        """Publish this level of demand, unless a later version is known. With ``linger`` an end of demand may be
        published LINGER_SECONDS later."""
        if demand.version <= self._latest.version:
            return
        self._latest = demand
        self._due = NEVER
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if demand.wanted:
            self._changed.set()
        elif linger:
            self._lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.hurry)
        else:
            self._set_demand(demand)

    def hurry(self) -> None:
        """Publish an end of demand that is delayed now: an offer is about to be given back, and would be offered
        again."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
            self._set_demand(self._latest)

    async def stated(self, demand: Demand) -> Demand:
        """The level of demand with the shapes of the tasks that wait; without shapes if the store does not answer."""
        self._latest = max(demand, self._latest, key=lambda each: each.version)
        if not demand.wanted:
            return demand
        found, roles, now = DemandShapes(None), self._roles, self._clock.time()
        try:
            pending = await self._store.pending(MAX_JOBS, demand.version)
            if pending is not None:
                jobs = [(each.job_id, each.spec, Work.parse(each.work_text)) for each in pending]
                found = demand_shapes(jobs, now)
            roles = found.roles if found.shapes is not None else demand_roles(await self._store.pending_jobs.roles())
        except StoreUnavailable as error:
            log.warning("demand is for anything, the store does not answer", error=str(error))
        self._roles = roles
        if demand is self._latest:
            self._due = self._clock.monotonic() + min(found.due - now, REPUBLISH_SECONDS)
        return demand.model_copy(update={"shapes": found.shapes, "roles": roles})

    async def run(self) -> None:
        """Publish the demand that ``publish`` is called with, and restate it when it is due. Runs until cancelled."""
        while True:
            try:
                async with within(None if self._due == NEVER else self._due - self._clock.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                self._due = NEVER
                await self._restate()
                continue
            self._changed.clear()
            latest = self._latest
            if latest.wanted:
                stated = await self.stated(latest)
                self._set_demand(stated)
                if stated.shapes == ():
                    await self._end(latest)

    async def _restate(self) -> None:
        if not self._latest.wanted:
            return
        version = self._latest.version
        try:
            again = await self._store.restate(version)
            self.publish(again or await self._store.demand())
        except StoreUnavailable as error:
            log.warning("demand is restated later, the store does not answer", error=str(error))
        if self._latest.version == version:
            self._due = self._clock.monotonic() + RETRY_PAUSE_SECONDS

    async def _end(self, demand: Demand) -> None:
        """Store and publish that nothing is wanted: the work was claimed or killed before its demand was published."""
        try:
            found = await self._store.idle()
        except StoreUnavailable as error:
            log.warning("the end of demand was not stored", error=str(error))
            return
        self.publish(found)
        if found.wanted and self._latest is demand:
            self._due = self._clock.monotonic() + RETRY_PAUSE_SECONDS  # there is work after all: read again
