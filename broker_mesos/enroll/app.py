"""The HTTP application of the enrolment server: ``POST /enroll``."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from broker_mesos import __version__
from broker_mesos.core.api.enrolment import ENROLL_PATH, MAX_ENROLMENT_BYTES, Enrolment
from broker_mesos.core.protocol.wire import first_problem
from broker_mesos.enroll.service import Enrolments, TooManyAttempts
from broker_mesos.errors import BrokerMesosError, InvalidInput
from broker_mesos.web.app import error_response, failure
from broker_mesos.web.guard import Guard
from broker_mesos.web.server import Hosts

BODY_TIMEOUT_SECONDS = 10.0
"""Timeout for the body of a request, in seconds."""


def build_app(enrolments: Enrolments, hosts: Hosts) -> FastAPI:
    """The application. ``hosts`` are the names under which it is addressed; None takes any."""
    app = FastAPI(title="broker_mesos enrolment", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, hosts=hosts, body_timeout=BODY_TIMEOUT_SECONDS, max_body=MAX_ENROLMENT_BYTES)

    @app.exception_handler(BrokerMesosError)
    async def known(_: Request, error: BrokerMesosError) -> JSONResponse:
        if isinstance(error, TooManyAttempts):
            response = failure(429, error.error_code, str(error))
            response.headers["Retry-After"] = str(error.wait)
            return response
        return error_response(error)

    @app.exception_handler(404)
    async def absent(request: Request, _: HTTPException) -> JSONResponse:
        return failure(404, "not_found", f"no such page: {request.url.path[:100]}; there is {ENROLL_PATH}")

    @app.exception_handler(405)
    async def method(request: Request, _: HTTPException) -> JSONResponse:
        return failure(405, "invalid", f"{request.method} is not for {request.url.path[:100]}: send POST {ENROLL_PATH}")

    @app.post(ENROLL_PATH)
    async def enroll(http: Request) -> JSONResponse:
        content_type = http.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            return failure(415, "invalid", "send the body as content-type application/json")
        enrolment = parse_enrolment(await http.body())
        address = http.client.host if http.client is not None else ""
        answer = await enrolments.enroll(enrolment, address)
        return JSONResponse({"type": "ANSWER", "data": answer.model_dump(mode="json")})

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    return app


def parse_enrolment(body: bytes) -> Enrolment:
    """The enrolment in a body. Raises InvalidInput, in one line without any secret."""
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InvalidInput('the body is no JSON object: send {"id": …, "password": …, "join_token": …}')
    try:
        return Enrolment.model_validate(content)
    except ValidationError as error:
        raise InvalidInput(first_problem(error)[:200]) from None
