"""The Store port on Redis."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import (
    ResponseError,
)

from broker_mesos.core.api.health import StoreReport
from broker_mesos.core.protocol.records import Lease, Snapshot
from broker_mesos.errors import Conflict
from broker_mesos.ports.store import Commit, MasterInfo, Pulse
from broker_mesos.store import encoding, keys, rules
from broker_mesos.store.redis.connection import Client, _Connection, _read_together, _Script

_COMMIT = _Script("commit.lua")


_CLAIM = _Script("claim.lua")


_LEASE = _Script("lease.lua")


_BEAT = _Script("beat.lua")


class Members(NamedTuple):
    """The number of cells of a cluster, and the ids of its agents and frameworks."""

    cells: int
    agents: set[str]
    frameworks: set[str]


def _living(stored: Any, now: int) -> list[MasterInfo]:
    """The masters of a hash that have not expired, by id. Times are in milliseconds. A heartbeat of the future is from
    before the server's clock was set back; a living master sends another one within a second."""
    living = []
    for master_id, value in sorted(encoding.pairs(stored).items()):
        beat, expiry, text = value.split(b" ", 2)
        if int(beat) <= now < int(expiry):
            hostname, pid, version, policy = [*json.loads(text), ""][:4]
            living.append(MasterInfo(master_id.decode(), hostname, pid, version, (now - int(beat)) / 1000, policy))
    return living


def _by_cell(stored: Any) -> dict[int, bytes]:
    return {int(cell): value for cell, value in encoding.pairs(stored).items()}


