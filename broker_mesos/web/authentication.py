"""Finds out who sends an HTTP request, by its token, and checks the rights of that principal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker_mesos.bus.caller import Access, audit
from broker_mesos.bus.current_caller import answering, current
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.errors import Denied
from broker_mesos.operator.gateway import TIMEOUT_SECONDS, OperatorApi
from broker_mesos.web.connections import RateLimitedLog
from broker_mesos.web.origin import origin_problem
from broker_mesos.web.sessions import Sessions

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

API = "/api/"
"""The beginning of the paths that need a token."""


SESSION = "/api/v1/session"
"""Where a browser begins and ends its session."""


VALID = "bmesos.valid"
"""The entry of a request's scope with a function that returns whether its token, or its session, is valid still. It is
for answers that take long."""


class Authentication:
    """Refuses requests of the API that have neither a valid token in the header ``Authorization: Bearer …`` nor the
    cookie of a session. A token in the URL is not looked at: it would be in the logs of every proxy. The body is not
    read before that."""

    def __init__(self, app: ASGIApp, access: Access, sessions: Sessions, now: Callable[[], float] = time.time) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions
        self._now = now
        self._refused = RateLimitedLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(API):
            await self._app(scope, receive, send)
            return
        cookie = ""
        try:
            token = bearer_token(scope)
            if not token:
                cookie = self._sessions.find(_headers(scope, b"cookie"))
                if not cookie:
                    raise Denied("give a token: set BMESOS_TOKEN, or send the header Authorization: Bearer TOKEN")
            name = self._principal(token, cookie)
        except Denied as error:
            await self._refuse(scope, send, str(error), forget=bool(cookie))
            return
        if cookie and (problem := origin_problem(scope, required=True)):
            await _refuse(send, problem, status=403)
            return
        scope[VALID] = lambda: self._is_valid(token, cookie, name)
        with answering(self._access.policy.caller(name)):
            await self._app(scope, receive, send)

    def _principal(self, token: str, cookie: str) -> str:
        """The principal of a token, or else of the cookie of a session. Raises Denied."""
        policy = self._access.policy
        if token:
            return policy.authenticate(token, self._now())
        return self._sessions.open(cookie, policy, self._now()).principal

    def _is_valid(self, token: str, cookie: str, name: str) -> bool:
        try:
            return self._principal(token, cookie) == name
        except Denied:
            return False

    async def _refuse(self, scope: Scope, send: Send, problem: str, *, forget: bool) -> None:
        """``forget``: the browser is to delete its cookie."""
        client = scope.get("client")
        self._refused.warning(
            "a request without a valid token is refused",
            reason=problem,
            path=scope["path"][:200],
            client="" if client is None else client[0],
        )
        await _refuse(send, problem, cookie=self._sessions.no_cookie() if forget else "")


def bearer_token(scope: Scope) -> str:
    """The token in the header ``Authorization``; empty if there is none, or several."""
    given = _headers(scope, b"authorization")
    scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _headers(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted]


class CheckedApi:
    """The operator API for the principal whose request is being answered."""

    def __init__(self, gateway: OperatorApi) -> None:
        self._gateway = gateway

    async def handle(self, request: Request, timeout: float = TIMEOUT_SECONDS) -> Part:
        """Answer a request if its principal has the right to. Raises Denied if not."""
        caller = current()
        error: BaseException | None = None
        try:
            if caller is None:
                raise Denied(f"{request.TYPE} came from nobody")
            caller.check(request)
            return await self._gateway.handle(request, timeout)
        except BaseException as raised:
            error = raised
            raise
        finally:
            audit(caller, request, error)


async def _refuse(send: Send, message: str, *, status: int = 401, cookie: str = "") -> None:
    body = json.dumps({"error": {"code": Denied.error_code, "message": message}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # The body of the request is not read, and would be taken for the next one.
        (b"connection", b"close"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if cookie:
        headers.append((b"set-cookie", cookie.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
