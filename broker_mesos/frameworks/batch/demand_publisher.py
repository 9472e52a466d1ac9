"""Telling the cells what is wanted: a version, taken in the step that changed it, and shapes of tasks.

Shapes that go with a version were read after it was taken, so they cover all work up to it; what they leave
out was claimed since. A cell heeds only the first word on a version: whatever makes a shape appear takes a
new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker_mesos.core.model.framework import Demand
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.planning.shapes import MAX_JOBS, NEVER, Stated, state
from broker_mesos.frameworks.batch.storage.records import Work
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

REPUBLISH_SECONDS = 30.0
"""Seconds after which the same version is published again, should a cell have counted wrongly what it offered."""
LINGER_SECONDS = 0.05
"""Seconds after which it is told that nothing is wanted any more, where nobody offers anything meanwhile: the
cells have counted that all was served. More work may come until then, and spare a message to each."""
RETRY_PAUSE_SECONDS = 1.0
"""Seconds before another try when the store does not answer."""


class DemandPublisher:
    """Tells what is wanted, the latest only: what comes while it reads is told together.

    ``set_demand`` is called with every new demand. That nothing is wanted is told at once, or when it
    lingers, at last.
    """

    def __init__(self, store: JobStore, clock: Clock, set_demand: Callable[[Demand], None]) -> None:
        self._store = store
        self._clock = clock
        self._set_demand = set_demand
        self._latest = Demand(version=-1)
        self._due = NEVER
        self._changed = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None

    def publish(self, demand: Demand, *, linger: bool = False) -> None:
        """This level of demand holds now, unless a later one is known. ``linger``: there is no hurry to tell
        that nothing is wanted."""
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
        """Tell now what lingers: something is given back, which would be offered again."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
            self._set_demand(self._latest)

    async def stated(self, demand: Demand) -> Demand:
        """A level of demand, with the shapes that it is for."""
        self._latest = max(demand, self._latest, key=lambda each: each.version)
        if not demand.wanted:
            return demand
        try:
            pending = await self._store.pending(MAX_JOBS, demand.version)
        except StoreUnavailable as error:
            log.warning("demand is for anything, the store does not answer", error=str(error))
            pending = None
        now = self._clock.time()
        found = Stated(None)
        if pending is not None:
            found = state([(each.job_id, each.spec, Work.parse(each.work_text)) for each in pending], now)
        if demand is self._latest:
            self._due = min(found.due, now + REPUBLISH_SECONDS)
        return demand.model_copy(update={"shapes": found.shapes})

    async def run(self) -> None:
        """Tell what ``tell`` is called with, and restate it when it is due."""
        while True:
            try:
                async with asyncio.timeout(None if self._due == NEVER else self._due - self._clock.time()):
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
            self._due = self._clock.time() + RETRY_PAUSE_SECONDS

    async def _end(self, demand: Demand) -> None:
        """Its work was claimed, or killed, before it was told."""
        try:
            found = await self._store.idle()
        except StoreUnavailable as error:
            log.warning("the end of demand was not stored", error=str(error))
            return
        self.publish(found)
        if found.wanted and self._latest is demand:
            self._due = self._clock.time() + RETRY_PAUSE_SECONDS  # there is some all the same: look again
