"""Serves an application over HTTP in the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import uvicorn

from broker_mesos.bus.caller import Access
from broker_mesos.errors import BrokerMesosError
from broker_mesos.operator.gateway import OperatorApi
from broker_mesos.ports.bus import Bus
from broker_mesos.runtime.timeouts import within
from broker_mesos.runtime.tls import ServerFiles, reload_server, server_context
from broker_mesos.web.address import bracketed, checked_host, is_any
from broker_mesos.web.app import build_app
from broker_mesos.web.connections import (
    HEAD_TIMEOUT_SECONDS,
    BoundedProtocol,
    limit_descriptor_errors,
    max_connections,
)
from broker_mesos.web.guard import BODY_TIMEOUT_SECONDS
from broker_mesos.web.live import LiveModel
from broker_mesos.web.sessions import Sessions
from broker_mesos.web.tls_listener import TlsListener

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BACKLOG = 128
"""Maximum number of connections that wait to be accepted."""
_GRACE = 1
"""Time in which requests under way may end after the server was stopped, in seconds."""


Hosts = tuple[str, ...] | None
"""The names in Host headers that are answered; None answers any."""


class HttpServer:
    """A server of HTTP or, with TLS, of HTTPS. Without TLS it listens on a loopback address only, unless plaintext is
    allowed: a network would show tokens, or, where there are none, let everybody do everything. Port 0 takes a free
    port."""

    def __init__(
        self,
        app: Callable[[Hosts], ASGIApp],
        host: str,
        port: int,
        *,
        limit: int | None = None,
        head_timeout: float = HEAD_TIMEOUT_SECONDS,
        files: ServerFiles | None = None,
        insecure_plaintext: bool = False,
    ) -> None:
        """``app`` builds the application. ``limit`` is the maximum number of connections; None derives it from the
        limit of file descriptors. The timeout for the head of a request is in seconds. ``files`` are those for HTTPS;
        without them it is plain HTTP. Raises InvalidInput for an address, or for files, that cannot be used."""
        self._app = app
        self._limit = max_connections() if limit is None else limit
        self._head_timeout = head_timeout
        self.host = checked_host(host, encrypted=files is not None, insecure=insecure_plaintext)
        self._files = files
        self._context = None if files is None else server_context(files)
        self.port = port
        """The actual port, once ``ready`` is set."""
        self.ready = asyncio.Event()
        self._listener: socket.socket | None = None
        self.on_stop: Callable[[], None] = lambda: None
        """Called before requests under way are waited for at the end."""
        self.on_policy: Callable[[], None] = lambda: None
        """To be called after the access policy was read again."""

    @property
    def url(self) -> str:
        """The URL for clients."""
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://{bracketed(self.host)}:{self.port}"

    def reload_certificate(self) -> None:
        """Read the files for HTTPS again; connections from now on use them. Raises InvalidInput, and then those that
        were read before stay in use."""
        if self._context is not None and self._files is not None:
            reload_server(self._context, self._files)

    def listen(self) -> None:
        """Take the port: connections wait from now on until ``run`` accepts them. Raises BrokerMesosError, in one
        line, when the port is taken."""
        self._listener = self._bind()
        self.port = self._listener.getsockname()[1]

    def close(self) -> None:
        """Give the port back. Idempotent."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def run(self) -> None:
        """Serve until cancelled; listens before, unless it does already."""
        if self._listener is None:
            self.listen()
        listener = self._listener
        assert listener is not None
        try:
            config = uvicorn.Config(
                self._app(self._hosts()),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                http=_bounded(self._limit, self._head_timeout),
                # asyncio accepts this number of connections at once, and reports a failure to accept as often.
                backlog=BACKLOG,
                timeout_graceful_shutdown=_GRACE,
            )
            config.load()
            # uvicorn would make a context of its own from the files, which nobody could reload.
            config.ssl = self._context
            server = _Server(config, self.ready, self._head_timeout)
            limit_descriptor_errors(asyncio.get_running_loop())
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="web")
            try:
                await asyncio.shield(serving)
            except asyncio.CancelledError:
                self.on_stop()
                server.should_exit = True
                with contextlib.suppress(TimeoutError):
                    async with within(_GRACE + 1):
                        await serving
                raise
        finally:
            self.ready.clear()
            self.close()

    def _hosts(self) -> Hosts:
        """The names in Host headers that are answered. With TLS a browser has compared the name with
        the certificate, so that no page of another site has this server's address under its own name."""
        if self._context is not None or is_any(self.host):
            return None
        return ("localhost", "127.0.0.1", "[::1]", bracketed(self.host))

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # IPPROTO_TCP is set since asyncio disables Nagle's algorithm for such sockets only; otherwise answers take 40
        # ms longer.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            listener.close()
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise BrokerMesosError(
                    f"port {self.port} on {self.host} is in use: stop the program that uses it, or give another --port"
                ) from None
            raise BrokerMesosError(f"cannot listen at {self.host}:{self.port}: {error}") from None
        listener.setblocking(False)
        return listener


