"""The HTTP application: ``POST /api/v1`` takes every request; some requests also have their own GET. ``/ui/`` is
the dashboard."""

from __future__ import annotations

import gzip
import json
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from broker_mesos import __version__
from broker_mesos.bus.caller import Access
from broker_mesos.core.api.catalog import USER_REQUESTS
from broker_mesos.core.api.cells import CellPart
from broker_mesos.core.api.cluster import ClusterView, GetCluster
from broker_mesos.core.api.explain import Explain, Explanation
from broker_mesos.core.api.jobs import GetJob, JobView
from broker_mesos.core.api.paging import MAX_CURSOR
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.roles import ConfigView, GetConfig
from broker_mesos.core.api.state import GetState, StateView
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import REGISTRY, first_problem, wording
from broker_mesos.errors import BrokerMesosError, InvalidInput, InvalidMessage
from broker_mesos.operator.doctor import LEASE_ERROR
from broker_mesos.operator.gateway import TIMEOUT_SECONDS, OperatorApi
from broker_mesos.web.authentication import Authentication, CheckedApi
from broker_mesos.web.dashboard import add_views
from broker_mesos.web.describe import describe
from broker_mesos.web.files import add_files
from broker_mesos.web.guard import BODY_TIMEOUT_SECONDS, Guard
from broker_mesos.web.live import LiveModel
from broker_mesos.web.pages import add_pages
from broker_mesos.web.sessions import Sessions
from broker_mesos.web.shared_answers import SharedAnswers, accepted_age, accepting
from broker_mesos.web.sign_in import add_sign_in
from broker_mesos.web.stream import add_stream

MAX_TIMEOUT = 60.0
"""Maximum timeout that a client may set for its request, in seconds."""
MIN_COMPRESSED = 16_384
"""The size from which on an answer is compressed for who accepts that, in bytes."""


def error_response(error: BrokerMesosError) -> JSONResponse:
    """The HTTP response for an error of ``broker_mesos.errors``."""
    return failure(error.http_status, error.error_code, str(error))


