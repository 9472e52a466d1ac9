"""Turns the messages that a framework receives into callbacks of its scheduler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol, cast

from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.events import (
    EarlyStatuses,
    Error,
    Failure,
    InverseOffers,
    Offers,
    OperationsUpdated,
    Rescind,
    Subscribed,
    Update,
)
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import Unavailable
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.logs import get_logger
from broker_mesos.sdk.callbacks import Callbacks
from broker_mesos.sdk.calls import Calls
from broker_mesos.sdk.demand import DriverDemand
from broker_mesos.sdk.gangs import GangAssembler
from broker_mesos.sdk.settings import DriverSettings

log = get_logger(__name__)

EVENT_TYPES: tuple[type[Message], ...] = (
    Subscribed,
    Update,
    OperationsUpdated,
    InverseOffers,
    Failure,
    Error,
)

OFFER_TYPES: tuple[type[Message], ...] = (Offers, Rescind, EarlyStatuses)

LATE_FILTER_SECONDS = 2.0
"""Refuse timeout, in seconds, of an offer for a gang that needs no more offers. After this time its cell has received
the new demand."""

STALE_FILTER_SECONDS = 0.25
"""Refuse timeout, in seconds, of an offer that was made before the framework wanted nothing but gangs. Short,
since it hides the agent from the gang as well; not 0, or the same offer would come back until the cell has
received the new demand."""

Unhandled = Mapping[int, Exception | None]


class Receiver(Protocol):
    """The part of the driver that the handlers of its messages use."""

    framework: FrameworkInfo
    settings: DriverSettings
    demand: DriverDemand

    def stopping(self) -> bool: ...
    def refused(self, message: str) -> None: ...
    def decline(
        self, offers: list[Offer] | tuple[Offer, ...], refuse_seconds: float | None = None, reason: str = ""
    ) -> Any: ...


class Inbound:
    """The handlers of a driver's two queues."""

    def __init__(self, driver: Receiver, scheduler: Callbacks, calls: Calls, clock: Clock) -> None:
        self._driver = driver
        self._scheduler = scheduler
        self._calls = calls
        self._clock = clock
        self._competing = driver.framework.competing
        self._at_once = scheduler.handles_updates_together
        self._turn = asyncio.Lock() if driver.settings.serial else None
        self._registering = asyncio.Lock()
        self._gangs = GangAssembler()
        self._was_registered = False
        self._side: set[asyncio.Task[None]] = set()
        self.registered = False
        """Whether ``registered`` or ``reregistered`` was called, and ``disconnected`` not since then."""
        self.active = asyncio.Event()
        """Set while this process probably is the one that receives the framework's messages."""
        calls.on_local = self._deliver_local

    def begin(self) -> None:
        """Prepare for the queues to be consumed, or consumed again."""
        self.active = asyncio.Event()
        if self._competing:
            self.active.set()

    async def lost(self) -> None:
        """Call ``disconnected``, since the queues are no longer consumed."""
        self._gangs.clear()
        if self.registered:
            self.registered = False
            await self._notify("disconnected")

    def close(self) -> None:
        """Cancel what still runs in the background, at the end of the run."""
        for task in self._side:
            task.cancel()

    # -- offers ---------------------------------------------------------------------------------------

    async def on_offers(self, messages: Sequence[Message]) -> Unhandled:
        """Handle messages of the offers queue: OFFERS, RESCIND and EARLY_STATUSES. The last two are hints."""
        await self._ensure_registered()
        if self._driver.stopping():
            return dict.fromkeys(range(len(messages)))
        if isinstance(messages[0], Offers):
            found: dict[str, Offer] = {}
            for message in cast(Sequence[Offers], messages):
                found.update((offer.offer_id, offer) for offer in message.offers)
            self._calls.offers.add(found.values(), self._clock.monotonic())
            self._driver.demand.contradict()
            plain = list(found.values())
            if self._driver.settings.gather:
                plain = [offer for offer in plain if not offer.gang]
                await self._on_gang_offers([offer for offer in found.values() if offer.gang])
                if plain and self._driver.demand.wants_only_gangs:
                    self._driver.decline(plain, STALE_FILTER_SECONDS, "only gangs are wanted")
                    plain = []
            if plain:
                await self._call(lambda: self._scheduler.resource_offers(self._driver, plain))
        elif isinstance(messages[0], EarlyStatuses):
            early = [each for message in cast(Sequence[EarlyStatuses], messages) for each in message.statuses]
            await self._call(lambda: self._scheduler.early_statuses(self._driver, early))
        else:
            for rescind in cast(Sequence[Rescind], messages):
                self._calls.offers.remove(rescind.offer_ids)
                self._gangs.remove(rescind.offer_ids)
                for offer_id in rescind.offer_ids:
                    await self._call(partial(self._scheduler.offer_rescinded, self._driver, offer_id))
        return {}

    async def _on_gang_offers(self, offers: Sequence[Offer]) -> None:
        if not offers:
            return
        self._gangs.add(offers)
        complete = self._gangs.take_complete(self._driver.demand.shapes)
        for placement in complete:
            if placement.excess:
                self._driver.decline(placement.excess, LATE_FILTER_SECONDS, "more than the gang needs")
            await self._call(partial(self._scheduler.gang_offers, self._driver, placement.gang, placement))
        late = self._gangs.take_unwanted(self._driver.demand.shapes)
        if late:
            self._driver.decline(late, LATE_FILTER_SECONDS, "its gang is not wanted any more")

    # -- events ---------------------------------------------------------------------------------------

    async def on_events(self, messages: Sequence[Message]) -> Unhandled:
        """Handle messages of the events queue, all of one type: SUBSCRIBED, UPDATE, UPDATE_OPERATION_STATUS,
        INVERSE_OFFERS, FAILURE or ERROR."""
        self.active.set()
        if isinstance(messages[0], Error):
            return await self._on_errors(cast(Sequence[Error], messages))
        if isinstance(messages[0], Subscribed):
            subscribed = cast(Sequence[Subscribed], messages)
            self._driver.demand.outbid(max(message.demand for message in subscribed))
            self._driver.demand.restate({message.cell: message.demand for message in subscribed})
        await self._ensure_registered()
        if self._driver.stopping():
            return dict.fromkeys(range(len(messages)))
        if isinstance(messages[0], Update):
            updates = cast(Sequence[Update], messages)
            return await (self._updates_at_once(updates) if self._at_once else self._updates(updates))
        if isinstance(messages[0], InverseOffers):
            # Of several inverse offers for one agent the last one is current.
            current = {
                each.agent_id: each
                for message in cast(Sequence[InverseOffers], messages)
                for each in message.inverse_offers
            }
            if current:
                await self._call(lambda: self._scheduler.inverse_offers(self._driver, list(current.values())))
        if isinstance(messages[0], OperationsUpdated):
            operations = [each for message in cast(Sequence[OperationsUpdated], messages) for each in message.statuses]
            if operations:
                await self._call(lambda: self._scheduler.operation_updates(self._driver, operations))
        if isinstance(messages[0], Failure):
            for message in cast(Sequence[Failure], messages):
                await self._call(partial(self._scheduler.agent_lost, self._driver, message.agent_id))
        return {}

    async def _on_errors(self, messages: Sequence[Error]) -> Unhandled:
        text = messages[0].message
        log.error("the cluster refuses the framework", message=text)
        await self._notify("error", text)
        self._driver.refused(text)
        return {}

    async def _updates_at_once(self, updates: Sequence[Update]) -> Unhandled:
        fresh = [
            (update.cell, status)
            for update in updates
            for each in update.statuses
            if (status := self._take_in(update.cell, each)) is not None
        ]
        if fresh:
            statuses = [status for _, status in fresh]
            await self._call(lambda: self._scheduler.status_updates(self._driver, statuses))
            for cell, status in fresh:
                self._handled(cell, status)
        return {}

    async def _updates(self, updates: Sequence[Update]) -> Unhandled:
        unhandled: dict[int, Exception | None] = {}
        for index, update in enumerate(updates):
            if self._driver.stopping():
                unhandled[index] = None
                continue
            for each in update.statuses:
                status = self._take_in(update.cell, each)
                if status is None:
                    continue
                if self._driver.stopping():
                    unhandled.setdefault(index, None)
                    break
                try:
                    await self._call(partial(self._scheduler.status_update, self._driver, status))
                except Unavailable:
                    raise
                except Exception as error:
                    log.exception("status_update failed", task=status.task_id, state=status.state)
                    unhandled[index] = error
                else:
                    self._handled(update.cell, status)
        return unhandled

    def _take_in(self, cell: int, status: TaskStatus) -> TaskStatus | None:
        """Update what is kept of a task from a status. Returns the status for the scheduler; None if there is none."""
        task_id = status.task_id
        if self._calls.is_of_earlier_task(status):
            # A late one is not acknowledged: the cell may have the end of the task that has the id now. One that comes
            # again is what the cell still has; it waits for that to be acknowledged before the id is free for it.
            if status.state.terminal and self._calls.is_sent_again(status):
                self._calls.acknowledge(cell, task_id)
            return None
        for_scheduler = self._calls.received(status)
        if status.state is TaskState.UNKNOWN:
            return for_scheduler if self._calls.questions.unknown(task_id, cell) else None
        self._calls.questions.answered(task_id)
        if task_id in self._calls.ended:
            if not status.state.terminal:
                return None  # late; also an answer can be: the next owner of a cell repeats those of the last one
            if status.reason is not Reason.RECONCILIATION:
                self._calls.acknowledge(cell, task_id)
                return None
        return for_scheduler

    def _handled(self, cell: int, status: TaskStatus) -> None:
        if status.state.terminal:
            if not self._competing:
                self._calls.ended[status.task_id] = None
            self._calls.acknowledge(cell, status.task_id)

    def _deliver_local(self, statuses: Sequence[TaskStatus]) -> None:
        """Deliver statuses that the driver itself has made; no cell will send them again."""

        async def deliver() -> None:
            try:
                await self._call(lambda: self._scheduler.status_updates(self._driver, statuses))
            except Exception:
                log.exception("a callback of the scheduler failed")

        task = asyncio.create_task(deliver())
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    # -- callbacks ------------------------------------------------------------------------------------

    async def _ensure_registered(self) -> None:
        async with self._registering:
            if self.registered:
                return
            again, self._was_registered = self._was_registered, True
            if not (again and self._competing):
                self._driver.demand.renew()  # this process has become the active one, so its demand is the newest
            if again:
                await self._notify("reregistered")
            else:
                await self._notify("registered", self._driver.framework.framework_id)
            self.registered = True

    async def _notify(self, name: str, *arguments: str) -> None:
        """Call a callback that belongs to no message: an exception is logged, and the call is not repeated."""
        try:
            await self._call(lambda: getattr(self._scheduler, name)(self._driver, *arguments))
        except Exception:
            log.exception("a callback of the scheduler failed", callback=name)

    async def _call(self, callback: Callable[[], Awaitable[None] | None]) -> None:
        async with self._turn or contextlib.nullcontext():
            result = callback()
            if isawaitable(result):
                await result
