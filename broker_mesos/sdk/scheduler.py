"""The base class from which the author of a framework derives a scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isawaitable

from broker_mesos.core.model.offer import InverseOffer, Offer
from broker_mesos.core.model.reservation import OperationStatus
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.sdk.callbacks import Result
from broker_mesos.sdk.driver import Driver
from broker_mesos.sdk.gangs import Placement


class Scheduler:
    """The callbacks of a framework. Each may be a plain method or ``async def``; the defaults do nothing
    (``resource_offers`` and ``gang_offers`` decline, ``inverse_offers`` accepts).

    They run in the driver's event loop, one after the other (unless ``DriverSettings.serial`` is False). A plain
    method that computes or waits for long stops the heartbeats meanwhile: after a few seconds the cluster treats the
    process as dead. Use ``async def``, or a thread.

    Messages are delivered at least once: a callback may get the same status again. An exception is logged, and the
    messages that were being handled are delivered again, two more times; then they go to the dead letters. After an
    ``Unavailable`` (a server that the scheduler needs does not answer) the call is retried without limit instead.
    """

    @property
    def handles_updates_together(self) -> bool:
        """Whether ``status_updates`` is overridden; then one call of it handles all statuses, or none of them."""
        return type(self).status_updates is not Scheduler.status_updates

    def registered(self, driver: Driver, framework_id: str) -> Result:
        """Called when the cluster has registered the framework, and this process receives its messages."""

    def reregistered(self, driver: Driver) -> Result:
        """Called when the framework is registered again after ``disconnected``."""

    def disconnected(self, driver: Driver) -> Result:
        """Called when messages no longer arrive. None arrive until ``reregistered``; earlier offers have probably
        ended."""

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> Result:
        """Called with new offers. Answer each with ``driver.accept`` or ``driver.decline``, here or later: an offer
        without an answer occupies its resources until the offer timeout. The default declines them."""
        driver.decline(offers)
        return None

    def gang_offers(self, driver: Driver, gang: str, placement: Placement) -> Result:
        """Called when all tasks of a wanted gang (``driver.want``) have a place. Accept the offers of each part with
        its tasks, then call ``driver.want`` with what is still wanted. Offers of gangs are passed to this callback
        only, and only once the gang is complete; until then the driver holds them, and it declines those in excess.
        The default declines them."""
        driver.decline([offer for part in placement.parts for offer in part.offers])
        return None

    def offer_rescinded(self, driver: Driver, offer_id: str) -> Result:
        """Called when an offer has ended. Only a hint: tasks launched on it get statuses of their own."""

    def status_update(self, driver: Driver, status: TaskStatus) -> Result:
        """Called with the new status of a task. When this returns for a terminal state, the cluster may delete the
        task."""

    async def status_updates(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        """Called with all statuses that arrived together. Override it instead of ``status_update`` to handle many at
        once: then either all of them are handled, or all of them are delivered again after an exception."""
        for status in statuses:
            result = self.status_update(driver, status)
            if isawaitable(result):
                await result

    def early_statuses(self, driver: Driver, statuses: Sequence[TaskStatus]) -> Result:
        """Called with terminal statuses that agents send directly, before the cluster has committed them, for tasks
        with ``TaskInfo.early``. Only a hint: it may be missing or late, and ``status_update`` follows with the same
        ``uuid``."""

    def operation_updates(self, driver: Driver, statuses: Sequence[OperationStatus]) -> Result:
        """Called with the results of operations that have an id: ``OPERATION_FINISHED``, or ``OPERATION_ERROR`` with
        the reason, after which nothing has changed. If no result arrives (the cluster was recovering), the next
        offers show what is reserved."""

    def inverse_offers(self, driver: Driver, inverse_offers: Sequence[InverseOffer]) -> Result:
        """Called when agents with tasks of the framework have a planned absence. Move the tasks in time, since they
        are killed when it begins (TASK_KILLED with ``Reason.AGENT_DRAINING``). The inverse offers are sent again
        until ``driver.answer_inverse_offers``; the default accepts and does nothing else."""
        driver.answer_inverse_offers(inverse_offers)
        return None

    def agent_lost(self, driver: Driver, agent_id: str) -> Result:
        """Called when an agent is gone or unreachable; its tasks get statuses of their own."""

    def error(self, driver: Driver, message: str) -> Result:
        """Called when the cluster refuses the framework, e.g. because it was torn down. The driver stops then."""
