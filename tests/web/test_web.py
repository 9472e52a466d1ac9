from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from broker_mesos.core.api.catalog import USER_REQUESTS
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.errors import BrokerMesosError, Conflict, InvalidInput, TimedOut, Unavailable
from broker_mesos.web import WebServer, build_app
from broker_mesos.web.address import checked_host
from tests.operator.fakes import FakeCluster

SPEC = {"command": {"arguments": ["true"]}}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
async def http(cluster: FakeCluster) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(cluster))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as client:
        yield client


async def test_a_request_is_answered(http: httpx.AsyncClient, cluster: FakeCluster) -> None:
    answer = await http.post("/api/v1", json={"type": "SUBMIT_JOB", "job_id": "j", "spec": SPEC})
    assert answer.status_code == 200
    assert answer.json()["data"]["job_id"] == "j" and answer.json()["type"] == "ANSWER"
    assert list(cluster.specs) == ["j"]
    await http.post("/api/v1", json={"type": "GET_JOBS"}, headers={"Bmesos-Timeout": "2.5"})
    assert cluster.timeouts == [5.0, 2.5]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "names no type"),
        ("[" * 100_000, "not JSON"),
        ('{"type": "HIRE"}', "'HIRE' is unknown; there are ACTIVATE_AGENTS"),
        ('{"type": "LAUNCH_TASKS"}', "'LAUNCH_TASKS' is not for users"),
        ('{"type": "GET_CELL"}', "'GET_CELL' is not for users"),
        ('{"type": "GET_JOBS", "limit": 0}', "GET_JOBS: limit: "),
        ('{"type": "GET_JOB", "job_id": "../x"}', "GET_JOB: job_id: "),
    ],
)
async def test_a_bad_body_is_refused_in_one_line(body: str, message: str, http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/v1", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid" and message in error["message"] and "\n" not in error["message"]


@pytest.mark.parametrize("seconds", ["x", "0", "-1", "nan", "61"])
async def test_a_bad_time_limit_is_refused(seconds: str, http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/v1", json={"type": "GET_JOBS"}, headers={"Bmesos-Timeout": seconds})
    assert answer.status_code == 400 and "Bmesos-Timeout" in answer.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput("i"), 400, "invalid"),
        (Conflict("c"), 409, "conflict"),
        (Unavailable("u"), 503, "unavailable"),
        (TimedOut("t"), 504, "timed_out"),
        (BrokerMesosError("f"), 500, "failed"),
    ],
)
async def test_every_error_has_its_status(
    error: Exception, status: int, code: str, http: httpx.AsyncClient, cluster: FakeCluster
) -> None:
    cluster.failing["GET_JOBS"] = error
    answer = await http.post("/api/v1", json={"type": "GET_JOBS"})
    assert answer.status_code == status
    assert answer.json() == {"error": {"code": code, "message": str(error)}}


async def test_an_unexpected_error_shows_nothing_of_itself(http: httpx.AsyncClient, cluster: FakeCluster) -> None:
    cluster.failing["GET_JOBS"] = RuntimeError("password")
    for answer in (await http.post("/api/v1", json={"type": "GET_JOBS"}), await http.get("/api/v1/jobs")):
        assert answer.status_code == 500 and answer.json()["error"]["code"] == "failed"
        assert "password" not in answer.text


async def test_views_have_their_own_pages(http: httpx.AsyncClient, cluster: FakeCluster) -> None:
    await http.post("/api/v1", json={"type": "SUBMIT_JOB", "job_id": "j", "spec": SPEC})
    assert (await http.get("/api/v1/cluster")).json()["cells"][0]["term"] == 42
    assert (await http.get("/api/v1/agents")).json()["agents"][0]["total"].startswith("cpus:4")
    for name in ("frameworks", "tasks", "offers", "roles"):
        answer = await http.get(f"/api/v1/{name}")
        assert answer.status_code == 200, name
    assert (await http.get("/api/v1/jobs", params={"limit": 1})).json()["total"] == 1
    assert (await http.get("/api/v1/jobs/j")).json()["tasks"][0]["task_id"] == "j.0.1"
    assert (await http.get("/api/v1/jobs/absent")).status_code == 404
    assert (await http.get("/api/v1/jobs/..bad")).status_code == 400
    assert (await http.get("/api/v1/jobs", params={"limit": "x"})).status_code == 400