class RedisStore(_Connection):
    """The Store port on Redis."""

    _count = 0

    async def cell_count(self, wanted: int | None) -> int:
        """See Store."""
        rules.check_wanted(wanted)
        key = keys.cells(self._cluster)

        async def do(client: Client) -> int:
            if wanted is not None:
                await client.hsetnx(key, "count", wanted)
            return int(await client.hget(key, "count") or 0)

        found = await self._call(do)
        if wanted is not None and wanted != found:
            raise Conflict(rules.conflict_text(wanted, found))
        self._count = found or self._count
        return found

    async def members(self) -> Members:
        """The number of cells, and the agents and frameworks of all of them, while no cell has an owner."""
        cells = await self.cell_count(None)
        names = [keys.cell(self._cluster, cell) for cell in range(cells)]
        reads = [("HKEYS", key) for name in names for key in (name.agents, name.frameworks)]
        found = await self._call(lambda client: _read_together(client, *reads)) if reads else []
        agents, frameworks = ({ident.decode() for some in kind for ident in some} for kind in (found[::2], found[1::2]))
        return Members(cells, agents, frameworks)

    async def claim(self, cell: int, *, owner: str, nonce: str, floor: int, seen: Lease) -> Snapshot:
        """See Store."""
        rules.check_claim(nonce, floor)
        names = keys.cell(self._cluster, cell)
        arguments = (str(seen.term), seen.nonce, owner, nonce, str(floor))

        async def do(client: Client) -> tuple[list[Any], list[Any]]:
            reply = await _CLAIM(client, names, arguments)
            if reply[0] == b"FLOOR":
                raise rules.floor_refused(floor)
            self._expect(reply, cell, seen.term)
            loads = (("HGETALL", name) for name in names[1:])
            stored = ("HMGET", names.lease, "term", "nonce", "owner")
            return reply, await _read_together(client, stored, *loads, atomic=True)

        reply, (stored, *kinds, outbox) = await self._call(do)
        term, number, recovering = int(reply[1]), int(reply[3]), reply[4] == b"1"
        # No other process can have committed in between, unless the lease has changed.
        if (int(stored[0] or 0), encoding.text(stored[1])) != (term, nonce):
            raise rules.fenced(cell, term, int(stored[0] or 0), encoding.text(stored[2]))
        agents, frameworks, tasks = ({k.decode(): v for k, v in encoding.pairs(kind).items()} for kind in kinds)
        entries = sorted((int(entry), body) for entry, body in encoding.pairs(outbox).items())
        return Snapshot(
            Lease(cell, term, nonce, reply[2].decode(), number, 0.0),
            agents,
            frameworks,
            tasks,
            [encoding.decode_entry(entry, body) for entry, body in entries],
            recovering,
            reply[5] == b"1",
            int(reply[6]),
        )

    async def renew(self, cell: int, *, term: int, nonce: str, commit: int = 0, recovered: bool = False) -> None:
        """See Store."""
        names = keys.cell(self._cluster, cell)[:1]
        arguments = ("renew", str(term), nonce, str(commit), "1" if recovered else "0")
        reply = await self._call(lambda _: _LEASE(self._pipeline, names, arguments))
        if reply[0] == b"LOST":
            raise rules.lost(cell, commit + 1, int(reply[1]))
        self._expect(reply, cell, term)

    async def release(self, cell: int, *, term: int, nonce: str) -> None:
        """See Store."""
        names = keys.cell(self._cluster, cell)[:1]
        await self._call(lambda client: _LEASE(client, names, ("release", str(term), nonce, "0", "0")))

    async def commit(self, commit: Commit) -> None:
        """See Store."""
        names = keys.cell(self._cluster, commit.cell)
        arguments = encoding.commit_arguments(commit)
        reply = await self._call(lambda _: _COMMIT(self._pipeline, names, arguments))
        if reply[0] == b"LOST":
            raise rules.lost(commit.cell, commit.number, int(reply[1]))
        self._expect(reply, commit.cell, commit.term)

    async def leases(self) -> list[Lease]:
        """See Store."""
        fields = ("term", "nonce", "owner", "commit", "renewed_at")

        async def do(client: Client) -> list[Any]:
            self._count = self._count or int(await client.hget(keys.cells(self._cluster), "count") or 0)
            names = (keys.cell(self._cluster, number).lease for number in range(self._count))
            return await _read_together(client, ("TIME",), *(("HMGET", name, *fields) for name in names))

        found = await self._call(do)
        now = encoding.milliseconds(found[0])
        return [
            Lease(
                number,
                int(term or 0),
                encoding.text(nonce),
                encoding.text(owner),
                int(commit or 0),
                # The server's clock may have been set back: then the owner has not renewed since, either.
                abs(now - int(renewed_at or 0)) / 1000,
            )
            for number, (term, nonce, owner, commit, renewed_at) in enumerate(found[1:])
        ]

    async def beat(self, master: MasterInfo, ttl: float) -> Pulse:
        """See Store."""
        names = (keys.masters(self._cluster), keys.cells(self._cluster), keys.usage(self._cluster))
        described = [master.hostname, master.pid, master.version, *filter(None, [master.policy])]
        text = json.dumps(described, separators=(",", ":"))
        arguments = (master.master_id, str(math.ceil(ttl * 1000)), text, str(self._count))
        now, living, usage = await self._call(lambda _: _BEAT(self._pipeline, names, arguments))
        return Pulse(_living(living, int(now)), _by_cell(usage))

    async def retire(self, master_id: str) -> None:
        """See Store."""
        await self._call(lambda client: client.hdel(keys.masters(self._cluster), master_id))

    async def masters(self) -> list[MasterInfo]:
        """See Store."""
        reads = (("TIME",), ("HGETALL", keys.masters(self._cluster)))
        time, stored = await self._call(lambda client: _read_together(client, *reads))
        return _living(stored, encoding.milliseconds(time))

    async def publish_usage(self, cell: int, usage: bytes) -> None:
        """See Store."""
        await self._call(lambda client: client.hset(keys.usage(self._cluster), str(cell), usage))

    async def usage(self) -> dict[int, bytes]:
        """See Store."""
        name = keys.usage(self._cluster)
        return _by_cell(await self._call(lambda _: self._pipeline.execute_command("HGETALL", name)))

    async def health(self) -> StoreReport:
        """See Store."""

        async def do(client: Client) -> StoreReport:
            began = self._clock.monotonic()
            time = encoding.milliseconds(await client.execute_command("TIME")) / 1000
            took = self._clock.monotonic() - began
            outboxes = (("HLEN", keys.cell(self._cluster, number).outbox) for number in range(self._count))
            lengths = await _read_together(client, *outboxes) if self._count else []
            try:
                info = await client.info()
            except ResponseError:  # managed servers and ACLs may forbid it
                info = {}
            try:
                fsync = encoding.option(await client.config_get("appendfsync"), "appendfsync")
            except ResponseError:
                fsync = ""
            return encoding.health(info, fsync, await self._policy(client), time, took, lengths)

        report = await self._call(do)
        return report.model_copy(update={"certificates": await self._certificates()})

    async def tries(self, cell: int) -> dict[str, int]:
        """See Store."""
        found = await self._call(lambda client: client.hgetall(keys.trying(self._cluster, cell)))
        return {ident.decode(): int(count) for ident, count in encoding.pairs(found).items()}

    async def trying(self, cell: int, message_ids: Sequence[str], tried: Sequence[str] = ()) -> list[int]:
        """See Store."""
        if not message_ids:
            return []
        key = keys.trying(self._cluster, cell)
        before = [("HDEL", key, *tried)] if tried else []
        commands = [("HINCRBY", key, ident, "1") for ident in message_ids]
        expiry = ("EXPIRE", key, str(rules.TRIES_TTL_SECONDS))
        # This call is not repeated on a new connection, since one try would count twice.
        reply = await self._call(
            lambda client: _read_together(client, *before, *commands, expiry, atomic=True), repeat=False
        )
        return [int(count) for count in reply[len(before) : -1]]

    async def tried(self, cell: int, message_ids: Sequence[str]) -> None:
        """See Store."""
        if message_ids:
            key = keys.trying(self._cluster, cell)
            await self._call(lambda client: client.hdel(key, *message_ids))

    @staticmethod
    def _expect(reply: Sequence[Any], cell: int, term: int) -> None:
        if reply[0] == b"FENCED":
            raise rules.fenced(cell, term, int(reply[1]), reply[2].decode())
        if reply[0] == b"TYPE":
            raise rules.wrong_type(reply[1].decode(), reply[2].decode(), "hash")
