"""Every action of a person is one line in a log, whichever request and route it comes by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog.testing
from fastapi.routing import APIRoute

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.access import ACTIONS, parse_policy, token_digest
from broker_mesos.core.api.catalog import REQUESTS, USER_REQUESTS
from broker_mesos.core.api.exec import UseExec
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import Queue, QueueKind, operator_master
from broker_mesos.errors import Denied
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.web.app import build_app

CLOCK = SystemClock()
TOKENS = {name: f"bm1_{name:0<8}_" + "x" * 43 for name in ("all", "none")}

VALUES: dict[str, Any] = {
    "prefix": "x",
    "name": "x",
    "agent_id": "agent-1",
    "agent_ids": ["agent-1"],
    "agents": {"agent-1": ["j1.0.1"]},
    "framework_id": "f1",
    "id": "j1",
    "job_id": "j1",
    "task_id": "j1.0.1",
    "exec_id": "0" * 32,
    "argv": ["true"],
    "letter_id": "l1",
    "volume_id": "v1",
    "role": "eng",
    "roles": {"eng": {"weight": 2.0}},
    "resources": "cpus:1",
    "size": 10,
    "start": 1.0,
    "which": {"user": "ann"},
    "spec": {"command": {"arguments": ["true"]}},
    "shape": {"resources": "cpus:1"},
}
"""Values of the fields that a request must have."""


class Access:
    """A principal with every right, and one with none."""

    daemons = ()
    policy = parse_policy(
        {
            "principal": {
                name: {
                    "actions": [each for each in ACTIONS if each != "kill:own"] if name == "all" else [],
                    "tokens": [{"id": token[4:12], "sha256": token_digest(token), "expires": "2100-01-01T00:00:00Z"}],
                }
                for name, token in TOKENS.items()
            }
        }
    )


class Answers:
    """An operator API that answers everything with nothing."""

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        return Part()


def sample(kind: type[Request]) -> dict[str, Any]:
    return {name: VALUES[name] for name, field in kind.model_fields.items() if field.is_required()}


def acts(kind: type[Request]) -> bool:
    # A session is in the log with its start, and not with each of its requests, which come with every key.
    return kind.RIGHT not in (None, Right.VIEW) and kind is not UseExec


def lines(logs: list[Any]) -> Iterator[tuple[str, str, str]]:
    for each in logs:
        if each["event"] == "audit":
            assert each["on"], each
            yield each["principal"], each["action"], each["answer"]


async def test_every_request_over_http_that_acts_or_is_denied_is_in_the_log() -> None:
    transport = httpx.ASGITransport(build_app(Answers(), access=Access()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        for name, kind in USER_REQUESTS.items():
            body = {"type": name, **sample(kind)}
            for who, token in TOKENS.items():
                with structlog.testing.capture_logs() as logs:
                    answer = await http.post("/api/v1", json=body, headers={"Authorization": f"Bearer {token}"})
                denied = who == "none" and kind.RIGHT is not None
                assert answer.status_code == (403 if denied else 200), (name, answer.text)
                recorded = [(who, name, "denied" if denied else "ok")] if denied or acts(kind) else []
                assert list(lines(logs)) == recorded, name


async def test_no_route_passes_the_check_by() -> None:
    app = build_app(Answers(), access=Access())
    transport = httpx.ASGITransport(app)
    routes = [each for each in app.routes if isinstance(each, APIRoute)]
    open_to_all = {route.path for route in routes if not route.path.startswith("/api/")} | {
        each.path for each in app.routes if not isinstance(each, APIRoute)
    }
    assert open_to_all == {"/", "/ui", "/ui/{path:path}", "/healthz", "/readyz", "/openapi.json", "/docs"}
    headers = {"Authorization": f"Bearer {TOKENS['none']}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        for route in routes:
            # Whoever has a token may ask who it is.
            if "GET" in route.methods and route.path not in {*open_to_all, "/api/v1/whoami"}:
                with structlog.testing.capture_logs() as logs:
                    path = re.sub(r"\{.*?\}", "x", route.path)
                    answer = await http.get(path, headers=headers, params={"prefix": "x", "path": "x"})
                assert answer.status_code == 403, route.path
                assert [(who, how) for who, _, how in lines(logs)] == [("none", "denied")], route.path


async def test_every_request_over_rabbitmq_that_acts_or_is_denied_is_in_the_log() -> None:
    broker = MemoryBroker(CLOCK)
    buses = {name: MemoryBus(broker, user=name, verifies=name == "master") for name in ("master", *TOKENS)}
    for bus in buses.values():
        await bus.open(5)

    async def answer(request: Request) -> Part:
        return request.ANSWER.model_construct()

    queue = Queue(QueueKind.OPERATOR_MASTER)
    responder = Responder(buses["master"], queue, answer, CLOCK, new_id, access=Access())
    serving = asyncio.create_task(responder.run())
    await responder.consuming.wait()
    requesters = {name: Requester(buses[name], CLOCK, new_id) for name in TOKENS}
    # The gateway's requests become others on their way to a daemon, and only masters send those that users may not.
    sent = [kind for kind in REQUESTS.values() if kind.FOR_USERS and kind.ROUTE is not Route.GATEWAY]
    for kind in sent:
        for who, requester in requesters.items():
            denied = who == "none" and kind.RIGHT is not None
            with structlog.testing.capture_logs() as logs:
                try:
                    await requester.request(operator_master(), kind.model_validate(sample(kind)), 10)
                except Denied:
                    assert denied, kind.TYPE
                except Exception:  # an answer without its fields cannot be read, which does not matter here
                    pass
            recorded = [(who, kind.TYPE, "denied" if denied else "ok")] if denied or acts(kind) else []
            assert list(lines(logs)) == recorded, kind.TYPE
    for requester in requesters.values():
        await requester.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    for bus in buses.values():
        await bus.close()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {'y' * 56}"}])
async def test_a_flood_of_wrong_tokens_is_one_line(headers: dict[str, str]) -> None:
    transport = httpx.ASGITransport(build_app(Answers(), access=Access()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        with structlog.testing.capture_logs() as logs:
            for _ in range(20):
                assert (await http.get("/api/v1/jobs", headers=headers)).status_code == 401
    assert [each["event"] for each in logs] == ["a request without a valid token is refused"]
    assert logs[0]["path"] == "/api/v1/jobs" and "token" in logs[0]["reason"]
