"""A worker of the batch framework. Any number of workers run at the same time; each may die at any time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from broker_mesos.bus.caller import CheckedAccess
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.health import DaemonReport
from broker_mesos.core.model.framework import DEMAND_ROLES, GPU_RESOURCES, REVOCABLE_RESOURCES, Demand, FrameworkInfo
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.protocol.addresses import Queue, QueueKind, calls
from broker_mesos.core.protocol.framework_messages import Settle
from broker_mesos.errors import StoreUnavailable, Unavailable
from broker_mesos.frameworks.batch.api import BatchApi
from broker_mesos.frameworks.batch.demand_publisher import DemandPublisher
from broker_mesos.frameworks.batch.job_feed import JobFeed
from broker_mesos.frameworks.batch.planning.claims import Launch
from broker_mesos.frameworks.batch.scheduler import IDLE_FILTER, NOTHING_WAITS, BatchScheduler
from broker_mesos.frameworks.batch.spare import Spare
from broker_mesos.frameworks.batch.storage.housekeeping import MAX_OVERDUE, Housekeeping
from broker_mesos.frameworks.batch.storage.records import FRAMEWORK_ID
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.frameworks.batch.storage.store_clock import StoreClock
from broker_mesos.operator.daemon_reports import report_of
from broker_mesos.ports.bus import Bus, outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.ports.store import Records
from broker_mesos.runtime.logs import get_logger
from broker_mesos.sdk import Driver, DriverSettings

log = get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Settings of a worker; times are in seconds."""

    offer_timeout: float = 10.0
    """The cluster's offer timeout; the cell is asked about a claim that has no status after this time."""
    sweep_interval: float = 5.0
    demand_interval: float = 2.0
    """Interval at which the level of demand is read from the store, in case the worker that took it died before it
    published it."""
    keep_ended: int = 1_000
    """Number of ended jobs that are kept; older ones are deleted."""
    registration_timeout: float | None = None
    stop_timeout: float = 10.0


