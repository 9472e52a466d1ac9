"""A master process: it is a standby for every cell, rebalances the cells among the masters, and wakes the owners of
cells whose lease is stale."""

from __future__ import annotations

import asyncio
import contextlib

from broker_mesos.bus.current_caller import current
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.cluster import (
    CellOwnership,
    ClusterView,
    GetCluster,
    Hello,
    HelloAnswer,
    MasterView,
)
from broker_mesos.core.api.exec import AgentExec, PassExec
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.health import GetMasterHealth, MasterReport
from broker_mesos.core.api.request import Right
from broker_mesos.core.api.whoami import Identity, WhoAmI
from broker_mesos.core.cell.inputs import Configured
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.views.usage import take_in, usage_of
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.records import Lease
from broker_mesos.errors import Unavailable
from broker_mesos.master.config_api import ConfigApi
from broker_mesos.master.config_store import ConfigStore
from broker_mesos.master.context import MasterContext
from broker_mesos.master.dead_letters import DeadLetters
from broker_mesos.master.event_log import EventLog
from broker_mesos.master.event_reader import EventReader
from broker_mesos.master.health import examine
from broker_mesos.master.history import History
from broker_mesos.master.owner import CellOwner
from broker_mesos.master.rebalancing import Rebalancing
from broker_mesos.ports.bus import outgoing
from broker_mesos.ports.store import MasterInfo, Pulse
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

BEAT_SECONDS = 1.0
BEAT_TTL_SECONDS = 3.5
"""Time without a heartbeat after which a master no longer counts when cells are rebalanced, in seconds."""
WATCH_SECONDS = 0.5
MIN_JITTER = 0.8
"""Lower bound of the factor by which each interval is multiplied; the upper bound is 2 minus this. Without the jitter
all masters would work at the same moments."""
MAX_TERM_AHEAD_MS = 86_400_000
"""Milliseconds by which a term of an owner may be above the store's clock and all terms that a master knows."""
MAX_TERM_KEPT_SECONDS = 60.0
"""Time for which that bound is used before it is computed again, in seconds."""
STALE_LEASE_SECONDS = 1.0
"""Age of a lease, in seconds, from which on its cell is woken, in case its new owner does not know yet that it is the
active consumer."""
STALE_LEASE_MARGIN_SECONDS = 0.3
"""Delay of a renewal, in seconds, beyond the interval of 1 s from which on the lease counts as stale."""
PASS_TIMEOUT_SECONDS = 5.0
"""Time limit for the answer of an agent to a request that is passed on, in seconds."""


