"""``/api/v1/session``: a browser begins its session with a token, and ends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from broker_mesos.bus.caller import Access
from broker_mesos.core.model.part import Part
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.logs import get_logger
from broker_mesos.web.authentication import SESSION, bearer_token
from broker_mesos.web.sessions import Sessions

log = get_logger(__name__)


class SessionView(Part):
    """A session that has begun."""

    name: str
    """The principal."""
    ends: float
    """When it ends at the latest, in seconds since the epoch."""


def add_sign_in(app: FastAPI, access: Access, sessions: Sessions, now: Callable[[], float] = time.time) -> None:
    """Add the requests by which browsers begin and end sessions. ``now`` is in seconds since the epoch."""

    @app.post(SESSION, response_model=SessionView, summary="Begin a session: the cookie stands for the token")
    async def begin(http: HttpRequest) -> JSONResponse:
        token = bearer_token(http.scope)
        if not token:
            raise InvalidInput("a session begins with a token: send the header Authorization: Bearer TOKEN")
        session = sessions.sign_in(token, access.policy, now())
        log.info("audit", principal=session.principal, action="SIGN_IN", on=session.token_id, answer="ok")
        view = SessionView(name=session.principal, ends=session.ends)
        return JSONResponse(view.model_dump(), headers={"Set-Cookie": sessions.cookie(session, now())})

    @app.delete(SESSION, summary="End the session of this browser")
    async def end() -> JSONResponse:
        return JSONResponse({}, headers={"Set-Cookie": sessions.no_cookie()})
