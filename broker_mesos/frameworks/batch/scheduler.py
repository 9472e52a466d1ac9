"""The batch framework's scheduler callbacks: claim and accept for offers, apply and acknowledge for statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.errors import StoreUnavailable
from broker_mesos.frameworks.batch.demand_publisher import DemandPublisher
from broker_mesos.frameworks.batch.planning.claims import Launch, task_info
from broker_mesos.frameworks.batch.planning.runtime_estimates import RuntimeEstimates
from broker_mesos.frameworks.batch.spare import Spare, spare_demand
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.runtime import failpoints
from broker_mesos.runtime.logs import get_logger
from broker_mesos.sdk import Driver, Scheduler

log = get_logger(__name__)

IDLE_FILTER = 0.0
"""Filter on declined offers when nothing waits, in seconds. The end of demand keeps offers away then; a filter could
reach the cell after the REVIVE for a new job, and hide the agent from that job."""
MISFIT_FILTER = 1.0
"""Filter on offers that no pending task fits into, in seconds; short, since a job that fits may be submitted soon."""
MISFIT, NOTHING_WAITS = "no waiting task fits", "no task waits"
"""Reasons of declined offers, for operators."""
FEW_OFFERS = 4
"""Maximum number of tasks launched at once for which the agent sends early statuses. A client probably waits for each
of so few tasks. The statuses of many tasks travel together, and sending them twice would cost more than it saves."""


class BatchScheduler(Scheduler):
    """The scheduler callbacks of a worker. All state is in the store, so that any worker can handle any event."""

    def __init__(
        self, store: JobStore, demand_publisher: DemandPublisher, spare: Spare, subscribed: asyncio.Event
    ) -> None:
        """``subscribed`` is set while the worker receives offers and events."""
        self._subscribed = subscribed
        self._store = store
        self._demand_publisher = demand_publisher
        self._spare = spare
        self._estimates = RuntimeEstimates()
        self._early: dict[str, asyncio.Future[None]] = {}
        """By status uuid: early statuses that are being applied."""

    def registered(self, driver: Driver, framework_id: str) -> None:
        """The worker receives offers and events from now on."""
        self._subscribed.set()

    def reregistered(self, driver: Driver) -> None:
        """The same, after ``disconnected``."""
        self._subscribed.set()

    def disconnected(self, driver: Driver) -> None:
        """The queues are not consumed until ``reregistered``."""
        self._subscribed.clear()

    async def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        """Claim tasks in the store, then accept the offers. A crash in between leaves a claim, which is settled
        after the offer timeout, and never a task that no worker knows."""
        if self._store.nothing_pending:
            for offer in offers:
                if offer.spare:
                    self._spare.keep(offer)
            offers = [offer for offer in offers if not offer.spare]
            if not offers:
                return
        failpoints.hit("batch.before-claim")
        try:
            claimed = await self._store.claim(offers, self._estimates.depth)
        except StoreUnavailable as error:
            # The offers would have ended before the store answers again. If the claim was stored after all, it is
            # settled like the claim of a worker that crashed.
            log.warning("offers declined, the store does not answer", error=str(error))
            driver.decline(offers, MISFIT_FILTER, "the store of jobs does not answer")
            return
        failpoints.hit("batch.after-claim")
        demand = claimed.demand
        if demand is None and not claimed.pending:
            try:
                demand = await self._store.idle()
            except StoreUnavailable as error:
                log.warning("the end of demand was not stored", error=str(error))
        answered = [each for each in (*offers, *claimed.gang_offers) if each.offer_id not in claimed.kept]
        unused = [each for each in answered if not claimed.launches.get(each.offer_id)]
        if not claimed.pending:
            for offer in unused:
                if offer.spare:
                    self._spare.keep(offer)
            unused = [offer for offer in unused if not offer.spare]
        # Published first: otherwise the offers that are declined below would be offered again at once.
        if demand is not None:
            self._demand_publisher.publish(demand, linger=not unused)
        if unused:
            self._demand_publisher.hurry()
        refuse = MISFIT_FILTER if demand is None or demand.wanted else IDLE_FILTER
        all_of_them = [launch for launches in claimed.launches.values() for launch in launches]
        early = len(all_of_them) <= FEW_OFFERS
        spare = spare_demand(demand, all_of_them)
        # Any worker may answer the kept offers later.
        driver.keep(claimed.kept)
        for offer in answered:
            if launches := claimed.launches.get(offer.offer_id):
                self._accept(driver, offer, launches, refuse, early=early, demand=spare)
        if unused:
            driver.decline(unused, refuse, MISFIT if claimed.pending else NOTHING_WAITS)

    def launch(self, driver: Driver, offer: Offer, launches: Sequence[Launch], demand: Demand, refuse: float) -> None:
        """Launch tasks that were claimed on a kept offer; ``demand`` is the level of demand after that claim."""
        spare = spare_demand(demand, launches)
        self._accept(driver, offer, launches, refuse, early=True, demand=spare)
        if spare is None:
            self._demand_publisher.publish(demand, linger=True)

    def _accept(
        self,
        driver: Driver,
        offer: Offer,
        launches: Sequence[Launch],
        refuse: float,
        *,
        early: bool,
        demand: Demand | None,
    ) -> None:
        tasks = [task_info(each, early=early) for each in launches]
        accepted = driver.accept(offer, tasks, refuse, demand=demand)
        accepted.add_done_callback(lambda _: failpoints.hit("batch.after-accept"))

    async def offer_rescinded(self, driver: Driver, offer_id: str) -> None:
        """Forget an offer. Only a hint: if tasks are claimed on the offer nevertheless, its cell drops them."""
        self._spare.drop(offer_id)
        try:
            await self._store.rescinded(offer_id)
        except StoreUnavailable as error:
            log.warning("the end of an offer was not stored", error=str(error))

    async def early_statuses(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        """Apply terminal statuses that come directly from an agent, so that a waiting client need not wait for the
        cell. The cell will send the same status, since the agent has written it to its journal, unless the cell has
        given the task up; the task has run in that case too."""
        fresh = {each.uuid: each for each in statuses if each.uuid not in self._early}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early.update(dict.fromkeys(fresh, done))
        try:
            await self._apply(driver, tuple(fresh.values()))
        except StoreUnavailable as error:
            # The cell sends the status again, and that one is retried until it is stored.
            log.warning("an early status was not stored", error=str(error))
        finally:
            done.set_result(None)
            for uuid in fresh:
                del self._early[uuid]

    async def status_updates(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        """Apply statuses. After this returns, the cluster may forget the tasks that have ended. The driver retries
        the call when it raises StoreUnavailable."""
        for each in statuses:
            if under_way := self._early.get(each.uuid):
                await under_way  # otherwise both would change the same records at once
        # Early statuses are applied again: the store finds no claim for them, unless it has gone back in time.
        self._estimates.learn(statuses)
        await self._apply(driver, statuses)

    async def _apply(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        failpoints.hit("batch.before-apply")
        applied = await self._store.apply(statuses)
        failpoints.hit("batch.after-apply")
        for task_id, agent_id in applied.kills:
            driver.kill(task_id, agent_id)
        if applied.demand is not None:
            self._demand_publisher.publish(applied.demand)