class Master:
    """One master of a cluster."""

    def __init__(self, context: MasterContext, cells: int | None) -> None:
        """``cells`` is the number of cells of a new cluster; None takes that of an existing one."""
        self.master_id = context.master_id
        self._context = context
        self._cluster = context.cluster
        self._wanted_cells = cells
        self._bus = context.bus
        self._store = context.store
        self._clock = context.clock
        self._new_id = context.new_id
        self._rng = context.rng
        self._me = MasterInfo(context.master_id, context.hostname, context.pid, context.version, 0.0)
        self.config_store = ConfigStore(context.records, context.policies)
        self._requester = Requester(context.bus, context.clock, context.new_id)
        self.events = EventLog(context)
        self._history = History(context, self._first_cell)
        self._settings = ConfigApi(
            self.config_store,
            context.store,
            self._requester,
            context.clock,
            self._cells,
            self._spread_config,
            self.events.add,
        )
        self._dead_letters = DeadLetters(context.bus, context.clock, context.rng)
        self.handlers = self._handlers()
        self._stop = asyncio.Event()
        self._rebalancing = Rebalancing()
        self._max_term, self._max_term_until = 0, float("-inf")
        self._others: set[str] = set()
        """Ids of the other living masters, as of the last heartbeat."""
        self.owners: list[CellOwner] = []
        self.ready = asyncio.Event()
        """An event that is set once every inbox is consumed and requests are answered."""

    def stop(self) -> None:
        """Hand all cells over and end ``run``."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until ``stop`` is called. The bus and the store must be open.

        Raises Conflict if the cluster has another number of cells than the requested one.
        """
        cells = await self._store.cell_count(self._wanted_cells)
        self.owners = [CellOwner(self._context, cell, cells, self.config_store, self.events) for cell in range(cells)]
        # The queue must exist before any process can have a message for it.
        await self._bus.declare(Queue(QueueKind.DEAD_LETTERS))
        queue = Queue(QueueKind.OPERATOR_MASTER)
        responder = Responder(
            self._bus,
            queue,
            self.handlers.answer,
            self._clock,
            self._new_id,
            self._context.middleware,
            self._context.access,
        )
        await self._beat()
        log.info("master started", master=self.master_id, cluster=self._cluster, cells=cells)
        tasks = [asyncio.create_task(owner.run(), name=f"cell {owner.number}") for owner in self.owners]
        tasks += [
            asyncio.create_task(responder.run(), name="responder"),
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self.events.run(), name="events"),
            asyncio.create_task(self._history.run(), name="history"),
        ]
        stopping = asyncio.create_task(self._stop.wait())
        getting_ready = asyncio.create_task(self._get_ready(responder))
        try:
            done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()  # a task of a master never ends without an error; this raises it
            await asyncio.gather(*(owner.stop() for owner in self.owners))
            await self.events.flush()
        finally:
            for each in [*tasks, stopping, getting_ready]:
                each.cancel()
            await asyncio.gather(*tasks, stopping, getting_ready, return_exceptions=True)
            await self._requester.close()
            with contextlib.suppress(Unavailable):
                await self._store.retire(self.master_id)
            log.info("master stopped", master=self.master_id)

    async def _get_ready(self, responder: Responder) -> None:
        await responder.consuming.wait()
        for owner in self.owners:
            await owner.standing_by()
        self.ready.set()

    # -- watching ---------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        beaten = 0.0
        pinged: dict[int, float] = {}
        alone = False
        while True:
            try:
                now = self._clock.monotonic()
                beating = now - beaten >= MIN_JITTER * BEAT_SECONDS
                if beating:
                    beaten = now
                    # A master without its broker can own no cell, so it must not count when cells are rebalanced.
                    if self._bus.connected:
                        pulse = await self._beat()
                        self._others = {each.master_id for each in pulse.masters} - {self.master_id}
                        await self._exchange_usage(pulse.usage)
                    else:
                        await self._exchange_usage(await self._store.usage())
                await self.config_store.refresh()
                self._spread_config()
                if now >= self._max_term_until:
                    self._max_term, self._max_term_until = await self._bound_of_terms(), now + MAX_TERM_KEPT_SECONDS
                alone = not self._others and all(owner.term is not None for owner in self.owners)
                if alone:
                    # This master owns all leases: there is no master to share with, and no lease that could be stale.
                    leases = []
                else:
                    leases = await self._store.leases()
                    if beating and self._bus.connected:
                        await self._rebalance(leases)
                for lease in leases:
                    stale = not lease.owner or lease.age > STALE_LEASE_SECONDS + STALE_LEASE_MARGIN_SECONDS
                    if stale and now - pinged.get(lease.cell, -STALE_LEASE_SECONDS) >= STALE_LEASE_SECONDS:
                        pinged[lease.cell] = now
                        self._ping(lease)
            except Unavailable as error:
                log.warning("the leases cannot be read", error=str(error))
            await self._clock.sleep(
                (BEAT_SECONDS if alone else WATCH_SECONDS) * self._rng.uniform(MIN_JITTER, 2.0 - MIN_JITTER)
            )

    async def _beat(self) -> Pulse:
        access = self._context.access
        me = self._me if access is None else self._me._replace(policy=access.policy.digest)
        return await self._store.beat(me, BEAT_TTL_SECONDS)

    async def _bound_of_terms(self) -> int:
        """The lowest term that no owner can have. Terms are milliseconds of the store's clock; one that is above them
        was given out before that clock was set back, and the following ones are above it."""
        now_ms = int(await self._context.records.now() * 1000)
        terms = [lease.term for lease in await self._store.leases()]
        return max(now_ms, *terms) + MAX_TERM_AHEAD_MS

    def _ping(self, lease: Lease) -> None:
        self._bus.publish(
            outgoing(
                addresses.updates(lease.cell),
                Ping(),
                self._new_id(),
                persistent=False,
                expiration=STALE_LEASE_SECONDS,
            )
        )

    def _spread_config(self) -> None:
        config = self.config_store.config
        for owner in self.owners:
            if (term := owner.term) is not None and term.cell.state.config.version < config.version:
                term.give(Configured(config))

    async def _exchange_usage(self, published: dict[int, bytes]) -> None:
        """Publish the usage of this master's cells to the other cells, and apply the usage of the others: shares are
        computed over the whole cluster."""
        for owner in self.owners:
            if (term := owner.term) is not None:
                usage = usage_of(term.cell.state)
                if published.get(owner.number) != usage:
                    published[owner.number] = usage
                    await self._store.publish_usage(owner.number, usage)
        for state in self._cells():
            take_in(state, published)

    def _cells(self) -> list[CellState]:
        """The cells that this master owns now."""
        return [owner.term.cell.state for owner in self.owners if owner.term is not None]

    def _first_cell(self) -> CellState | None:
        """Cell 0 if this master owns it now."""
        term = self.owners[0].term if self.owners else None
        return None if term is None else term.cell.state

    async def _rebalance(self, leases: list[Lease]) -> None:
        """Step down from one cell if another master owns at least two fewer; only one cell at a time."""
        masters = {self.master_id, *self._others}
        mine = [owner.number for owner in self.owners if owner.term is not None]
        chosen = self._rebalancing.choose(self.master_id, masters, leases, mine, self._clock.monotonic())
        if chosen is not None:
            log.info("stepping down to rebalance the cells", cell=chosen, owned=len(mine), masters=len(masters))
            await self.owners[chosen].step_down()

    # -- answering --------------------------------------------------------------------------------------

    def _handlers(self) -> Handlers:
        handlers = Handlers("a master")
        handlers.add(Hello, self._hello)
        handlers.add(GetCluster, self._cluster_view)
        handlers.add(GetMasterHealth, self._health)
        handlers.add(WhoAmI, self._who_am_i)
        handlers.add(PassExec, self._pass_exec)
        self._dead_letters.add_to(handlers)
        self._settings.add_to(handlers)
        EventReader(self._context.streams).add_to(handlers)
        self._history.add_to(handlers)
        return handlers

    async def _hello(self, request: Hello) -> HelloAnswer:
        return HelloAnswer(cluster=self._cluster, cells=len(self.owners), max_term=self._max_term)

    async def _who_am_i(self, request: WhoAmI) -> Identity:
        caller = current()
        if caller is None:
            return Identity(name="", may={right.value: "" for right in Right}, checked=self._context.access is not None)
        rights = caller.rights
        return Identity(
            name=caller.name,
            actions=rights.actions,
            roles=rights.roles,
            task_users=rights.task_users,
            may={each.value: "" if rights.may(each) else f"{caller.name!r} has no right to {each}" for each in Right},
            checked=True,
        )

    async def _pass_exec(self, request: PassExec) -> Part:
        to_agent = AgentExec.of(current(), request.start, request.use)
        limit = PASS_TIMEOUT_SECONDS + request.wait_seconds
        return await self._requester.request(addresses.operator_agent(request.agent_id), to_agent, limit)

    async def _health(self, request: GetMasterHealth) -> MasterReport:
        probes = {owner.number: owner.term.probe for owner in self.owners if owner.term is not None}
        report = await examine(self._me, self._bus, self._store, self._clock, self._new_id, len(self.owners), probes)
        problem = "" if self._context.access is None else self._context.access.problem
        return report.model_copy(update={"policy_problem": problem})

    async def _cluster_view(self, request: GetCluster) -> ClusterView:
        masters = {each.master_id: each for each in await self._store.masters()}
        cells = []
        for lease in await self._store.leases():
            owner = masters.get(lease.owner)
            cells.append(
                CellOwnership(
                    cell=lease.cell,
                    owner=lease.owner,
                    pid=owner.pid if owner else None,
                    hostname=owner.hostname if owner else "",
                    term=lease.term,
                    age=max(0.0, lease.age),
                )
            )
        return ClusterView(
            cluster=self._cluster,
            version=self._me.version,
            masters=tuple(
                MasterView(
                    master_id=each.master_id,
                    hostname=each.hostname,
                    pid=each.pid,
                    version=each.version,
                    age=max(0.0, each.age),
                    policy=each.policy,
                )
                for each in masters.values()
            ),
            cells=tuple(cells),
        )
