"""A client of Redis: its connections, scripts, timeouts, and the translation of its errors."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
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

from broker_mesos.core.api.health import CertificateReport
from broker_mesos.errors import InvalidInput, StoreUnavailable
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime.timeouts import time_limit, within
from broker_mesos.runtime.tls import (
    NO_FILES,
    ContextSource,
    TlsFiles,
    certificates,
    refusal,
    refusal_of_client,
)
from broker_mesos.runtime.urls import tls_option_problem
from broker_mesos.store import encoding, keys
from broker_mesos.store.redis.pipeline import Pipeline

T = TypeVar("T")

_DATABASE = re.compile(r"[0-9]{1,9}")
"""The number of a database in a URL."""

Client = Any
"""A redis.asyncio.Redis; Any, because its return types differ between its versions."""


class _Refused(StoreUnavailable):
    """An error that waiting does not remove: credentials, rights or database number."""


class _Script:
    """A script that is called by its digest, and sent whole when the server does not know it."""

    def __init__(self, name: str) -> None:
        self._text = Path(__file__).with_name(name).read_text()
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, client: Client, names: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        try:
            return await client.execute_command("EVALSHA", self._digest, len(names), *names, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self._text, len(names), *names, *arguments)


class _TlsConnection(SSLConnection):
    """redis-py's connection with our context. redis-py would trust the authorities of the system beside the one that is
    named, and before its version 6 it does not check the name of the host."""

    def __init__(self, *, context_source: ContextSource, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context: Any = context_source


class _Connection:
    """One client of Redis: a pipeline for frequent commands, and a pool of connections for the rest. Every call ends
    within ``timeout`` seconds."""

    def __init__(
        self,
        url: str,
        *,
        cluster: str,
        clock: Clock,
        timeout: float = 3.0,
        name: str = "bmesos",
        tls: TlsFiles = NO_FILES,
    ) -> None:
        """``url`` is ``redis[s]://[user:password@]host:port/db`` or ``unix://[user:password@]/path?db=0``. ``name`` is
        listed by CLIENT LIST. Raises InvalidInput, for files of ``tls`` that cannot be used as well."""
        self._cluster = keys.check_cluster(cluster)
        self._clock = clock
        self._timeout = timeout
        self._closed = False
        self._client, self._where = _connect(url, timeout, name, tls)
        parts = urlsplit(url)
        self._tls = parts.scheme == "rediss"
        self._host, self._port = parts.hostname or "localhost", parts.port or 6379
        self._tls_files = tls
        make_connection = self._client.connection_pool.make_connection
        self._pipeline = Pipeline(make_connection, RedisConnectionError, ResponseError)

    async def open(self, timeout: float) -> None:
        """Connect. Attempts are repeated for ``timeout`` seconds, unless the server refuses this client for good
        (StoreUnavailable). Raises InvalidInput for a server that evicts keys; if this client may not read the policy,
        it assumes that the server does not."""
        self._closed = False
        end = self._clock.monotonic() + timeout
        pause = 0.05
        said: StoreUnavailable | None = None
        while True:
            limit = max(0.05, min(end - self._clock.monotonic(), self._timeout))
            try:
                policy = await self._call(self._policy, limit=limit)
                break
            except _Refused:
                raise
            except StoreUnavailable as error:
                # An attempt that was cut short by the end of the time tells less than the one before it.
                if said is None or limit == self._timeout or not isinstance(error.__cause__, TimeoutError):
                    said = error
                if end - self._clock.monotonic() <= pause:
                    raise said from said.__cause__
            await self._clock.sleep(pause)
            pause = min(2 * pause, 1.0)
        if policy not in ("", "noeviction"):
            raise InvalidInput(
                f"Redis at {self._where} may evict data (maxmemory-policy is {policy}): set "
                "maxmemory-policy to noeviction in redis.conf and, for now, with CONFIG SET"
            )

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        self._closed = True
        await self._pipeline.close()
        try:
            async with within(1.0):
                await self._client.aclose(close_connection_pool=True)
        except (RedisError, OSError, TimeoutError):
            pass

    async def _policy(self, client: Client) -> str:
        await client.execute_command("PING")
        try:
            found = await client.config_get("maxmemory-policy")
        except ResponseError:
            # Managed servers and ACLs forbid CONFIG; INFO is mostly allowed.
            try:
                found = await client.info("memory")
            except ResponseError:
                return ""
        return encoding.option(found, "maxmemory-policy") or encoding.option(found, "maxmemory_policy")

    async def _call(
        self, do: Callable[[Client], Awaitable[T]], *, repeat: bool = True, limit: float | None = None
    ) -> T:
        """Run ``do`` within the timeout, and translate the errors of redis and of the system. With ``repeat`` it is
        run once more on a new connection if the old one breaks."""
        if self._closed:
            raise StoreUnavailable("the store is closed: open it first")
        seconds = self._timeout if limit is None else limit
        try:
            async with time_limit(seconds):
                try:
                    return await do(self._client)
                except RedisConnectionError as error:
                    if not repeat or isinstance(error, (AuthenticationError, AuthorizationError)):
                        raise
                return await do(self._client)
        except TimeoutError as error:
            self._pipeline.drop()
            # A server without TLS waits for the end of a line that the handshake does not contain.
            doubt = ", and whether that port is for TLS" if self._tls else ""
            raise StoreUnavailable(
                f"Redis at {self._where} did not answer within {seconds:.3g} s: "
                f"check whether it runs and keeps up{doubt}"
            ) from error
        except (RedisError, OSError, EOFError, UnicodeError) as error:
            if (refused := await self._refusal(error)) is not None:
                raise refused from error
            raise _translate(error, self._where) from error

    async def _refusal(self, error: Exception) -> StoreUnavailable | None:
        """The error for a certificate that was refused; None for any other error."""
        if not self._tls:
            return None
        text, cause = None, _tls_error(error)
        if cause is not None:
            text = await asyncio.to_thread(refusal, cause, self._tls_files, self._host, self._port)
        elif isinstance(error, RedisConnectionError) and not _is_refused(error):
            text = await asyncio.to_thread(refusal_of_client, self._tls_files, self._host, self._port)
        return None if text is None else _Refused(f"Redis at {self._where}: {text}")

    async def _certificates(self) -> tuple[CertificateReport, ...]:
        """The certificates that connections to the server depend on; none without TLS."""
        if not self._tls:
            return ()
        name = f"Redis at {self._where}"
        return await asyncio.to_thread(certificates, self._tls_files, self._host, self._port, name)


async def _read_together(client: Client, *commands: Sequence[str], atomic: bool = False) -> list[Any]:
    """Run several reads in one round trip."""
    async with client.pipeline(transaction=atomic) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        found: list[Any] = await pipe.execute()
        return found


def _connect(url: str, timeout: float, name: str, tls: TlsFiles) -> tuple[Client, str]:
    """A client that connects at its first use, and its address for messages."""
    try:
        options: dict[str, Any] = dict(parse_url(url))
        foreign = sorted(options.keys() - {"username", "password", "host", "port", "path", "db", "connection_class"})
    except ValueError:
        # The parser's own message may contain a part of the password.
        raise InvalidInput(
            "the store's URL cannot be read: write redis://user:password@host:port/db, "
            "with special characters percent-encoded"
        ) from None
    _check_database(url)
    if problem := tls_option_problem(url):
        raise InvalidInput(problem)
    if foreign:
        raise InvalidInput(f"the store's URL has options that are not supported: {', '.join(foreign)}")
    where = str(options["path"]) if "path" in options else None
    if where is None:
        host = str(options.get("host", "localhost"))
        where = f"{f'[{host}]' if ':' in host else host}:{options.get('port', 6379)}"
    options |= {
        "protocol": 2,  # every server has it, and it has no messages out of order
        # This timeout is handled here. redis-py uses asyncio's wait_for, which before Python 3.12 forgets that it was
        # cancelled if the command has just been sent: a daemon that is being stopped would go on.
        "socket_timeout": None,
        "socket_connect_timeout": timeout + 1,
        "retry": Retry(NoBackoff(), 0),
        "client_name": re.sub(r"[^!-~]", "-", name) or "bmesos",
    }
    if url.startswith("rediss:"):
        options |= {"connection_class": _TlsConnection, "context_source": ContextSource(tls)}
    pool = BlockingConnectionPool(max_connections=16, timeout=math.ceil(timeout), **options)
    return Redis(connection_pool=pool), where


def _check_database(url: str) -> None:
    """Raise InvalidInput for a URL whose database redis-py would guess: it drops slashes and reads what is no number
    as 0."""
    parts = urlsplit(url)
    databases = parse_qs(parts.query).get("db", [])
    if parts.scheme != "unix" and parts.path.strip("/"):
        databases.append(parts.path.removeprefix("/"))
    if len(databases) > 1 or parts.fragment or any(not _DATABASE.fullmatch(each) for each in databases):
        # Not quoted: what looks like a path may be the rest of a password.
        raise InvalidInput(
            "the store's URL does not name a database: end it with one number, as in redis://host:6379/0 "
            "(unix:///path?db=0), with special characters of the password percent-encoded"
        )


def _translate(error: Exception, where: str) -> StoreUnavailable:
    """An error of this package for an error of redis or of the system, in one line, with what to do next."""
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
    reason = _system_error(error) or text or type(error).__name__
    advice = "check whether it runs, and the URL of the store"
    return StoreUnavailable(f"Redis at {where} cannot be reached ({reason}): {advice}")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS below an error of redis-py."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _is_refused(error: BaseException | None) -> bool:
    """Whether no process listens where redis-py connects to."""
    while error is not None and not isinstance(error, ConnectionRefusedError):
        error = error.__cause__ or error.__context__
    return error is not None


def _system_error(error: BaseException | None) -> str:
    """What the operating system reports below an error of redis-py, as "Connection refused"; nothing if it is not
    the system's."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        error = error.__cause__ or error.__context__
    return ""
