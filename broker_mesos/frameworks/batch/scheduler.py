"""The batch framework's side of the offer cycle: claim, accept; apply, acknowledge."""

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
"""With nothing to run, demand ends too, and that keeps offers away. A filter could reach the cell after the
REVIVE of a job that comes meanwhile, and hide the agent from it."""
MISFIT_FILTER = 1.0
"""Seconds for what no pending task fits into; short, since a job that would fit may just be coming."""
FEW_OFFERS = 4
"""Tasks launched at once whose ends their agent tells us itself: somebody waits for each. Of many the ends
travel together, and what comes twice would cost more than it saves."""


class BatchScheduler(Scheduler):
    """The callbacks; all state is in the store, so that every worker's are alike."""

    def __init__(self, store: JobStore, demand_publisher: DemandPublisher, spare: Spare) -> None:
        self._store = store
        self._demand_publisher = demand_publisher
        self._spare = spare
        self._pace = RuntimeEstimates()
        self._early: dict[str, asyncio.Future[None]] = {}
        """By uuid: ends that agents told, and that are being applied."""

    async def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        """Claim first, accept then: a crash in between leaves a claim, which is settled after the offer
        timeout, never a task that nobody knows."""
        if self._store.nothing_pending:
            for offer in offers:
                if offer.spare:
                    self._spare.keep(offer)
            offers = [offer for offer in offers if not offer.spare]
            if not offers:
                return
        failpoints.hit("batch.before-claim")
        try:
            claimed = await self._store.claim(offers, self._pace.depth)
        except StoreUnavailable as error:
            # Kept until the store answers, the offers would have ended. If the claim was stored after all,
            # it is settled like that of a crash.
            log.warning("offers declined, the store does not answer", error=str(error))
            driver.decline(offers, MISFIT_FILTER)
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
        # Said first: what is given back below would else be offered again at once.
        if demand is not None:
            self._demand_publisher.publish(demand, linger=not unused)
        if unused:
            self._demand_publisher.hurry()
        refuse = MISFIT_FILTER if demand is None or demand.wanted else IDLE_FILTER
        all_of_them = [launch for launches in claimed.launches.values() for launch in launches]
        early = len(all_of_them) <= FEW_OFFERS
        spare = spare_demand(demand, all_of_them)
        # Another worker may answer these.
        driver.keep(claimed.kept)
        for offer in answered:
            if launches := claimed.launches.get(offer.offer_id):
                self._accept(driver, offer, launches, refuse, early=early, demand=spare)
        if unused:
            driver.decline(unused, refuse)

    def launch(self, driver: Driver, offer: Offer, launches: Sequence[Launch], demand: Demand, refuse: float) -> None:
        """Launch what was claimed on an offer that was kept; with the level of demand after that."""
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
        """A hint: what is claimed on it all the same is dropped by its cell."""
        self._spare.drop(offer_id)
        try:
            await self._store.rescinded(offer_id)
        except StoreUnavailable as error:
            log.warning("the end of an offer was not stored", error=str(error))

    async def early_statuses(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        """What an agent has written down will be what its cell says, unless that has given the task up; and
        then it ran all the same. So whoever waits need not wait for the cell."""
        fresh = {each.uuid: each for each in statuses if each.uuid not in self._early}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early.update(dict.fromkeys(fresh, done))
        try:
            await self._apply(driver, tuple(fresh.values()))
        except StoreUnavailable as error:
            # The cell says it again, and that is waited out.
            log.warning("an early word was not stored", error=str(error))
        finally:
            done.set_result(None)
            for uuid in fresh:
                del self._early[uuid]

    async def status_updates(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        """Once this returns, the cluster may forget the tasks that have ended. StoreUnavailable is waited
        out by the driver."""
        for each in statuses:
            if under_way := self._early.get(each.uuid):
                await under_way  # both would change the same at once
        # What is applied already is found so in the store; unless that has gone back in time since.
        self._pace.learn(statuses)
        await self._apply(driver, statuses)

    async def _apply(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        failpoints.hit("batch.before-apply")
        applied = await self._store.apply(statuses)
        failpoints.hit("batch.after-apply")
        for task_id, agent_id in applied.kills:
            driver.kill(task_id, agent_id)
        if applied.demand is not None:
            self._demand_publisher.publish(applied.demand)