class BatchWorker:
    """One worker. The bus and the records must be open; the caller that opened them closes them."""

    def __init__(
        self,
        bus: Bus,
        records: Records,
        clock: Clock,
        new_id: NewId,
        rng: random.Random,
        settings: BatchSettings | None = None,
        *,
        hostname: str = "",
        access: CheckedAccess | None = None,
    ) -> None:
        """``access`` is the policy by which requests are refused."""
        self.settings = settings or BatchSettings()
        self.framework = FrameworkInfo(
            framework_id=FRAMEWORK_ID,
            name=FRAMEWORK_ID,
            roles=("*",),
            failover_timeout=None,
            competing=True,
            capabilities=(DEMAND_ROLES, GPU_RESOURCES, REVOCABLE_RESOURCES),
            hostname=hostname,
        )
        self._bus = bus
        self._access = access
        self._clock = clock
        self._new_id = new_id
        self._rng = rng
        self._records = records
        self._store_clock = StoreClock(clock)
        self.spare = Spare(self._use_spare, self._give_back)
        self.store = JobStore(
            records,
            self._store_clock,
            rng,
            changed=lambda job_id, summary: self._feed.changed(job_id, summary),
            offer_timeout=self.settings.offer_timeout,
            spare=self.spare,
            wanted=self._publish_demand,
        )
        self._housekeeping = Housekeeping(
            self.store,
            records,
            offer_timeout=self.settings.offer_timeout,
            keep_ended=self.settings.keep_ended,
        )
        self._feed = JobFeed(bus, clock, new_id, self.store.summary, self.store.notified, self.store.feed_lost)
        self._driver: Driver | None = None
        self._scheduler: BatchScheduler | None = None
        self._demand_publisher: DemandPublisher | None = None
        self._responder: Responder | None = None
        self._stopping = asyncio.Event()
        self.serving = asyncio.Event()
        """Set once operator requests are answered."""
        self.subscribed = asyncio.Event()
        """Set while this worker receives offers and events."""

    @property
    def driver(self) -> Driver | None:
        """The driver, once the worker runs."""
        return self._driver

    async def run(self) -> None:
        """Work until ``stop``, or until the cluster refuses the framework. Raises TimedOut when no master
        answers within the registration timeout."""
        demand = await self._until_stored(self._first_demand)
        if demand is None:
            return
        demand_publisher = self._demand_publisher = DemandPublisher(self.store, self._store_clock, self._set_demand)
        scheduler = self._scheduler = BatchScheduler(self.store, demand_publisher, self.spare, self.subscribed)
        driver = self._driver = Driver(
            scheduler,
            self.framework,
            self._bus,
            clock=self._clock,
            new_id=self._new_id,
            settings=DriverSettings(
                offer_timeout=self.settings.offer_timeout,
                registration_timeout=self.settings.registration_timeout,
                stop_timeout=self.settings.stop_timeout,
                settle=False,
                gather=False,
                serial=False,
            ),
            demand=await demand_publisher.stated(demand),
            rng=self._rng,
        )
        requester = Requester(self._bus, self._clock, self._new_id)
        api = BatchApi(self.store, self._feed, driver, demand_publisher, requester, self._store_clock, self._report)
        queue = Queue(QueueKind.OPERATOR_FRAMEWORK, FRAMEWORK_ID)
        responder = Responder(self._bus, queue, api, self._clock, self._new_id, access=self._access)
        running = [
            asyncio.create_task(work, name=f"batch-{name}")
            for name, work in (
                ("driver", driver.run()),
                ("api", responder.run()),
                ("listen", self._feed.listen()),
                ("progress", self._feed.publish_progress()),
                ("demand", self._every(self.settings.demand_interval, self._follow_demand)),
                ("demand_publisher", demand_publisher.run()),
                ("sweep", self._every(self.settings.sweep_interval, self._sweep)),
                ("serving", self._announce(responder)),
            )
        ]
        if self._stopping.is_set():
            driver.stop(failover=True)
        try:
            # Only the driver's task ends by itself; if another one ends or fails, the worker must end as a whole.
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            driver.stop(failover=True)
            if running[0] not in done:
                await asyncio.wait(running[:1])
        finally:
            self.serving.clear()
            self.subscribed.clear()
            self.spare.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await requester.close()
        for task in done:
            task.result()

    def stop(self) -> None:
        """End ``run``: unanswered offers are declined; claimed tasks run on, and the other workers handle them."""
        self._stopping.set()
        if self._driver is not None:
            self._driver.stop(failover=True)

    async def _announce(self, responder: Responder) -> None:
        await responder.consuming.wait()
        self.serving.set()
        await asyncio.Event().wait()

    async def _report(self) -> DaemonReport:
        consumers = await self._bus.consumers(Queue(QueueKind.OPERATOR_FRAMEWORK, FRAMEWORK_ID))
        return report_of("batch worker", self._access, consumers or 1)

    # -- the spare offer

    def _use_spare(self, offer: Offer, launches: Sequence[Launch], demand: Demand) -> None:
        assert self._driver is not None and self._scheduler is not None
        self._scheduler.launch(self._driver, offer, launches, demand, IDLE_FILTER)

    def _give_back(self, offer: Offer) -> None:
        assert self._driver is not None
        self._driver.decline(offer, IDLE_FILTER, NOTHING_WAITS)

    # -- demand

    async def _first_demand(self) -> Demand:
        await self._store_clock.sync(self._records)
        # A version is at least the time in milliseconds: so it is above all versions that a store which has gone
        # back in time has ever given out. It is the store's time, since the other workers would not reach a version
        # from the clock of a worker that is ahead.
        await self.store.demand(int(self._store_clock.time() * 1000))
        return await self.store.idle()

    def _publish_demand(self, demand: Demand) -> None:
        if self._demand_publisher is not None:
            self._demand_publisher.publish(demand)

    async def _follow_demand(self) -> None:
        assert self._demand_publisher is not None and self._driver is not None
        # A cell that knows a higher version than the store would ignore every demand until its owner changes.
        self._demand_publisher.publish(await self.store.demand(self._driver.demand_floor))

    def _set_demand(self, demand: Demand) -> None:
        assert self._driver is not None
        self._driver.set_demand(demand)

    # -- housekeeping

    async def _sweep(self) -> None:
        assert self._driver is not None
        await self._store_clock.sync(self._records)
        # Each claim that was asked about is due again only later, so this loop ends.
        while overdue := await self._housekeeping.overdue():
            by_cell: dict[int, list[tuple[str, str]]] = {}
            for claim in overdue:
                by_cell.setdefault(claim.cell, []).append((claim.task_id, claim.offer_id))
            for cell, claims in by_cell.items():
                message = Settle(framework_id=FRAMEWORK_ID, claims=tuple(claims))
                # If the message is not confirmed or is returned, the same claims are due again after the offer timeout.
                self._bus.publish(outgoing(calls(cell), message, self._new_id(), mandatory=True))
            if len(overdue) < MAX_OVERDUE:
                break
        for task_id, agent_id in await self._housekeeping.tidy():
            self._driver.kill(task_id, agent_id)
        while await self._housekeeping.prune():
            await self._clock.sleep(0.05)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(seconds * (0.75 + 0.5 * self._rng.random()))
            try:
                await work()
            except Unavailable as error:
                log.warning("periodic work failed and is repeated later", what=work.__name__, error=str(error))

    async def _until_stored(self, work: Callable[[], Awaitable[T]]) -> T | None:
        while not self._stopping.is_set():
            try:
                return await work()
            except StoreUnavailable as error:
                log.warning("waiting for the store", error=str(error))
                await self._clock.sleep(0.5 + 0.5 * self._rng.random())
        return None
