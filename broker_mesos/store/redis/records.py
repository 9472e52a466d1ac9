"""The Records port on Redis."""

from __future__ import annotations

from collections.abc import Sequence

from broker_mesos.ports.clock import Clock
from broker_mesos.ports.store import Change, Check
from broker_mesos.runtime.tls import NO_FILES, TlsFiles
from broker_mesos.store import encoding, keys, rules
from broker_mesos.store.redis.connection import Client, _Connection, _Script

_TRANSACT = _Script("transact.lua")
_DUE = _Script("due.lua")


class RedisRecords(_Connection):
    """The Records port on Redis; ``space`` separates the records of frameworks."""

    def __init__(
        self,
        url: str,
        *,
        cluster: str,
        clock: Clock,
        space: str = "records",
        timeout: float = 3.0,
        name: str = "bmesos",
        tls: TlsFiles = NO_FILES,
    ) -> None:
        super().__init__(url, cluster=cluster, clock=clock, timeout=timeout, name=name, tls=tls)
        self._prefix = keys.records(cluster, space)

    async def transact(self, checks: Sequence[Check], changes: Sequence[Change]) -> list[int] | None:
        """See Records."""
        rules.check_transaction(checks, changes)
        short, arguments = encoding.transaction_arguments(checks, changes)
        names = [self._prefix + key for key in short]
        reply = await self._call(lambda _: _TRANSACT(self._pipeline, names, arguments), repeat=False)
        if reply[0] == b"TYPE":
            raise rules.wrong_type(*(text.decode() for text in reply[1:]))
        if reply[0] == b"INTEGER":
            raise rules.not_integer(*(text.decode() for text in reply[1:]))
        return None if reply[0] == b"NO" else [int(value) for value in reply[1:]]

    async def get(self, key: str, fields: Sequence[str]) -> list[str | None]:
        """See Records."""
        if not fields:
            return []
        found = await self._call(lambda _: self._pipeline.execute_command("HMGET", self._prefix + key, *fields))
        return [None if value is None else value.decode() for value in found]

    async def get_all(self, key: str) -> dict[str, str]:
        """See Records."""
        found = await self._call(lambda client: client.hgetall(self._prefix + key))
        return {name.decode(): value.decode() for name, value in encoding.pairs(found).items()}

    async def size(self, key: str) -> int:
        """See Records."""
        name = self._prefix + key

        async def do(client: Client) -> int:
            kind = await client.type(name)
            return int(await (client.zcard(name) if kind == b"zset" else client.hlen(name)))

        return await self._call(do)

    async def range(self, key: str, *, limit: int, max_score: float | None = None) -> list[tuple[str, float]]:
        """See Records."""
        most = "+inf" if max_score is None else repr(float(max_score))
        name = self._prefix + key
        words = ("ZRANGEBYSCORE", name, "-inf", most, "WITHSCORES", "LIMIT", 0, limit)
        return _scored(await self._call(lambda _: self._pipeline.execute_command(*words)))

    async def due(self, key: str, *, limit: int, horizon: float) -> list[tuple[str, float]]:
        """See Records."""
        arguments = (str(limit), repr(float(horizon)))
        return _scored(await self._call(lambda _: _DUE(self._pipeline, [self._prefix + key], arguments)))

    async def now(self) -> float:
        """See Records."""
        time = await self._call(lambda _: self._pipeline.execute_command("TIME"))
        return int(time[0]) + int(time[1]) / 1e6

    async def scan(self, key: str, cursor: str, limit: int) -> tuple[str, dict[str, str]]:
        """See Records."""
        following, found = await self._call(
            lambda client: client.hscan(self._prefix + key, cursor=int(cursor), count=limit)
        )
        return str(int(following)), {name.decode(): value.decode() for name, value in found.items()}


def _scored(found: Sequence[bytes]) -> list[tuple[str, float]]:
    return [(member.decode(), float(score)) for member, score in zip(found[::2], found[1::2], strict=True)]