async def test_unknown_pages_and_methods_are_json_errors(http: httpx.AsyncClient) -> None:
    assert (await http.get("/nope")).json()["error"]["code"] == "not_found"
    assert (await http.delete("/api/v1/jobs")).status_code == 405


async def test_health_is_immediate_and_readiness_needs_an_answer(http: httpx.AsyncClient, cluster: FakeCluster) -> None:
    cluster.unowned = 0
    assert (await http.get("/readyz")).status_code == 200
    cluster.unowned = 1
    answer = await http.get("/readyz")
    assert answer.status_code == 503 and "cells 1" in answer.json()["error"]["message"]
    cluster.unowned = 0
    cluster.failing["GET_CLUSTER"] = Unavailable("nobody answers")
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/healthz")).json()["status"] == "ok"


async def test_the_description_knows_every_request(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    schemas = described["components"]["schemas"]
    kinds = described["paths"]["/api/v1"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    names = [kind["$ref"].rsplit("/", 1)[1] for kind in kinds]
    assert {schemas[name]["properties"]["type"]["const"] for name in names} >= {"SUBMIT_JOB", "GET_STATE"}
    for reference in set(_references(described)):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_the_description_has_a_schema_for_every_answer(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    responses = described["paths"]["/api/v1"]["post"]["responses"]
    answer = responses["200"]["content"]["application/json"]["schema"]["properties"]["data"]["anyOf"]
    named = {each["$ref"].rpartition("/")[2] for each in answer}
    assert named == {request.ANSWER.__name__ for request in USER_REQUESTS.values()}
    assert {"400", "404", "409", "500", "503", "504"} <= responses.keys()


async def test_the_page_of_the_api_needs_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert all(name in page.text for name in USER_REQUESTS) and "curl " in page.text
    assert "src=" not in page.text and "https://" not in page.text


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [each for key, each in value.items() if key == "$ref"]
        return own + [found for each in value.values() for found in _references(each)]
    if isinstance(value, list):
        return [found for each in value for found in _references(each)]
    return []


async def test_a_page_of_another_site_gets_nothing(http: httpx.AsyncClient, cluster: FakeCluster) -> None:
    body = json.dumps({"type": "GET_JOBS"})
    plain = await http.post("/api/v1", content=body, headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    rebound = await http.post("/api/v1", json={"type": "GET_JOBS"}, headers={"host": "evil.example:5050"})
    assert rebound.status_code == 403
    assert cluster.asked == []
    assert (await http.get("/healthz", headers={"host": "localhost"})).status_code == 200


async def test_a_body_over_one_mebibyte_is_refused(http: httpx.AsyncClient, cluster: FakeCluster) -> None:
    body = b" " * (1 << 20) + b"{}"
    headers = {"content-type": "application/json"}
    assert (await http.post("/api/v1", content=body, headers=headers)).status_code == 413

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65_536

    assert (await http.post("/api/v1", content=pieces(), headers=headers)).status_code == 413
    assert cluster.asked == []


async def test_a_server_takes_a_free_port_and_ends_when_cancelled(cluster: FakeCluster) -> None:
    server = WebServer(cluster, port=0)
    task = asyncio.create_task(server.run())
    await asyncio.wait_for(server.ready.wait(), 10)
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/healthz")).status_code == 200
        second = WebServer(cluster, port=server.port)
        with pytest.raises(BrokerMesosError, match=f"port {server.port} on 127.0.0.1 is in use"):
            await second.run()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


async def test_a_request_under_way_does_not_hold_up_the_end(cluster: FakeCluster) -> None:
    begun = asyncio.Event()

    class Slow(FakeCluster):
        async def handle(self, request: Request, timeout: float = 5.0) -> Part:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

    server = WebServer(Slow(), port=0)
    task = asyncio.create_task(server.run())
    await asyncio.wait_for(server.ready.wait(), 10)
    async with httpx.AsyncClient(base_url=server.url) as http:
        asking = asyncio.create_task(http.get("/api/v1/jobs"))
        await asyncio.wait_for(begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("host", ["example.com", "", "127.1", "x" * 200])
def test_only_an_address_is_served(host: str) -> None:
    with pytest.raises(InvalidInput, match="is no address"):
        WebServer(FakeCluster(), host)


def test_loopback_has_several_names() -> None:
    assert [checked_host(host) for host in ("localhost", "127.0.0.2", "[::1]")] == [
        "127.0.0.1",
        "127.0.0.2",
        "::1",
    ]
