"""Store and Records on Redis: the one file that imports redis.

The scripts beside this file do what has to be atomic; each documents its keys and arguments. Retries are our
own: redis-py's are off, because a script that it repeats after a lost reply may have run. What is safe to
repeat (reads; commits by their number, claims by their nonce) is repeated once when a connection breaks, so
that a restarted server is not noticed; a transaction never is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from broker_mesos.core.health import StoreReport
from broker_mesos.core.records import Lease, Snapshot
from broker_mesos.errors import Conflict, InvalidInput, StoreUnavailable
from broker_mesos.patience import patience
from broker_mesos.ports import Change, Check, Clock, Commit, MasterInfo, Pulse
from broker_mesos.store import encoding, keys, rules
from broker_mesos.store.line import Line

T = TypeVar("T")
Client = Any
"""redis.asyncio.Redis, whose return types say nothing across its versions."""


class _Refused(StoreUnavailable):
    """Waiting will not help: credentials, rights or database number."""


class _Script:
    """A script by its digest, sent whole when the server does not know it."""

    def __init__(self, name: str) -> None:
        self._text = Path(__file__).with_name(name).read_text()
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, client: Client, names: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        try:
            return await client.execute_command("EVALSHA", self._digest, len(names), *names, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self._text, len(names), *names, *arguments)


_COMMIT = _Script("commit.lua")
_CLAIM = _Script("claim.lua")
_LEASE = _Script("lease.lua")
_BEAT = _Script("beat.lua")
_TRANSACT = _Script("transact.lua")


class _Connection:
    """A line for what is asked often, a pool of connections for the rest; every call ends within ``timeout``
    seconds."""

    def __init__(
        self, url: str, *, cluster: str, clock: Clock, timeout: float = 3.0, name: str = "bmesos"
    ) -> None:
        """``url`` is ``redis[s]://[user:password@]host:port/db`` or ``unix://[user:password@]/path?db=0``,
        and may carry redis-py's ``ssl_*`` options. ``name`` shows in CLIENT LIST. Raises InvalidInput."""
        self._cluster = keys.check_cluster(cluster)
        self._clock = clock
        self._timeout = timeout
        self._closed = False
        self._client, self._where = _connect(url, timeout, name)
        make_connection = self._client.connection_pool.make_connection
        self._line = Line(make_connection, RedisConnectionError, ResponseError)

    async def open(self, timeout: float) -> None:
        """Connect; keeps trying for ``timeout`` seconds, unless the server refuses us for good
        (StoreUnavailable). InvalidInput for a server that evicts; who may not see the policy trusts it."""
        self._closed = False
        end = self._clock.monotonic() + timeout
        pause = 0.05
        while True:
            remaining = end - self._clock.monotonic()
            try:
                policy = await self._call(self._policy, limit=max(0.05, min(remaining, self._timeout)))
                break
            except _Refused:
                raise
            except StoreUnavailable:
                if remaining <= pause:
                    raise
            await self._clock.sleep(pause)
            pause = min(2 * pause, 1.0)
        if policy not in ("", "noeviction"):
            raise InvalidInput(
                f"Redis at {self._where} may evict facts (maxmemory-policy is {policy}): set "
                "maxmemory-policy to noeviction in redis.conf and, for now, with CONFIG SET"
            )

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        self._closed = True
        await self._line.close()
        try:
            async with asyncio.timeout(1.0):
                await self._client.aclose(close_connection_pool=True)
        except (RedisError, OSError, TimeoutError):
            pass

    async def _policy(self, client: Client) -> str:
        await client.execute_command("PING")
        try:
            found = await client.config_get("maxmemory-policy")
        except ResponseError:
            # Managed servers and ACLs forbid CONFIG; INFO mostly remains.
            try:
                found = await client.info("memory")
            except ResponseError:
                return ""
        return encoding.option(found, "maxmemory-policy") or encoding.option(found, "maxmemory_policy")

    async def _call(
        self, do: Callable[[Client], Awaitable[T]], *, repeat: bool = True, limit: float | None = None
    ) -> T:
        """Run ``do`` within the time limit, with the errors of redis and the system translated.

        ``repeat``: once more on a new connection if the old one breaks.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed: open it first")
        seconds = self._timeout if limit is None else limit
        try:
            async with patience(seconds):
                try:
                    return await do(self._client)
                except RedisConnectionError as error:
                    if not repeat or isinstance(error, (AuthenticationError, AuthorizationError)):
                        raise
                return await do(self._client)
        except TimeoutError as error:
            self._line.drop()
            raise StoreUnavailable(
                f"Redis at {self._where} did not answer within {seconds:.3g} s: "
                "see whether it runs and keeps up"
            ) from error
        except (RedisError, OSError, EOFError, UnicodeError) as error:
            raise _translate(error, self._where) from error


async def _pipeline(client: Client, *commands: Sequence[str], atomic: bool = False) -> list[Any]:
    """Several reads in one round trip."""
    async with client.pipeline(transaction=atomic) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        found: list[Any] = await pipe.execute()
        return found


def _connect(url: str, timeout: float, name: str) -> tuple[Client, str]:
    """A client that connects at its first use, and its address for messages."""
    try:
        options: dict[str, Any] = dict(parse_url(url))
        foreign = [option for option in options if not option.startswith("ssl_")]
        foreign = sorted(
            set(foreign) - {"username", "password", "host", "port", "path", "db", "connection_class"}
        )
    except ValueError:
        # The parser's own message may quote a part of the password.
        raise InvalidInput(
            "the store's URL cannot be read: write redis://user:password@host:port/db, "
            "with special characters percent-encoded"
        ) from None
    if foreign:
        raise InvalidInput(f"the store's URL has options that are not supported: {', '.join(foreign)}")
    where = str(options["path"]) if "path" in options else None
    if where is None:
        host = str(options.get("host", "localhost"))
        where = f"{f'[{host}]' if ':' in host else host}:{options.get('port', 6379)}"
    options |= {
        "protocol": 2,  # every server speaks it, and it has no messages out of turn
        # Ours is the limit. Behind redis-py's is asyncio's wait_for, which before Python 3.12 forgets that it
        # was cancelled if the command has just been sent: a daemon that was told to end would go on.
        "socket_timeout": None,
        "socket_connect_timeout": timeout + 1,
        "retry": Retry(NoBackoff(), 0),
        "client_name": re.sub(r"[^!-~]", "-", name) or "bmesos",
    }
    pool = BlockingConnectionPool(max_connections=16, timeout=math.ceil(timeout), **options)
    return Redis(connection_pool=pool), where


def _translate(error: Exception, where: str) -> StoreUnavailable:
    """Our error, in one line, with what to do next."""
    text = " ".join(str(error).split())[:200]
    if isinstance(error, (AuthenticationError, AuthorizationError)):
        return _Refused(f"Redis at {where} refused the user or password: see the store's URL")
    if isinstance(error, NoPermissionError):
        return _Refused(f"Redis at {where} denies its user a right ({text}): grant it with ACL SETUSER")
    if "DB index" in text:
        return _Refused(f"Redis at {where} has no such database: see the number in the store's URL")
    advice = encoding.advice(type(error).__name__, text)
    if advice:
        return StoreUnavailable(f"Redis at {where} {advice}")
    if isinstance(error, ResponseError):
        return StoreUnavailable(f"Redis at {where} answered with an error: {text}")
    return StoreUnavailable(
        f"Redis at {where} cannot be reached: see whether it runs ({text or type(error).__name__})"
    )


def _living(stored: Any, now: int) -> list[MasterInfo]:
    """The masters of a hash whose time (in ms) is not up, by id."""
    living = []
    for master_id, value in sorted(encoding.pairs(stored).items()):
        beat, expiry, text = value.split(b" ", 2)
        if int(expiry) > now:
            hostname, pid, version = json.loads(text)
            age = max(0.0, (now - int(beat)) / 1000)
            living.append(MasterInfo(master_id.decode(), hostname, pid, version, age))
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

    async def claim(self, cell: int, *, owner: str, nonce: str, floor: int, seen: Lease) -> Snapshot:
        """See Store."""
        rules.check_claim(nonce, floor)
        names = keys.cell(self._cluster, cell)
        arguments = (str(seen.term), seen.nonce, owner, nonce, str(floor))

        async def do(client: Client) -> tuple[list[Any], list[Any]]:
            reply = await _CLAIM(client, names, arguments)
            self._expect(reply, cell, seen.term)
            loads = (("HGETALL", name) for name in names[1:])
            held = ("HMGET", names.lease, "term", "nonce", "owner")
            return reply, await _pipeline(client, held, *loads, atomic=True)

        reply, (held, *kinds, outbox) = await self._call(do)
        term, number, recovering = int(reply[1]), int(reply[3]), reply[4] == b"1"
        # Nobody but us can have committed in between, unless the lease says so.
        if (int(held[0] or 0), encoding.text(held[1])) != (term, nonce):
            raise rules.fenced(cell, term, int(held[0] or 0), encoding.text(held[2]))
        agents, frameworks, tasks = (
            {k.decode(): v for k, v in encoding.pairs(kind).items()} for kind in kinds
        )
        entries = sorted((int(entry), body) for entry, body in encoding.pairs(outbox).items())
        return Snapshot(
            Lease(cell, term, nonce, reply[2].decode(), number, 0.0),
            agents,
            frameworks,
            tasks,
            [encoding.decode_entry(entry, body) for entry, body in entries],
            recovering,
            max(0, int(reply[5])) / 1000,
        )

    async def renew(self, cell: int, *, term: int, nonce: str, commit: int = 0) -> None:
        """See Store."""
        names = keys.cell(self._cluster, cell)[:1]
        arguments = ("renew", str(term), nonce, str(commit))
        reply = await self._call(lambda _: _LEASE(self._line, names, arguments))
        if reply[0] == b"LOST":
            raise rules.lost(cell, commit + 1, int(reply[1]))
        self._expect(reply, cell, term)

    async def release(self, cell: int, *, term: int, nonce: str) -> None:
        """See Store."""
        names = keys.cell(self._cluster, cell)[:1]
        await self._call(lambda client: _LEASE(client, names, ("release", str(term), nonce, "0")))

    async def commit(self, commit: Commit) -> None:
        """See Store."""
        names = keys.cell(self._cluster, commit.cell)
        arguments = encoding.commit_arguments(commit)
        reply = await self._call(lambda _: _COMMIT(self._line, names, arguments))
        if reply[0] == b"LOST":
            raise rules.lost(commit.cell, commit.number, int(reply[1]))
        self._expect(reply, commit.cell, commit.term)

    async def leases(self) -> list[Lease]:
        """See Store."""
        fields = ("term", "nonce", "owner", "commit", "renewed_at")

        async def do(client: Client) -> list[Any]:
            self._count = self._count or int(await client.hget(keys.cells(self._cluster), "count") or 0)
            names = (keys.cell(self._cluster, number).lease for number in range(self._count))
            return await _pipeline(client, ("TIME",), *(("HMGET", name, *fields) for name in names))

        found = await self._call(do)
        now = encoding.milliseconds(found[0])
        return [
            Lease(
                number,
                int(term or 0),
                encoding.text(nonce),
                encoding.text(owner),
                int(commit or 0),
                max(0.0, (now - int(renewed_at or 0)) / 1000),  # the server's clock may have been set back
            )
            for number, (term, nonce, owner, commit, renewed_at) in enumerate(found[1:])
        ]

    async def beat(self, master: MasterInfo, ttl: float) -> Pulse:
        """See Store."""
        names = (keys.masters(self._cluster), keys.cells(self._cluster), keys.usage(self._cluster))
        text = json.dumps([master.hostname, master.pid, master.version], separators=(",", ":"))
        arguments = (master.master_id, str(math.ceil(ttl * 1000)), text, str(self._count))
        now, living, usage = await self._call(lambda _: _BEAT(self._line, names, arguments))
        return Pulse(_living(living, int(now)), _by_cell(usage))

    async def retire(self, master_id: str) -> None:
        """See Store."""
        await self._call(lambda client: client.hdel(keys.masters(self._cluster), master_id))

    async def masters(self) -> list[MasterInfo]:
        """See Store."""
        reads = (("TIME",), ("HGETALL", keys.masters(self._cluster)))
        time, stored = await self._call(lambda client: _pipeline(client, *reads))
        return _living(stored, encoding.milliseconds(time))

    async def publish_usage(self, cell: int, usage: bytes) -> None:
        """See Store."""
        await self._call(lambda client: client.hset(keys.usage(self._cluster), str(cell), usage))

    async def usage(self) -> dict[int, bytes]:
        """See Store."""
        name = keys.usage(self._cluster)
        return _by_cell(await self._call(lambda _: self._line.execute_command("HGETALL", name)))

    async def health(self) -> StoreReport:
        """See Store."""

        async def do(client: Client) -> StoreReport:
            asked = self._clock.monotonic()
            time = encoding.milliseconds(await client.execute_command("TIME")) / 1000
            took = self._clock.monotonic() - asked
            outboxes = (("HLEN", keys.cell(self._cluster, number).outbox) for number in range(self._count))
            lengths = await _pipeline(client, *outboxes) if self._count else []
            try:
                info = await client.info()
            except ResponseError:  # managed servers and ACLs may forbid it
                info = {}
            try:
                fsync = encoding.option(await client.config_get("appendfsync"), "appendfsync")
            except ResponseError:
                fsync = ""
            return encoding.health(info, fsync, await self._policy(client), time, took, lengths)

        return await self._call(do)

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
        expiry = ("EXPIRE", key, str(rules.TRIES_KEPT))
        # Not repeated by itself: one try would count twice.
        reply = await self._call(
            lambda client: _pipeline(client, *before, *commands, expiry, atomic=True), repeat=False
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


class RedisRecords(_Connection):
    """The Records port on Redis; ``space`` keeps frameworks apart."""

    def __init__(
        self,
        url: str,
        *,
        cluster: str,
        clock: Clock,
        space: str = "batch",
        timeout: float = 3.0,
        name: str = "bmesos-batch",
    ) -> None:
        super().__init__(url, cluster=cluster, clock=clock, timeout=timeout, name=name)
        self._prefix = keys.records(cluster, space)

    async def transact(self, checks: Sequence[Check], changes: Sequence[Change]) -> list[int] | None:
        """See Records."""
        rules.check_transaction(checks, changes)
        short, arguments = encoding.transaction_arguments(checks, changes)
        names = [self._prefix + key for key in short]
        reply = await self._call(lambda _: _TRANSACT(self._line, names, arguments), repeat=False)
        if reply[0] == b"TYPE":
            raise rules.wrong_type(*(text.decode() for text in reply[1:]))
        if reply[0] == b"INTEGER":
            raise rules.not_integer(*(text.decode() for text in reply[1:]))
        return None if reply[0] == b"NO" else [int(value) for value in reply[1:]]

    async def get(self, key: str, fields: Sequence[str]) -> list[str | None]:
        """See Records."""
        if not fields:
            return []
        found = await self._call(lambda _: self._line.execute_command("HMGET", self._prefix + key, *fields))
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
        found = await self._call(lambda _: self._line.execute_command(*words))
        return [
            (member.decode(), float(score)) for member, score in zip(found[::2], found[1::2], strict=True)
        ]

    async def scan(self, key: str, cursor: str, limit: int) -> tuple[str, dict[str, str]]:
        """See Records."""
        following, found = await self._call(
            lambda client: client.hscan(self._prefix + key, cursor=int(cursor), count=limit)
        )
        return str(int(following)), {name.decode(): value.decode() for name, value in found.items()}
