"""The history of the cluster: the master that owns cell 0 appends a point every 10 s, best effort, and any master reads
it. A series with a longer step gets every so many points, by the clock of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.history import LENGTHS, STEPS, GetHistory, HistoryPoint, HistoryView
from broker_mesos.core.api.stream_ids import id_key
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.views.history import point
from broker_mesos.errors import BrokerMesosError, Unavailable
from broker_mesos.master.context import MasterContext
from broker_mesos.ports.streams import Streams, history_stream
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

MAX_POINT_BYTES = 2_000
"""Size of a point above which roles are left out of it, the smallest shares first, in bytes."""
EARLY_SECONDS = 5.0
"""Time by which a point may follow the one before too early, in seconds: points come every 10 s, not exactly."""
MAX_READ = 10_000
"""Maximum number of points of a series that are read."""


class History:
    """Writes and reads the history. ``cell`` returns the state of cell 0 if this master owns it, else None."""

    def __init__(self, context: MasterContext, cell: Callable[[], CellState | None]) -> None:
        self._context = context
        self._streams = context.streams
        self._cell = cell

    def add_to(self, handlers: Handlers) -> None:
        """Register the handlers."""
        handlers.add(GetHistory, self.read)

    async def run(self) -> None:
        """Append a point every 10 s while this master owns cell 0, until cancelled."""
        if self._streams is None:
            await asyncio.Event().wait()
            return
        while True:
            await self._context.clock.sleep(STEPS["10s"])
            try:
                await self.append(self._streams)
            except BrokerMesosError as error:
                log.debug("a point of the history is lost", error=str(error))

    async def append(self, streams: Streams) -> None:
        """Append a point to the series for which it is time. Raises StoreUnavailable."""
        state = self._cell()
        if state is None:
            return
        body = _bounded(point(state, self._context.now()))
        (ident,) = await streams.append(history_stream("10s"), [body], LENGTHS["10s"])
        for series in ("1m", "10m"):
            latest = await streams.read(history_stream(series), limit=1, latest=True)
            passed = (id_key(ident)[0] - id_key(latest[0].entry_id)[0]) / 1000 if latest else STEPS[series]
            if passed >= STEPS[series] - EARLY_SECONDS:
                await streams.append(history_stream(series), [body], LENGTHS[series])

    async def read(self, request: GetHistory) -> HistoryView:
        """Answer a request. Raises Unavailable if no history is kept or it cannot be read."""
        if self._streams is None:
            raise Unavailable("this master keeps no history")
        after = f"{max(0, int(request.since * 1000) - 1)}"
        before = "" if request.until is None else f"{int(request.until * 1000) + 1}"
        entries = await self._streams.read(
            history_stream(request.series), after=after, before=before, limit=MAX_READ, latest=True
        )
        step = -(-len(entries) // request.points)
        # Counted from the end, so that the latest point is always there.
        chosen = entries[::-1][:: max(1, step)][::-1]
        points = []
        for entry in chosen:
            try:
                found = HistoryPoint.model_validate_json(entry.body)
            except ValueError:
                continue
            points.append(found.model_copy(update={"at": id_key(entry.entry_id)[0] / 1000}))
        return HistoryView(series=request.series, step=STEPS[request.series], points=tuple(points), sampled=step > 1)


def _bounded(made: HistoryPoint) -> bytes:
    body = made.encode()
    while len(body) > MAX_POINT_BYTES and made.roles:
        fewer = list(made.roles.items())[: len(made.roles) // 2]
        made = made.model_copy(update={"roles": dict(fewer)})
        body = made.encode()
    return body
