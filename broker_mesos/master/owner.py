"""One cell at one master: waiting as a standby, owning the cell, and stepping down.

The broker elects (single active consumer), the store fences (lease), the core decides; this shell only moves messages
between them, in the one order that loses nothing: decide, commit, acknowledge, publish.
"""

from __future__ import annotations

import asyncio
import gc

from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.envelope import MAX_TERM
from broker_mesos.errors import Fenced, Unavailable
from broker_mesos.master.config_store import ConfigStore
from broker_mesos.master.context import MasterContext
from broker_mesos.master.event_log import EventLog
from broker_mesos.master.poison import PoisonDetector
from broker_mesos.master.shared_quota import SharedQuota
from broker_mesos.master.term import MAX_BATCH, Term
from broker_mesos.master.term_errors import HandlerFailed, SteppingDown, Superseded
from broker_mesos.ports.bus import Consumer, ConsumerClosed, Delivery
from broker_mesos.ports.store import FloorRefused
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)


class CellOwner:
    """A standby for one cell, which owns the cell while the broker has made its consumer the active one."""

    def __init__(
        self, context: MasterContext, cell: int, cells: int, config_store: ConfigStore, events: EventLog
    ) -> None:
        self.number = cell
        self._cells = cells
        self._context = context
        self._events = events
        self._bus = context.bus
        self._store = context.store
        self._clock = context.clock
        self._config_store = config_store
        self._floor = 0
        self._max_floor = MAX_TERM
        """The lowest floor that the store has refused. Reported terms that are at least as high are ignored."""
        self._poison = PoisonDetector(context.store, cell)
        self._standing_by = asyncio.Event()
        self._owned: Term | None = None
        self._stopping = False

    @property
    def term(self) -> Term | None:
        """The term under which this master owns the cell now; None if it does not."""
        return self._owned

    async def standing_by(self) -> None:
        """Wait until the inbox is consumed, actively or not."""
        await self._standing_by.wait()

    async def run(self) -> None:
        """Be a standby and own the cell, repeatedly, until cancelled or ``stop`` is called."""
        failures = 0
        while not self._stopping:
            began = self._clock.monotonic()
            try:
                await self._once()
                failures = 0
                continue
            except SteppingDown:
                log.info("stepped down", cell=self.number)
                failures = 0
                continue
            except Superseded as error:
                self._floor = error.floor
                log.info("claiming again above an agent's term", cell=self.number, floor=error.floor)
            except FloorRefused as error:
                log.error(
                    "an agent reports a term that no master had: ignored; restart that agent, which then forgets it",
                    cell=self.number,
                    error=str(error),
                )
                self._max_floor, self._floor = min(self._max_floor, self._floor), 0
            except ConsumerClosed:
                log.info("consumer closed", cell=self.number)
            except HandlerFailed as error:
                log.warning("the term ended", cell=self.number, error=str(error))
                # Each attempt shows more about which message is poison, and the other messages wait for that.
                failures = min(failures, 2)
            except Unavailable as error:
                log.warning("the term ended", cell=self.number, error=str(error))
                # A server that is away is usually back soon, and the cell has no owner until then: retry within a
                # second.
                failures = min(failures, 3)
            except Fenced as error:
                log.warning("the term ended", cell=self.number, error=str(error))
            if self._clock.monotonic() - began > 10:
                failures = 0
            # Never in a tight loop: after a lost lease or server the pause grows with each failure, with jitter.
            failures = min(failures + 1, 6)
            await self._clock.sleep(self._context.rng.uniform(0.5, 1.0) * 0.05 * 2**failures)

    async def stop(self) -> None:
        """Hand the cell over in order, and stop consuming its inbox."""
        self._stopping = True
        if self._owned is not None:
            await self._owned.step_down()

    async def step_down(self) -> None:
        """Hand the cell over, and become a standby again, as the last one in the broker's order."""
        if self._owned is not None:
            await self._owned.step_down()

    async def _once(self) -> None:
        await self._bus.wait_connected()
        await self._bus.writable()
        consumer = await self._bus.consume(Queue(QueueKind.CELL_INBOX, str(self.number)), prefetch=2 * MAX_BATCH)
        self._standing_by.set()
        try:
            first = await consumer.receive(MAX_BATCH)
            if not self._stopping:
                await self._own(consumer, first)
        finally:
            # The channel is closed and the consumer never cancelled, so that unacknowledged messages go back in their
            # order.
            await consumer.close()

    async def _own(self, consumer: Consumer, first: list[Delivery]) -> None:
        config = await self._config_store.refresh()
        seen = (await self._store.leases())[self.number]
        snapshot = await self._store.claim(
            self.number, owner=self._context.master_id, nonce=self._context.new_id(), floor=self._floor, seen=seen
        )
        # All objects that are made here stay: searching for garbage among them repeatedly takes half of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            cell = Cell(
                snapshot,
                self._cells,
                self._context.limits,
                self._context.now(),
                policies=self._config_store.policies,
                weights=self._context.weights,
                config=config,
            )
        except Exception as error:
            # The other cells of this master, and of all other masters, go on without this cell.
            log.error("the stored state of the cell cannot be read", cell=self.number, exc_info=error)
            raise HandlerFailed(f"the stored state of the cell cannot be read: {error}") from error
        finally:
            if collecting:
                gc.enable()
        log.info(
            "cell owned",
            cell=self.number,
            term=cell.term,
            agents=len(snapshot.agents),
            tasks=len(snapshot.tasks),
            outbox=len(snapshot.outbox),
            recovering=snapshot.recovering,
        )
        self._events.add(
            "cell.owned",
            (),
            f"cell {self.number} has a new owner: {self._context.master_id}",
            cell=self.number,
            term=cell.term,
            data={"owner": self._context.master_id, "before": seen.owner, "silence": round(seen.age, 3)},
        )
        context = self._context
        ledger = SharedQuota(
            context.records, context.clock, context.rng, cell=self.number, cells=self._cells, term=cell.term
        )
        term = Term(
            self._context,
            cell,
            snapshot,
            consumer,
            first,
            poison=self._poison,
            ledger=ledger,
            read_config=self._config_store.refresh,
            events=self._events,
        )
        term.max_floor = self._max_floor
        self._owned = term
        try:
            await term.run()
        finally:
            self._owned = None
            term.ended.set()
