"""The Streams port on Redis. It has a connection of its own, so that no commit waits behind an entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_mesos.ports.clock import Clock
from broker_mesos.ports.streams import Entry
from broker_mesos.runtime.tls import NO_FILES, TlsFiles
from broker_mesos.store import keys
from broker_mesos.store.redis.connection import Client, _Connection, _read_together

FIELD = b"e"
"""The name of the one field of an entry."""


class RedisStreams(_Connection):
    """The Streams port on Redis."""

    def __init__(self, url: str, *, cluster: str, clock: Clock, timeout: float = 3.0, tls: TlsFiles = NO_FILES) -> None:
        super().__init__(url, cluster=cluster, clock=clock, timeout=timeout, name="bmesos-streams", tls=tls)

    async def append(self, stream: str, bodies: Sequence[bytes], limit: int) -> list[str]:
        """See Streams."""
        key = keys.stream(self._cluster, stream)
        adds: list[Any] = [("XADD", key, "MAXLEN", "~", limit, "*", FIELD, body) for body in bodies]

        async def do(client: Client) -> list[bytes]:
            return list(await _read_together(client, *adds)) if adds else []

        return [found.decode() for found in await self._call(do, repeat=False)]

    async def read(
        self, stream: str, *, after: str = "", before: str = "", limit: int, latest: bool = False
    ) -> list[Entry]:
        """See Streams."""
        key = keys.stream(self._cluster, stream)
        first, last = f"({after}" if after else "-", f"({before}" if before else "+"
        bounds = ("XREVRANGE", key, last, first) if latest else ("XRANGE", key, first, last)
        found = await self._call(lambda _: self._pipeline.execute_command(*bounds, "COUNT", limit))
        entries = [
            Entry(ident.decode(), dict(zip(fields[::2], fields[1::2], strict=True)).get(FIELD, b""))
            for ident, fields in found
        ]
        return entries[::-1] if latest else entries
