"""With a policy, the web server answers those who show a token, and only what they have a right to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import structlog.testing

from broker_mesos.bus.current_caller import current
from broker_mesos.core.api.access import AccessPolicy, parse_policy, token_digest
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.web import build_app
from tests.operator.fakes import FakeCluster

ANN, OLD = "bm1_aaaaaaaa_" + "a" * 43, "bm1_bbbbbbbb_" + "b" * 43


def entry(token: str, expires: str = "2100-01-01T00:00:00Z") -> dict[str, str]:
    return {"id": token[4:12], "sha256": token_digest(token), "expires": expires}


class Access:
    daemons = ()

    def __init__(self) -> None:
        self.policy: AccessPolicy = parse_policy(
            {
                "principal": {
                    "ann": {
                        "actions": ["view", "submit"],
                        "tokens": [entry(ANN), entry(OLD, "2020-01-01T00:00:00Z")],
                    }
                }
            }
        )


class Cluster(FakeCluster):
    """Notes who asks."""

    callers: list[str]

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        caller = current()
        self.callers = [*getattr(self, "callers", []), "nobody" if caller is None else caller.name]
        return await super().handle(request, timeout)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
async def http(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(cluster, access=Access()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_shows_who_asks(http: httpx.AsyncClient, cluster: Cluster) -> None:
    assert (await http.get("/api/v1/jobs", headers=bearer(ANN))).status_code == 200
    answer = await http.post("/api/v1", json={"type": "GET_JOBS"}, headers={"authorization": f"bearer {ANN}"})
    assert answer.status_code == 200
    assert cluster.callers == ["ann", "ann"] and current() is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer("x"),
        bearer(OLD),
        bearer(ANN[:-1] + "b"),
        bearer(f"{ANN} {ANN}"),
        {"Authorization": f"Basic {ANN}"},
        {"Authorization": ANN},
        {"X-Token": ANN},
    ],
    ids=str,
)
async def test_without_a_valid_token_nothing_is_answered(
    http: httpx.AsyncClient, cluster: Cluster, headers: dict[str, str]
) -> None:
    for answer in (
        await http.get(f"/api/v1/jobs?token={ANN}", headers=headers),
        await http.post("/api/v1", json={"type": "SUBMIT_JOB"}, headers=headers),
        await http.get("/api/v1/nothing", headers=headers),
    ):
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "denied"
        assert ANN not in answer.text and "\n" not in answer.json()["error"]["message"]
    assert not hasattr(cluster, "callers")


async def test_what_a_principal_may_not_is_denied_before_it_is_sent(http: httpx.AsyncClient, cluster: Cluster) -> None:
    answer = await http.post("/api/v1", json={"type": "SET_ROLES", "roles": {}}, headers=bearer(ANN))
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert error["code"] == "denied" and error["message"].startswith("'ann' has no right to roles (SET_ROLES)")
    assert not hasattr(cluster, "callers")


async def test_whether_it_is_ready_needs_no_token(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.get("/readyz")).status_code in (200, 503)
    assert (await http.get("/openapi.json")).status_code == 200


async def test_every_action_is_in_the_log_with_who_what_and_answer(http: httpx.AsyncClient) -> None:
    spec = {"command": {"arguments": ["true"]}}
    with structlog.testing.capture_logs() as logs:
        await http.post("/api/v1", json={"type": "SUBMIT_JOB", "job_id": "j", "spec": spec}, headers=bearer(ANN))
        await http.post("/api/v1", json={"type": "GET_JOBS"}, headers=bearer(ANN))
        await http.post("/api/v1", json={"type": "KILL_BY_ID", "id": "j"}, headers=bearer(ANN))
    lines = [
        (each["principal"], each["action"], each["on"], each["answer"]) for each in logs if each["event"] == "audit"
    ]
    assert lines == [("ann", "SUBMIT_JOB", "j", "ok"), ("ann", "KILL_BY_ID", "j", "denied")]
    assert ANN not in str(logs)
