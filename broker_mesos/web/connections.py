"""Limits of HTTP connections: their number, and the time in which the head of a request must arrive."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

MAX_CONNECTIONS = 1_000
"""Maximum number of connections at once, if there are enough file descriptors."""
SPARE_DESCRIPTORS = 64
"""Number of file descriptors that stay free for other uses of this process."""
HEAD_TIMEOUT_SECONDS = 10.0
"""Time from the first byte of a request, or from the begin of its connection, to the end of its head, in seconds."""
LOG_INTERVAL_SECONDS = 10.0
"""Minimum time between two log lines about refused connections, in seconds."""


def max_connections() -> int:
    """The maximum number of connections of this process, from its limit of file descriptors. Each connection takes
    one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft < 0 else max(1, min(MAX_CONNECTIONS, (soft - SPARE_DESCRIPTORS) // 2))


class RateLimitedLog:
    """Writes a line at most once in an interval, with the number of events since the previous line."""

    def __init__(self) -> None:
        self._events = 0
        self._next = 0.0

    def warning(self, event: str, **fields: Any) -> None:
        """Count an event, and write a line if the interval is over."""
        self._events += 1
        now = time.monotonic()
        if now >= self._next:
            log.warning(event, times=self._events, **fields)
            self._events, self._next = 0, now + LOG_INTERVAL_SECONDS


REFUSED = RateLimitedLog()
NO_DESCRIPTORS = RateLimitedLog()


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol of a connection, with limits that it lacks: its limit of concurrency counts requests only
    after they are read, and a request that is never completed stays for ever."""

    limit: int = MAX_CONNECTIONS
    head_timeout: float = HEAD_TIMEOUT_SECONDS
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limit:
            REFUSED.warning("connection refused: there are too many", limit=self.limit)
            self._refuse(503, "unavailable", f"this server has {self.limit} connections; try again in a moment")
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            if self.conn.trailing_data[0]:
                self._await_head()
        else:
            self._head_arrived()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._too_slow)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self._refuse(408, "timed_out", f"the head of the request did not come within {self.head_timeout:g} s")

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": {"code": code, "message": message}}).encode()
        head = (
            f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def limit_descriptor_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log a lack of file descriptors as one line per interval: asyncio would log a traceback for each attempt to
    accept a connection, thousands per second."""
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "out of system resource" in str(context.get("message", "")):
            NO_DESCRIPTORS.warning(
                "no connection can be accepted: out of descriptors or memory", error=str(context.get("exception"))
            )
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
