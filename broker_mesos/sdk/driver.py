"""The driver, which connects one process of a framework to the cluster and sends its calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TypeVar, cast

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.cluster import Hello, HelloAnswer
from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.offer import InverseOffer, Offer
from broker_mesos.core.model.reservation import Operation
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.core.protocol.addresses import Queue, QueueKind, calls, heartbeats, operator_master
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat, Subscribe, Teardown
from broker_mesos.errors import BusUnavailable, FrameworkRefused, InvalidInput, TimedOut, Unavailable
from broker_mesos.ports.bus import Bus, ConsumerClosed, outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within
from broker_mesos.sdk.callbacks import Callbacks
from broker_mesos.sdk.calls import Calls
from broker_mesos.sdk.demand import DriverDemand
from broker_mesos.sdk.inbound import EVENT_TYPES, OFFER_TYPES, Inbound
from broker_mesos.sdk.pump import Pump, finish
from broker_mesos.sdk.settings import DriverSettings
from broker_mesos.sdk.tracking import Bounded

log = get_logger(__name__)

T = TypeVar("T")


class Driver:
    """One process of a framework, in one event loop.

    The bus must be open; the caller that opened it closes it. ``run`` works until ``stop``. Processes with the same
    ``framework_id`` share its offers and events: one process is active at a time, or all of them if
    ``FrameworkInfo.competing`` is set.

    The calls may be made from the loop's thread (before ``run`` only ``suppress``, ``revive``, ``set_demand`` and
    ``stop``), and from any other thread while ``run`` works. In another thread they return a
    ``concurrent.futures.Future``: wait with ``.result(timeout)``.

    ``demand`` is the first demand of a framework that sets versions itself (``set_demand``); without it the driver
    sets them.
    """

    def __init__(
        self,
        scheduler: Callbacks,
        framework: FrameworkInfo,
        bus: Bus,
        *,
        clock: Clock,
        new_id: NewId,
        settings: DriverSettings | None = None,
        demand: Demand | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.framework = framework
        self.settings = settings or DriverSettings()
        self.process_id = new_id()
        self.failure: str | None = None
        """The cluster's reason, once it has refused the framework."""
        self.cells = 0
        """The cluster's number of cells; 0 until a master has answered."""
        self._scheduler = scheduler
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._rng = rng or random.Random(self.process_id)
        self.demand = DriverDemand(
            clock,
            self._send_heartbeat,
            first=demand,
            competing=framework.competing,
            interval=self.settings.heartbeat_interval,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None
        self._ran = False
        self._failover = True
        self._stopping = asyncio.Event()
        self._queues_exist = asyncio.Event()
        self._tries: Bounded[str, int] = Bounded(1_000)
        self._calls = Calls(framework, bus, clock, new_id, self.settings)
        self._inbound = Inbound(self, scheduler, self._calls, clock)

    # -- calls ----------------------------------------------------------------------------------------

    def accept(
        self,
        offers: Offer | str | Iterable[Offer | str],
        tasks: Iterable[TaskInfo] = (),
        refuse_seconds: float | None = None,
        operations: Iterable[Operation] = (),
        demand: Demand | None = None,
    ) -> asyncio.Future[bool]:
        """Launch tasks on offers (or their ids) of one agent; the unused resources are offered again.

        ``operations`` are applied first, in their order: they reserve resources of the offers and create volumes,
        which the tasks may use. The results of those with an ``operation_id`` arrive through
        ``Scheduler.operation_updates``. Without tasks, and with ``refuse_seconds`` None, resources that an operation
        has changed are not filtered.

        ``refuse_seconds`` is the time for which the unused part is not offered to this framework: None means the
        default filter, 0 no filter. ``demand`` is the demand for that cell after this call, from a framework that
        sets versions itself.

        Every task gets statuses, whatever happens, so the result may be ignored. It is True when the broker has
        confirmed the call, False when the broker could not route it, and BusUnavailable when that is not known.
        Raises InvalidInput for offers of several agents, for a task id that is used twice, and for a call that does
        not fit into a message.
        """
        return self._here(
            lambda: self._calls.accept(_listed(offers), list(tasks), refuse_seconds, list(operations), demand)
        )

    def decline(
        self, offers: Offer | str | Iterable[Offer | str], refuse_seconds: float | None = None, reason: str = ""
    ) -> asyncio.Future[bool]:
        """Decline offers (or their ids), and filter similar ones for ``refuse_seconds``: None means the default
        filter, 0 no filter. ``reason`` is what operators see, in a few words. Offers that have ended are ignored."""
        return self._here(lambda: self._calls.decline(_listed(offers), refuse_seconds, reason))

    def keep(self, offer_ids: Iterable[str]) -> None:
        """Leave offers (by id) to be answered by any process of the framework: they are not declined when this
        process ends."""
        self._here(lambda: self._calls.offers.remove(offer_ids))

    def revive(self) -> None:
        """Ask for all offers, and remove the framework's filters."""
        self._here(lambda: self.demand.state(wanted=True))

    def suppress(self) -> None:
        """Ask for no offers until ``revive`` or ``want``."""
        self._here(lambda: self.demand.state(wanted=False))

    def want(self, shapes: Iterable[Shape] | None) -> None:
        """Ask for offers for tasks of these shapes only. An empty list asks for no offers; None asks for all offers,
        as ``revive`` does. The counts are tasks that are still to be launched: call this again after each change.

        An offer for shapes with ``ports`` holds as many numbers as its tasks need; give each task some of them with
        ``pick_ports``. Of shapes with ``most`` no more tasks are offered for a value of ``per`` than may run beside
        those that have not ended. Name such a shape, and its tasks with ``TaskInfo.shape``: a task beyond the limit is
        dropped (TASK_DROPPED), whatever its offer was made for. If agents of several cells share a value, state in
        ``placed`` what runs already, and check offers by yourself, since two cells may offer the same place at once."""
        stated = None if shapes is None else tuple(shapes)
        self._here(lambda: self.demand.state(wanted=stated is None or bool(stated), shapes=stated))

    def set_demand(self, demand: Demand) -> None:
        """Set the demand of a framework that sets versions itself. A version that is not higher is ignored."""
        self._here(lambda: self.demand.set(demand))

    def kill(self, task_id: str, agent_id: str | None = None) -> None:
        """Kill a task. A status update follows when it has ended, or TASK_UNKNOWN if no cell knows it."""
        self._here(lambda: self._calls.kill(task_id, agent_id))

    def reconcile(self, tasks: Iterable[TaskStatus | str] = ()) -> None:
        """Ask for the states of tasks; without arguments, of all tasks of the framework. The answers are status
        updates, with TASK_UNKNOWN when no cell knows the task."""
        self._here(lambda: self._calls.reconcile(list(tasks)))

    def answer_inverse_offers(self, inverse_offers: Iterable[InverseOffer | str], accept: bool = True) -> None:
        """Accept or decline the planned absence of agents (inverse offers or agent ids). Operators see the answer;
        the absence does not depend on it."""
        ids = [each if isinstance(each, str) else each.agent_id for each in inverse_offers]
        self._here(lambda: self._calls.answer_inverse_offers(ids, accept))

    def stop(self, failover: bool = False) -> None:
        """End ``run``. With ``failover`` only this process leaves: its unanswered offers are declined, and the tasks
        run on for the framework's failover timeout. Without it the whole framework is torn down: its tasks are
        killed, its other processes get an error, and its id cannot be used again for 8 days."""

        def stop() -> None:
            if not self._stopping.is_set():
                self._failover = failover
                self._stopping.set()

        self._here(stop)

    def _here(self, verb: Callable[[], T]) -> T:
        if self._thread in (None, threading.get_ident()):
            return verb()
        assert self._loop is not None
        handoff: concurrent.futures.Future[object] = concurrent.futures.Future()

        def run() -> None:
            try:
                result = verb()
            except Exception as error:
                handoff.set_exception(error)
                return
            if isinstance(result, asyncio.Future):
                result.add_done_callback(lambda future: _copy(future, handoff))
            else:
                handoff.set_result(result)

        self._loop.call_soon_threadsafe(run)
        return cast(T, handoff)

    @property
    def demand_floor(self) -> int:
        """The highest demand version that a cell has reported; cells apply only higher ones."""
        return self.demand.floor

    def bind(self) -> None:
        """From now on, run calls from other threads in the running event loop. ``run`` does this."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    # -- run ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Register, then serve the scheduler until ``stop``.

        Raises FrameworkRefused when the cluster refuses the framework (the reason is also in ``failure``), and
        TimedOut when no master answers within the registration timeout. A cancelled ``run`` ends as with
        ``stop(failover=True)``, within one second.
        """
        if self._ran:
            raise RuntimeError("a driver runs once; make a new one")
        self._ran = True
        if self._bus.verifies and self._bus.user != self.framework.framework_id:
            raise InvalidInput(
                f"the framework {self.framework.framework_id} has the broker's user {self._bus.user!r}: "
                "with security on its id must be the name of its user"
            )
        self.bind()
        requester = Requester(self._bus, self._clock, self._new_id)
        background: list[asyncio.Task[None]] = []
        try:
            self.cells = self._calls.cells = await self._until_stop(self._hello(requester)) or 0
            if self.cells:
                background = [self._spawn(self._send_heartbeats()), self._spawn(self._tick())]
                await self._serve(background)
            await self._leave(self.settings.stop_timeout)
            if self.failure is not None:
                raise FrameworkRefused(self.failure)
        except asyncio.CancelledError:
            self._failover = True
            await self._leave(min(1.0, self.settings.stop_timeout))
            raise
        finally:
            self._stopping.set()
            self._inbound.close()
            for task in background:
                task.cancel()
            await requester.close()

    async def _hello(self, requester: Requester) -> int:
        started = self._clock.monotonic()
        limit = self.settings.registration_timeout
        while True:
            left = float("inf") if limit is None else started + limit - self._clock.monotonic()
            try:
                answer = await requester.request(operator_master(), Hello(), timeout=max(0.05, min(2.0, left)))
                assert isinstance(answer, HelloAnswer)
                return answer.cells
            except Unavailable as error:
                if limit is not None and self._clock.monotonic() - started >= limit:
                    raise TimedOut(f"could not register within {limit:g} s: {error}") from None
                log.info("waiting for a master", error=str(error))
            await self._clock.sleep(self._jitter(0.5 if limit is None else min(0.5, limit / 5)))

    async def _serve(self, background: Sequence[asyncio.Task[None]]) -> None:
        while not self._stopping.is_set():
            self._inbound.begin()
            events = Pump(
                self._bus,
                self._queue(QueueKind.FRAMEWORK_EVENTS),
                self._inbound.on_events,
                EVENT_TYPES,
                clock=self._clock,
                new_id=self._new_id,
                tries=self._tries,
                prefetch=self.settings.prefetch,
                settled=self._calls.flush_acknowledgements,
            )
            offers = Pump(
                self._bus,
                self._queue(QueueKind.FRAMEWORK_OFFERS),
                self._inbound.on_offers,
                OFFER_TYPES,
                clock=self._clock,
                new_id=self._new_id,
                tries=self._tries,
                prefetch=self.settings.prefetch,
                gate=self._is_active,
            )
            pumps = [self._spawn(events.run()), self._spawn(offers.run())]
            subscribing = self._spawn(self._subscribe(events, offers))
            stopping = self._spawn(self._wait_for_stop())
            try:
                # A crash of a background task must end the run, since the driver would work only in part.
                done, _ = await asyncio.wait(
                    [*pumps, *background, subscribing, stopping], return_when=asyncio.FIRST_COMPLETED
                )
                while done == {subscribing} and subscribing.exception() is None:
                    done, _ = await asyncio.wait([*pumps, *background, stopping], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                for task in [*pumps, subscribing, stopping]:
                    task.cancel()
                await asyncio.wait(pumps, timeout=1.0)
                raise
            subscribing.cancel()
            stopping.cancel()
            events.end()
            offers.end()
            await finish(pumps, self.settings.stop_timeout)
            for task in [*pumps, *done]:
                if task.done() and not task.cancelled():
                    error = task.exception()
                    if error is not None and not isinstance(error, ConsumerClosed):
                        raise error
            if not self._stopping.is_set():
                await self._until_stop(self._inbound.lost())
                self._calls.reconnected()
                await self._clock.sleep(self._jitter(0.1))

    async def _subscribe(self, events: Pump, offers: Pump) -> None:
        """Send SUBSCRIBE until the cluster answers, and at least once: a message that has come already may answer an
        earlier process. A standby gets no answer, and goes on at a lower rate, so that it gets one when it becomes
        active."""
        await events.consuming.wait()
        await offers.consuming.wait()
        self._queues_exist.set()
        interval, sent = self.settings.subscribe_interval, 0
        while not self._inbound.registered or not sent:
            self._subscribe_now()
            sent += 1
            await self._clock.sleep(self._jitter(interval if sent <= 5 else 15 * interval))

    async def _is_active(self) -> bool:
        """Whether this process receives the framework's events; SUBSCRIBE makes the cluster send one at once. Both
        queues must have the same active process, since otherwise one process would launch tasks and another one get
        their statuses; so offers are handled by the process that receives the events."""
        active = self._inbound.active
        if not active.is_set():
            self._subscribe_now()
            try:
                async with within(self.settings.subscribe_interval):
                    await active.wait()
            except TimeoutError:
                log.info("another process is active", framework=self.framework.framework_id)
                return False
        return True

    def _subscribe_now(self) -> None:
        """Send SUBSCRIBE to every cell. A lost message is harmless, since ``_subscribe`` and heartbeats repeat it."""
        message = Subscribe(
            framework_id=self.framework.framework_id,
            framework=self.framework,
            process_id=self.process_id,
            demand=self.demand.current,
        )
        self._bus.publish(outgoing(calls(None), message, self._new_id(), mandatory=True))

    async def _send_heartbeats(self) -> None:
        await self._queues_exist.wait()
        while True:
            self._send_heartbeat()
            await self._clock.sleep(self.settings.heartbeat_interval)

    def _send_heartbeat(self, cell: int | None = None) -> None:
        if not self._queues_exist.is_set() or self._stopping.is_set():
            return
        message = FrameworkHeartbeat(
            framework_id=self.framework.framework_id,
            framework=self.framework,
            process_id=self.process_id,
            demand=self.demand.current,
        )
        self._bus.publish(
            outgoing(
                heartbeats(cell),
                message,
                self._new_id(),
                persistent=False,
                expiration=2 * self.settings.heartbeat_interval,
            )
        )

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(1.0)
            active = self._inbound.active.is_set()
            if not active:
                self._calls.stand_by()
            self._calls.tick(active=active)

    async def _leave(self, timeout: float) -> None:
        if not self.cells:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._calls.return_offers()
        await self._calls.drain(timeout)
        if self._failover or self.failure is not None:
            return
        message = Teardown(framework_id=self.framework.framework_id, reason="stopped by its scheduler")
        out = outgoing(calls(None), message, self._new_id(), mandatory=True)
        try:
            async with within(deadline - loop.time()):
                while True:
                    try:
                        if await self._bus.publish(out):
                            return
                    except BusUnavailable as error:
                        log.info("waiting for the broker to end the framework", error=str(error))
                    await self._clock.sleep(self._jitter(0.2))
        except TimeoutError:
            log.warning(
                "the teardown could not be sent; the framework ends with its failover timeout",
                framework=self.framework.framework_id,
                seconds=self.framework.failover_timeout,
            )

    # -- helpers --------------------------------------------------------------------------------------

    def refused(self, message: str) -> None:
        """Stop without a teardown, since the cluster refuses this framework."""
        self.failure = message
        self.stop(failover=True)

    def stopping(self) -> bool:
        """Whether ``stop`` was called, or the run has ended."""
        return self._stopping.is_set()

    def _queue(self, kind: QueueKind) -> Queue:
        return Queue(kind, self.framework.framework_id, self.framework.competing)

    def _jitter(self, seconds: float) -> float:
        return seconds * self._rng.uniform(0.8, 1.2)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    async def _until_stop(self, work: Coroutine[object, object, T]) -> T | None:
        """The result of ``work``, or None when ``stop`` was called first."""
        task = asyncio.get_running_loop().create_task(work)
        stop = self._spawn(self._wait_for_stop())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stop.cancel()


def _listed(offers: Offer | str | Iterable[Offer | str]) -> list[Offer | str]:
    return [offers] if isinstance(offers, (Offer, str)) else list(offers)


def _copy(source: asyncio.Future[object], target: concurrent.futures.Future[object]) -> None:
    if source.cancelled():
        target.cancel()
    elif (error := source.exception()) is not None:
        target.set_exception(error)
    else:
        target.set_result(source.result())
