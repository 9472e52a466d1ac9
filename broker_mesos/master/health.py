"""A master's report on its servers and on the queues of the cells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from broker_mesos.bus.dead_letters import DEAD_LETTERS
from broker_mesos.core.api.health import BusReport, CellReport, MasterReport, RouteReport, StoreReport
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.errors import BrokerMesosError
from broker_mesos.master.route_probe import RouteProbe, is_lost
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.ports.store import MasterInfo, Store


async def examine(
    me: MasterInfo,
    bus: Bus,
    store: Store,
    clock: Clock,
    new_id: NewId,
    cells: int,
    probes: Mapping[int, RouteProbe] = MappingProxyType({}),
) -> MasterReport:
    """Check the store, the broker and the cells' queues. A part that cannot be checked has its error in the report.
    ``probes`` are those of the owned cells."""
    before = clock.time()
    try:
        stored = await store.health()
    except BrokerMesosError as error:
        stored = StoreReport(error=str(error))
    # The store reads its clock at some time within the call, since that is the first thing that is requested from it.
    time = before + stored.round_trip / 2
    try:
        carried = await bus.health()
    except BrokerMesosError as error:
        carried = BusReport(error=str(error))
    reports = []
    unrouted: list[tuple[str, ...]] = [()] * cells
    routes: dict[int, RouteReport] = {}
    if not carried.error and not carried.blocked:
        unrouted, found_routes = await asyncio.gather(
            asyncio.gather(*(_unrouted(bus, new_id, cell) for cell in range(cells))),
            asyncio.gather(*(probe.run() for probe in probes.values())),
        )
        routes = dict(zip(probes, found_routes, strict=True))
    for cell in range(cells):
        outbox = stored.outboxes[cell] if cell < len(stored.outboxes) else None
        report = await _cell(bus, cell, outbox) if not carried.error else CellReport(cell=cell)
        reports.append(report.model_copy(update={"unrouted": unrouted[cell], "routes": routes.get(cell)}))
    letters: int | None = None
    if not carried.error:
        try:
            found = await bus.inspect(DEAD_LETTERS)
            letters = 0 if found is None else found.messages
        except BrokerMesosError:
            pass
    return MasterReport(
        master_id=me.master_id,
        hostname=me.hostname,
        version=me.version,
        time=time,
        store=stored,
        bus=carried,
        cells=tuple(reports),
        dead_letters=letters,
    )


async def _unrouted(bus: Bus, new_id: NewId, cell: int) -> tuple[str, ...]:
    """Send a message to the cell over each exchange that leads to its inbox. Returns the exchanges over which it did
    not arrive. This must run before any queue is declared, which would bind the inbox again."""
    routes = (addresses.updates(cell), addresses.calls(cell))
    found = await asyncio.gather(*(is_lost(bus, new_id, to, Ping()) for to in routes))
    return tuple(to.exchange.value for to, gone in zip(routes, found, strict=True) if gone)


async def _cell(bus: Bus, cell: int, outbox: int | None) -> CellReport:
    queue = Queue(QueueKind.CELL_INBOX, str(cell))
    try:
        # The broker refuses this if the queue has other arguments than ours, such as a small delivery limit.
        await bus.declare(queue)
        found = await bus.inspect(queue)
    except BrokerMesosError as error:
        return CellReport(cell=cell, error=str(error), outbox=outbox)
    if found is None:
        return CellReport(cell=cell, error="its queue is gone", outbox=outbox)
    return CellReport(cell=cell, inbox=found.messages, consumers=found.consumers, outbox=outbox)
