"""A cell under one owner: the loop that decides, commits, acknowledges and publishes, in this order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from broker_mesos.bus.responder import Responder
from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.cell.decision import Decision, Hint
from broker_mesos.core.cell.inputs import (
    ConsumersCounted,
    EscrowSet,
    Input,
    OffersReturned,
    Reconnected,
    TokenSet,
)
from broker_mesos.core.protocol.addresses import Exchange, Queue, QueueKind
from broker_mesos.core.protocol.envelope import MAX_TERM
from broker_mesos.core.protocol.records import Snapshot
from broker_mesos.core.quota.cluster_config import ClusterConfig
from broker_mesos.core.quota.gang_token import TokenRequest
from broker_mesos.core.quota.ledger import EscrowRequest
from broker_mesos.errors import BusUnavailable, Fenced, InvalidMessage, StoreUnavailable, Unavailable, WrongSender
from broker_mesos.master import term_errors
from broker_mesos.master.cell_api import CellApi
from broker_mesos.master.context import MasterContext
from broker_mesos.master.decision_batching import DecisionBatching
from broker_mesos.master.event_log import EventLog
from broker_mesos.master.heartbeat_reader import HeartbeatReader
from broker_mesos.master.lag import OVERLOADED_SECONDS, Lag
from broker_mesos.master.load import Load
from broker_mesos.master.outbox import MAX_UNPUBLISHED, Outbox
from broker_mesos.master.poison import PoisonDetector
from broker_mesos.master.route_probe import RouteProbe
from broker_mesos.master.shared_quota import SharedQuota
from broker_mesos.master.term_errors import HandlerFailed, SteppingDown, Superseded
from broker_mesos.master.undecodable import Undecodable, read
from broker_mesos.ports.bus import Consumer, ConsumerClosed, Delivery, outgoing
from broker_mesos.ports.store import Commit
from broker_mesos.runtime import failpoints
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within

log = get_logger(__name__)

RENEW_INTERVAL_SECONDS = 1.0
"""Interval between renewals of a lease that no commit renews, in seconds."""
MAX_BATCH = 500
"""Maximum number of messages in one decision."""
MAX_BATCH_BYTES = 256 * 1024
"""Maximum size of the bodies of these messages, in bytes. They may contain many launches, and while an owner decides
it serves neither the broker nor the store."""
BEHIND_SECONDS = 1.0
"""Time for which an owner that could not take all of its inbox at once counts as behind, in seconds; also the lag
from which on it counts as behind."""
STEP_DOWN_SECONDS = 2.0
"""Maximum time that a step-down waits until the outbox is confirmed, in seconds."""
STEP_DOWN_TIMEOUT_SECONDS = 3.0
"""Time after which a step-down ends in any case, in seconds, for instance when the broker blocks."""
MAX_HEARTBEATS = 40_000
"""Maximum number of heartbeats that wait for a decision. Further ones are dropped, as their queue drops them too."""


class Term:
    """The ownership of a cell under one term."""

    def __init__(
        self,
        context: MasterContext,
        cell: Cell,
        snapshot: Snapshot,
        consumer: Consumer,
        first: list[Delivery],
        *,
        poison: PoisonDetector,
        ledger: SharedQuota,
        read_config: Callable[[], Awaitable[ClusterConfig]],
        events: EventLog,
    ) -> None:
        self.cell = cell
        self._consumer = consumer
        self._inbox: deque[Delivery] = deque(first)
        self._inputs: list[Input] = []
        self._uncommitted: list[tuple[Input, asyncio.Future[None]]] = []
        """Operators' inputs that are not committed yet, each with the future of its commit."""
        self._nonce = snapshot.lease.nonce
        self._commit = snapshot.lease.commit
        self._recovered = snapshot.recovered and not snapshot.recovering
        """Whether the store knows that the recovery of the cell is over."""
        self._inherited = snapshot.outbox
        self._bus = bus = context.bus
        self._store = context.store
        self._clock = clock = context.clock
        self._new_id = new_id = context.new_id
        self._now = context.now
        self._middleware = context.middleware
        self._access = context.access
        self._poison = poison
        poison.begin()
        self._ledger = ledger
        self._wake = asyncio.Event()
        self._heartbeat_reader = HeartbeatReader()
        self._room = asyncio.Event()
        self._renewed = clock.monotonic()
        self._batching = DecisionBatching()
        self._lag = Lag(cell.number, bus, new_id)
        self.probe = RouteProbe(cell.state, bus, new_id)
        self._load = Load(cell.number)
        self._behind_until = float("-inf")
        self._leaving = False
        self._left = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()
        self.max_floor = MAX_TERM
        """Reported terms that are at least this high are ignored, since the store has refused such a floor."""
        self.outbox = Outbox(bus, cell.term, self._wake.set)
        self._api = CellApi(
            cell,
            context.master_id,
            commit=self._committed,
            now=self._now,
            load=lambda mono: self._load.report(self._lag.at(mono)),
            read_config=read_config,
        )
        self._events = events
        self.tables = self._api.tables
        self._undecodable = Undecodable(context, cell.number, consumer, events)

    async def run(self) -> None:
        """Decide until the term ends. Raises the reason for its end."""
        queue = Queue(QueueKind.OPERATOR_CELL, str(self.cell.number))
        responder = Responder(
            self._bus, queue, self._api.handlers.answer, self._clock, self._new_id, self._middleware, self._access
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive())
                group.create_task(self._receive_heartbeats())
                group.create_task(responder.run())
                group.create_task(self._renew())
                group.create_task(self._undecodable.run())
                group.create_task(self._leave_in_time())
                group.create_task(self._decide())
        except BaseExceptionGroup as several:
            raise term_errors.first(several) from None

    async def step_down(self) -> None:
        """Finish the batch, wait until the outbox is confirmed, and release the lease."""
        self._leaving = True
        self._left.set()
        self._wake.set()
        await self.ended.wait()

    # -- what comes in ----------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            while len(self._inbox) >= MAX_BATCH:
                self._room.clear()
                await self._room.wait()
            self._inbox.extend(await self._consumer.receive(MAX_BATCH))
            self._wake.set()

    async def _receive_heartbeats(self) -> None:
        """Receive heartbeats. They are acknowledged at once, since a lost one does not matter. There are many, and
        most contain nothing new: these wait until another decision is due."""
        while True:
            consumer = await self._bus.consume(Queue(QueueKind.CELL_HEARTBEATS, str(self.cell.number)), prefetch=2_000)
            try:
                while True:
                    deliveries = await consumer.receive(2_000)
                    consumer.acknowledge(deliveries)
                    urgent = [self._take_heartbeat(delivery) for delivery in deliveries]
                    if any(urgent):
                        self._wake.set()
            except ConsumerClosed:
                pass
            finally:
                await consumer.close()

    def _take_heartbeat(self, delivery: Delivery) -> bool:
        """Add a heartbeat to the inputs. Returns whether a client may wait for its effect."""
        if len(self._inputs) >= MAX_HEARTBEATS:
            return False
        try:
            beat = self._heartbeat_reader.read(delivery)
            if beat is not None:
                self._bus.verify(delivery, beat)
        except WrongSender:
            return False  # counted and logged already
        except InvalidMessage as error:
            log.warning("invalid heartbeat dropped", cell=self.cell.number, error=str(error))
            return False
        if beat is None:
            return False
        self._inputs.append(beat)
        return self.cell.is_urgent(beat)

    async def _committed(self, given: Input) -> None:
        """Decide on an operator's input and wait for the commit, since the answer is a promise."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inputs.append(given)
        self._uncommitted.append((given, done))
        self._wake.set()
        await done

    def give(self, given: Input) -> None:
        """Add an input of the daemon itself, which is decided on soon."""
        self._inputs.append(given)
        self._wake.set()

    async def _renew(self) -> None:
        while True:
            # Exactly when it is due: otherwise each idle cell would wake its master several times a second.
            await self._clock.sleep(max(0.01, self._renewed + RENEW_INTERVAL_SECONDS - self._clock.monotonic()))
            now = self._clock.monotonic()
            recovered = not self._recovered and now >= self.cell.state.unsure_until
            if recovered or now - self._renewed >= RENEW_INTERVAL_SECONDS:
                self._renewed = now
                # A commit that is under way may have been applied already; but none of the earlier ones can be
                # missing.
                await self._store.renew(
                    self.cell.number,
                    term=self.cell.term,
                    nonce=self._nonce,
                    commit=self._commit,
                    recovered=recovered,
                )
                self._recovered = self._recovered or recovered

    # -- the loop ---------------------------------------------------------------------------------------

    async def _decide(self) -> None:
        connected_since = self._bus.connected_since
        # Messages that earlier owners have committed are published before anything new is decided.
        for at in range(0, len(self._inherited), MAX_BATCH):
            await self._bus.writable()
            self.outbox.publish(self._inherited[at : at + MAX_BATCH])
        await self._carry_out(self.cell.begin(), [])
        while True:
            await self._next_occasion()
            if self.outbox.failed:
                raise BusUnavailable("publishing failed")
            if self._leaving:
                await self._leave()
            await self._bus.writable()
            await self.outbox.drained(MAX_UNPUBLISHED)
            inputs, self._inputs = self._inputs, []
            waiting, self._uncommitted = self._uncommitted, []
            if self._bus.connected_since != connected_since:
                connected_since = self._bus.connected_since
                inputs.insert(0, Reconnected())
                self._lag = Lag(self.cell.number, self._bus, self._new_id)
            await self._poison.load(self._inbox)
            deliveries = self._poison.take(self._inbox, MAX_BATCH, MAX_BATCH_BYTES)
            if self._inbox or len(deliveries) >= MAX_BATCH:  # what is received waits until there is room
                self._behind_until = self._clock.monotonic() + BEHIND_SECONDS
            self._room.set()
            if not (deliveries and deliveries[0].redelivered):
                _resolve(waiting, await self._step(inputs, deliveries))
                continue
            # Other inputs are decided on first, so that a message is blamed only for a failure that it caused alone.
            _resolve(waiting, await self._step(inputs, []))
            if reason := self._poison.verdict(deliveries[0]):
                await self._undecodable.park(deliveries[0], reason, self._poison.tries(deliveries[0]))
            else:
                await self._poison.trying(deliveries)
                await self._step([], deliveries)
            await self._poison.settled(deliveries, self._inbox)

    async def _step(self, inputs: list[Input], deliveries: list[Delivery]) -> Decision:
        """Decide on inputs and messages, and carry the decision out. Returns it."""
        good = []
        for delivery in deliveries:
            try:
                message = read(delivery)
                self._bus.verify(delivery, message)
                inputs.append(message)
                good.append(delivery)
            except InvalidMessage as error:
                await self._undecodable.keep_or_park(delivery, error)
        for each in self._middleware:
            each.before_decision(self.cell.number, good)
        now = self._now()
        if self._access is not None:
            self.cell.use_access(self._access.policy, self._access.daemons)
        self._lag.record(inputs, len(good))
        self.probe.record(inputs)
        lag = self._lag.at(now.mono)
        behind = lag > BEHIND_SECONDS or now.mono < self._behind_until
        try:
            decision = self.cell.decide(inputs, now, behind=behind, full=lag > OVERLOADED_SECONDS)
        except Exception as error:
            self._poison.failed(error)
            ids = [delivery.message_id for delivery in good]
            log.error("a decision failed", cell=self.cell.number, messages=ids[:5], exc_info=error)
            raise HandlerFailed(f"a decision failed on {len(good)} messages: {error}") from error
        if self.cell.state.offers or lag > OVERLOADED_SECONDS:
            self._lag.ping(now.mono)
        self._load.decided(self._clock.monotonic() - now.mono, self.cell.state.rounds)
        self._batching.decided(now.mono, len(decision.writes))
        await self._carry_out(decision, good)
        for each in reversed(self._middleware):
            each.after_decision(self.cell.number, good, self._clock.monotonic() - now.mono)
        return decision

    async def _next_occasion(self) -> None:
        if not self._inbox and not self._inputs:
            loop = asyncio.get_running_loop()
            timer = loop.call_at(self.cell.wake_at(self._now()), self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
        pause = self._batching.pause(self._clock.monotonic(), self.cell.pause)
        if pause and not self._leaving:
            await self._clock.sleep(pause)
        self._wake.clear()

    async def _carry_out(self, decision: Decision, deliveries: list[Delivery]) -> None:
        for warning in decision.warnings:
            log.warning(warning, cell=self.cell.number)
        if decision.reclaim is not None and decision.reclaim < self.max_floor:
            raise Superseded(decision.reclaim)
        # Confirmed entries are trimmed with the next commit; on an idle cell, shortly before the next renewal.
        idle_trim = self.outbox.has_confirmed and self._clock.monotonic() - self._renewed >= RENEW_INTERVAL_SECONDS / 2
        if decision.commits or idle_trim:
            failpoints.hit("term.before-commit")
            await self._commit_now(decision)
            failpoints.hit("term.after-commit")
            self._events.record(self.cell.number, self.cell.term, decision)
        if deliveries:
            self._consumer.acknowledge(deliveries)
            failpoints.hit("term.after-acknowledge")
        if decision.outbox:
            failpoints.hit("term.before-publish")
        # Only as many at once as there is room for: one message more would end the term.
        for at in range(0, len(decision.outbox), MAX_BATCH):
            if at:
                await self._bus.writable()
            self.outbox.publish(decision.outbox[at : at + MAX_BATCH])
        failpoints.hit("term.after-publish")
        for at, hint in enumerate(decision.hints):
            if at and at % MAX_BATCH == 0:
                await self._bus.writable()
            self._publish_hint(hint)
        for framework_id in decision.count_consumers:
            self._spawn(self._count_consumers(framework_id))
        for ask in decision.escrow.values():
            self._spawn(self._settle(ask))
        if decision.token is not None:
            self._spawn(self._ask_for_token(decision.token))
        for framework_id in decision.delete_queues:
            self._spawn(self._delete_queues(framework_id))

    async def _commit_now(self, decision: Decision) -> None:
        trim = self.outbox.take_confirmed()
        started = self._clock.monotonic()
        await self._store.commit(
            Commit(
                cell=self.cell.number,
                term=self.cell.term,
                nonce=self._nonce,
                number=self._commit + 1,
                commit_id=self._new_id(),
                writes=decision.writes,
                outbox=decision.outbox,
                trim=trim,
            )
        )
        self._commit += 1
        self._renewed = started

    def _publish_hint(self, hint: Hint) -> None:
        future = self._bus.publish(
            outgoing(
                hint.to,
                hint.message,
                self._new_id(),
                mandatory=hint.mandatory,
                persistent=False,
                expiration=hint.expiration,
                term=self.cell.term,
            )
        )
        if hint.mandatory and hint.to.exchange is Exchange.OFFERS:
            framework_id = hint.to.key.removeprefix("framework.")
            future.add_done_callback(lambda done: self._offer_published(done, framework_id))

    def _offer_published(self, future: asyncio.Future[bool], framework_id: str) -> None:
        routed = not future.cancelled() and future.exception() is None and future.result()
        if not routed:
            self._inputs.append(OffersReturned(framework_id))
            self._wake.set()

    # -- tasks in the background----------------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _count_consumers(self, framework_id: str) -> None:
        with contextlib.suppress(BusUnavailable):
            count = await self._bus.consumers(Queue(QueueKind.FRAMEWORK_OFFERS, framework_id))
            self._inputs.append(ConsumersCounted(framework_id, count))
            self._wake.set()

    async def _settle(self, ask: EscrowRequest) -> None:
        """Request the cell's part of a limit. The cell sends no further request for the role before the answer."""
        amounts = await self._ledger.settle_in_time(ask, self.ended)
        if amounts is not None:
            self.give(EscrowSet(ask.role, amounts, ask.since))

    async def _ask_for_token(self, ask: TokenRequest) -> None:
        with contextlib.suppress(StoreUnavailable):  # the cell asks again soon
            self.give(TokenSet(await self._ledger.token(ask)))

    async def _delete_queues(self, framework_id: str) -> None:
        with contextlib.suppress(BusUnavailable):
            for kind in (QueueKind.FRAMEWORK_OFFERS, QueueKind.FRAMEWORK_EVENTS):
                await self._bus.delete(Queue(kind, framework_id))

    async def _leave_in_time(self) -> None:
        await self._left.wait()
        await self._clock.sleep(STEP_DOWN_TIMEOUT_SECONDS)
        raise SteppingDown

    async def _leave(self) -> None:
        """End the term in order. If a step of this fails, the hand-over only takes longer."""
        with contextlib.suppress(TimeoutError, Unavailable, Fenced):
            async with within(STEP_DOWN_SECONDS):
                await self.outbox.drained()
                if self.outbox.has_confirmed:
                    await self._commit_now(Decision())
                await self._store.release(self.cell.number, term=self.cell.term, nonce=self._nonce)
        raise SteppingDown


def _resolve(waiting: Sequence[tuple[Input, asyncio.Future[None]]], decision: Decision) -> None:
    refusals = {id(given): error for given, error in decision.refusals}
    for given, done in waiting:
        if done.done():
            continue
        if error := refusals.get(id(given)):
            done.set_exception(error)
        else:
            done.set_result(None)