def failure(status: int, code: str, message: str) -> JSONResponse:
    """The HTTP response for an error."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def build_app(
    gateway: OperatorApi,
    *,
    cluster: str | None = None,
    hosts: tuple[str, ...] | None = ("127.0.0.1", "localhost", "[::1]"),
    body_timeout: float = BODY_TIMEOUT_SECONDS,
    access: Access | None = None,
    sessions: Sessions | None = None,
    live: LiveModel | None = None,
) -> FastAPI:
    """The application. Requests that name another cluster than ``cluster`` are refused; None takes any. ``hosts`` are
    the names under which a browser may address this server; ``body_timeout`` is in seconds. With ``access``
    every request of the API needs a token of a principal of that policy, or a cookie of ``sessions``.
    ``live`` feeds the streams of updates."""
    app = FastAPI(
        title="broker_mesos operator API",
        version=__version__,
        # FastAPI's own pages load scripts from other servers: /docs is a plain page of this package.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, hosts=hosts, body_timeout=body_timeout)
    if access is not None:
        # What is added last is called first: the guard reads bodies, and those of strangers take no memory.
        sessions = sessions or Sessions(None, secure=False)
        app.add_middleware(Authentication, access=access, sessions=sessions)
        add_sign_in(app, access, sessions)
    shared = SharedAnswers(gateway)
    checked = shared if access is None else CheckedApi(shared)
    _errors(app)
    _api(app, checked, cluster)
    _views(app, checked)
    add_views(app, checked)
    add_files(app, checked)
    add_stream(app, checked, live or LiveModel(gateway), access)
    _health(app, gateway)
    add_pages(app)
    describe(app, tokens=access is not None)
    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(BrokerMesosError)
    async def known(_: HttpRequest, error: BrokerMesosError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: HttpRequest, error: RequestValidationError) -> JSONResponse:
        finding = error.errors()[0]
        return failure(400, "invalid", f"{finding['loc'][-1]}: {wording(finding['type'], finding.get('ctx') or {})}")

    @app.exception_handler(404)
    async def absent(request: HttpRequest, _: HTTPException) -> JSONResponse:
        return failure(404, "not_found", f"no such page: {request.url.path[:200]}; see /openapi.json")

    @app.exception_handler(405)
    async def method(request: HttpRequest, error: HTTPException) -> JSONResponse:
        refused = failure(405, "invalid", f"{request.method} is not for {request.url.path[:200]}; see /openapi.json")
        refused.headers.update(error.headers or {})  # Allow, with the methods that there are
        return refused


def _api(app: FastAPI, gateway: OperatorApi, cluster: str | None) -> None:
    @app.post("/api/v1", summary="Any request of the operator API")
    async def ask(http: HttpRequest) -> Response:
        content_type = http.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            # This also protects from pages of other sites: a browser sends JSON across origins only after this server
            # agrees.
            return failure(415, "invalid", "send the body as content-type application/json")
        meant = http.headers.get("bmesos-cluster")
        if cluster is not None and meant is not None and meant != cluster:
            raise InvalidInput(
                f"this is the cluster {cluster}, not {meant[:80]!r}: give the other one's --url, or no --cluster"
            )
        request = parse_request(await http.body())
        with accepting(accepted_age(http.headers.get("cache-control", ""))):
            part = await gateway.handle(request, _timeout(http))
        # The model is written as bytes directly: every CLI command and every wait uses this path.
        body = b'{"type":"ANSWER","data":' + part.model_dump_json().encode() + b"}"
        headers = {}
        if len(body) > MIN_COMPRESSED and "gzip" in http.headers.get("accept-encoding", ""):
            # The fastest level: of tables it leaves a fifth.
            body = gzip.compress(body, 1, mtime=0)
            headers = {"content-encoding": "gzip"}
        return Response(body, media_type="application/json", headers=headers)


def parse_request(body: bytes) -> Request:
    """The request in a body. Raises InvalidInput with a message of one line."""
    try:
        # As text: of bytes, json guesses other encodings too.
        content: Any = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise InvalidMessage('the body is not JSON: send {"type": "GET_JOBS"}') from None
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise InvalidMessage('the body names no type: send {"type": "GET_JOBS"}')
    name = content.pop("type")
    kind = USER_REQUESTS.get(name)
    if kind is None:
        what = "is not for users" if name in REGISTRY else "is unknown"
        raise InvalidMessage(f"type {name[:64]!r} {what}; there are {', '.join(USER_REQUESTS)}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InvalidMessage(f"{name}: {first_problem(error)}") from None


def _timeout(http: HttpRequest) -> float:
    text = http.headers.get("bmesos-timeout")
    try:
        seconds = TIMEOUT_SECONDS if text is None else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_TIMEOUT:
        raise InvalidInput(
            f"Bmesos-Timeout {(text or '')[:80]!r}: give seconds, more than 0 and at most {MAX_TIMEOUT:g}"
        )
    return seconds


def _views(app: FastAPI, gateway: OperatorApi) -> None:
    @app.get("/api/v1/cluster", response_model=ClusterView, summary="Masters, and who owns which cell")
    async def cluster() -> Part:
        return await gateway.handle(GetCluster())

    def part(name: CellPart, summary: str) -> None:
        @app.get(f"/api/v1/{name}", response_model=StateView, summary=summary, operation_id=name)
        async def view(
            limit: Annotated[int, Query(ge=0, le=2_000)] = 500,
            after: Annotated[str, Query(max_length=MAX_CURSOR, description="the `after` of the previous page")] = "",
            agent_id: str = "",
            framework_id: str = "",
            task_id: str = "",
        ) -> Part:
            ids = {"agent_id": agent_id, "framework_id": framework_id, "task_id": task_id}
            return await gateway.handle(GetState(parts=(name,), limit=limit, after=after, **ids))

    @app.get("/api/v1/config", response_model=ConfigView, summary="Policy, weights and quota")
    async def config() -> Part:
        return await gateway.handle(GetConfig())

    part("agents", "Agents with their resources")
    part("frameworks", "Frameworks over all cells")
    part("tasks", "Running tasks, and those that ended lately")
    part("offers", "Open offers")
    part("roles", "Roles over all cells")

    @app.get("/api/v1/jobs/{job_id}", response_model=JobView, summary="One job with a page of its tasks")
    async def job(
        job_id: str,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=0, le=1_000)] = 100,
    ) -> Part:
        try:
            request = GetJob(job_id=job_id, offset=offset, limit=limit)
        except ValidationError as error:
            raise InvalidInput(first_problem(error)) from None
        return await gateway.handle(request)

    @app.get("/api/v1/explain/{ident}", response_model=Explanation, summary="The reason why something waits")
    async def explain(ident: str, limit: Annotated[int, Query(ge=0, le=500)] = 20) -> Part:
        try:
            request = Explain(id=ident, limit=limit)
        except ValidationError as error:
            raise InvalidInput(first_problem(error)) from None
        return await gateway.handle(request)


def _health(app: FastAPI, gateway: OperatorApi) -> None:
    @app.get("/healthz", summary="This server answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", summary="Masters answer and own every cell: 503 until then")
    async def readyz() -> JSONResponse:
        # A master must answer, which it does while it consumes; and each cell must have an owner.
        try:
            cluster = await gateway.handle(GetCluster(), 2.0)
        except BrokerMesosError as error:
            return failure(503, "unavailable", str(error))
        assert isinstance(cluster, ClusterView)
        if idle := [cell.cell for cell in cluster.cells if not cell.owner or cell.age > LEASE_ERROR]:
            return failure(503, "unavailable", f"without an owner: cells {', '.join(map(str, idle[:20]))}")
        return JSONResponse({"status": "ready"})
