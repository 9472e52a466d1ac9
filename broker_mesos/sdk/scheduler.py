"""What the author of a framework writes: a subclass of Scheduler."""

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

    They run in the driver's event loop, one after the other (unless ``DriverSettings.serial`` is False). A
    plain one that computes or waits for long stops heartbeats meanwhile: past a few seconds the cluster
    takes the process for dead. Use ``async def``, or a thread.

    Everything comes at least once: a callback may see the same status again. An exception is logged, and
    what was being handled is delivered again, two more times; then it goes to the dead letters. An
    ``Unavailable`` (a server of ours does not answer) is waited out instead, without counting.
    """

    @property
    def handles_updates_together(self) -> bool:
        """Whether ``status_updates`` is overridden: then one callback handles all statuses, or none of them."""
        return type(self).status_updates is not Scheduler.status_updates

    def registered(self, driver: Driver, framework_id: str) -> Result:
        """The cluster knows the framework, and this process is the one that gets its messages."""

    def reregistered(self, driver: Driver) -> Result:
        """So it is again, after ``disconnected``."""

    def disconnected(self, driver: Driver) -> Result:
        """Nothing comes any more, from now until ``reregistered``; earlier offers have probably ended."""

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> Result:
        """New offers. Answer each with ``driver.accept`` or ``driver.decline``, here or later: an offer without
        an answer occupies its resources until the offer timeout. The default declines them."""
        driver.decline(offers)
        return None

    def gang_offers(self, driver: Driver, gang: str, placement: Placement) -> Result:
        """All tasks of a gang of the demand (``driver.want``) have a place: accept the offers of each part
        with its tasks, then state what is wanted now. Offers of gangs come here alone, and only once they
        are complete; until then, and what is in excess, is the driver's to hold and to decline. The default
        declines them."""
        driver.decline([offer for part in placement.parts for offer in part.offers])
        return None

    def offer_rescinded(self, driver: Driver, offer_id: str) -> Result:
        """An offer has ended. Only a hint: tasks launched on it are told of by their own status."""

    def status_update(self, driver: Driver, status: TaskStatus) -> Result:
        """News of a task. When this returns for a terminal state, the cluster may forget the task."""

    async def status_updates(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        """All news that came together. Override it instead of ``status_update`` to handle many at once:
        then either all of them are handled, or an exception delivers all of them again."""
        for status in statuses:
            result = self.status_update(driver, status)
            if isawaitable(result):
                await result

    def early_statuses(self, driver: Driver, statuses: Sequence[TaskStatus]) -> Result:
        """How processes of tasks with ``TaskInfo.early`` have ended, as their agent says, ahead of the
        cluster. A hint: it may not come, or late; and ``status_update`` follows with the same ``uuid``."""

    def operation_updates(self, driver: Driver, statuses: Sequence[OperationStatus]) -> Result:
        """How operations of accepts ended that have an id: ``OPERATION_FINISHED``, or ``OPERATION_ERROR``
        with the reason, and then nothing has changed. If no answer comes (the cluster was recovering), the
        next offers show what is reserved."""

    def inverse_offers(self, driver: Driver, inverse_offers: Sequence[InverseOffer]) -> Result:
        """Agents on which the framework has tasks are planned to be away: move them in time, since at the
        start they are killed (TASK_KILLED with ``Reason.AGENT_DRAINING``). They come again until
        ``driver.answer_inverse_offers``; the default accepts, and lets it happen."""
        driver.answer_inverse_offers(inverse_offers)
        return None

    def agent_lost(self, driver: Driver, agent_id: str) -> Result:
        """An agent is gone or unreachable; its tasks are told of by their own status."""

    def error(self, driver: Driver, message: str) -> Result:
        """The cluster refuses the framework, e.g. because it was torn down. The driver stops after this."""
