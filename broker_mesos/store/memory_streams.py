"""The Streams port in the memory of one process, for embedded clusters and simulations."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from broker_mesos.core.api.stream_ids import id_key
from broker_mesos.ports.streams import Entry
from broker_mesos.store.memory import MemoryStoreState, _Adapter


class MemoryStreams(_Adapter):
    """The Streams port on a MemoryStoreState."""

    def __init__(self, state: MemoryStoreState) -> None:
        super().__init__(state)

    async def append(self, stream: str, bodies: Sequence[bytes], limit: int) -> list[str]:
        """See Streams."""

        def do() -> list[str]:
            entries = self._facts.streams.setdefault(stream, [])
            found = []
            for body in bodies:
                # As in Redis, ids rise even if the clock is set back.
                ms = max(int(self._state.clock.time() * 1000), entries[-1][0] if entries else 0)
                number = entries[-1][1] + 1 if entries and entries[-1][0] == ms else 0
                entries.append((ms, number, bytes(body)))
                found.append(f"{ms}-{number}")
            del entries[: max(0, len(entries) - limit)]
            return found

        return await self._call(do)

    async def read(
        self, stream: str, *, after: str = "", before: str = "", limit: int, latest: bool = False
    ) -> list[Entry]:
        """See Streams."""

        def do() -> list[Entry]:
            entries = self._facts.streams.get(stream, [])
            ids = [(ms, number) for ms, number, _ in entries]
            first = bisect_right(ids, id_key(after)) if after else 0
            last = bisect_left(ids, id_key(before)) if before else len(ids)
            chosen = entries[first:last]
            chosen = chosen[-limit:] if latest else chosen[:limit]
            return [Entry(f"{ms}-{number}", body) for ms, number, body in chosen]

        return await self._call(do)
