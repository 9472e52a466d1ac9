"""Checks that every HTTP request must pass before any other code reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import TimedOut
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within
from broker_mesos.web.origin import origin_problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = get_logger(__name__)

BODY_TIMEOUT_SECONDS = 30.0
"""Timeout for the body of a request, in seconds."""


class Guard:
    """Refuses bodies that are too long, bodies that arrive too slowly, pages of other sites, and ``Host`` names that
    are not this server's.

    The last check keeps out a web page whose own name resolves to the loopback address: without tokens, a caller
    needs no right except to be on this machine. ``hosts`` None takes any name. The guard also answers when a request
    fails unexpectedly.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: tuple[str, ...] | None,
        body_timeout: float = BODY_TIMEOUT_SECONDS,
        max_body: int = MAX_BODY,
    ) -> None:
        """``body_timeout`` is in seconds, ``max_body`` in bytes."""
        self._app = app
        self._max_body = max_body
        self._body_timeout = body_timeout
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._hosts is not None and _name(headers.get(b"host", "")) not in self._hosts:
            await _refuse(send, 403, "this server answers to its own addresses only, such as 127.0.0.1")
            return
        # What a page of another site sends is refused whatever the body is: programs send no Origin.
        if problem := origin_problem(scope, required=False):
            await _refuse(send, 403, problem, "denied")
            return
        too_long = f"the body is too long: at most {self._max_body} bytes are allowed"
        length = headers.get(b"content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_body):
            await _refuse(send, 413, too_long)
            return
        # The whole body is read here, so that a body without a stated length is counted before it is parsed.
        body, more = bytearray(), True
        try:
            async with within(self._body_timeout):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._max_body:
                        await _refuse(send, 413, too_long)
                        return
        except TimeoutError:
            late = f"the body of the request did not come within {self._body_timeout:g} s"
            await _refuse(send, 408, late, TimedOut.error_code)
            return
        delivered = False

        async def once() -> Message:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        started = False

        async def send_and_record(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, once, send_and_record)
        except Exception:
            log.exception("request failed", path=scope["path"])
            if started:
                raise
            await _refuse(send, 500, "the request failed; see the log of this server", "failed")


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    name, colon, port = host.strip().lower().rpartition(":")
    return name if colon and port.isdecimal() else host.strip().lower()


async def _refuse(send: Send, status: int, message: str, code: str = "invalid") -> None:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # A rest of the body that was not read would be taken for the next request.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