class WebServer(HttpServer):
    """The HTTP server of the operator API. Without tokens whoever can send requests may do everything."""

    def __init__(
        self,
        gateway: OperatorApi,
        host: str = "127.0.0.1",
        port: int = 5050,
        *,
        cluster: str | None = None,
        limit: int | None = None,
        head_timeout: float = HEAD_TIMEOUT_SECONDS,
        body_timeout: float = BODY_TIMEOUT_SECONDS,
        files: ServerFiles | None = None,
        insecure_plaintext: bool = False,
        access: Access | None = None,
        session_key: str | None = None,
        bus: Bus | None = None,
    ) -> None:
        """Requests that name another cluster than ``cluster`` are refused; None takes any. ``body_timeout`` is in
        seconds. With ``access`` every request needs a token of a principal of that policy, or the cookie of a session
        that is signed with ``session_key``; None makes a key that no other server has. Streams
        of updates have changes of jobs if there is a ``bus``. The other arguments are those of
        an ``HttpServer``. Raises InvalidInput for a key that is too short."""
        live = LiveModel(gateway, bus)
        sessions = None if access is None else Sessions(session_key, secure=files is not None)

        def app(hosts: Hosts) -> ASGIApp:
            return build_app(
                gateway,
                cluster=cluster,
                hosts=hosts,
                body_timeout=body_timeout,
                access=access,
                sessions=sessions,
                live=live,
            )

        super().__init__(
            app,
            host,
            port,
            limit=limit,
            head_timeout=head_timeout,
            files=files,
            insecure_plaintext=insecure_plaintext,
        )
        self.on_stop, self.on_policy = live.stop, live.policy_changed


def _bounded(limit: int, head_timeout: float) -> type[BoundedProtocol]:
    return type("Bounded", (BoundedProtocol,), {"limit": limit, "head_timeout": head_timeout})


class _Server(uvicorn.Server):
    """A server that leaves signals to the daemon that it runs in, and sets ``ready`` when it answers."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event, handshake_timeout: float) -> None:
        """``handshake_timeout`` is that of TLS, in seconds."""
        super().__init__(config)
        self._ready = ready
        self._handshake_timeout = handshake_timeout

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is None:
            await super().startup(sockets)
        else:
            # uvicorn bounds neither the time of a handshake nor the number of those that have not ended: idle
            # connections could take all file descriptors.
            loop: Any = asyncio.get_running_loop()
            loop.create_server = self._tls_listener
            try:
                await super().startup(sockets)
            finally:
                del loop.create_server
        self._ready.set()

    async def _tls_listener(
        self, create_protocol: Any, *, sock: socket.socket, ssl: ssl.SSLContext, **_: object
    ) -> TlsListener:
        return TlsListener(create_protocol, sock, ssl, self._handshake_timeout)
