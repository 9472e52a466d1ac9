"""Browsers sign in with a token and have a cookie from then on, which other sites and other servers cannot use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from broker_mesos.core.api.access import parse_policy
from broker_mesos.errors import Denied, InvalidInput, Unavailable
from broker_mesos.web import build_app, stream
from broker_mesos.web.live import LiveModel
from broker_mesos.web.sessions import SESSION_SECONDS, Sessions
from tests.operator.fakes import FakeCluster
from tests.web.test_authentication import ANN, OLD, Access, Cluster, bearer

KEY = "k" * 32
SAME = {"Origin": "http://127.0.0.1:5050"}
NOW = 1_800_000_000.0
PATIENCE = 90.0


class Site:
    def __init__(self, key: str = KEY, *, secure: bool = False) -> None:
        self.cluster, self.access = Cluster(), Access()
        self.live = LiveModel(self.cluster)
        self.app = build_app(self.cluster, access=self.access, sessions=Sessions(key, secure=secure), live=self.live)

    def browser(self, cookies: httpx.Cookies | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1:5050", cookies=cookies
        )


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def signed_in(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.browser() as browser:
        answer = await browser.post("/api/v1/session", headers=bearer(ANN) | SAME)
        assert answer.status_code == 200 and answer.json()["name"] == "ann"
        yield browser


async def test_a_session_stands_for_its_token(signed_in: httpx.AsyncClient, site: Site) -> None:
    assert (await signed_in.get("/api/v1/jobs")).status_code == 200
    assert (await signed_in.post("/api/v1", json={"type": "GET_JOBS"}, headers=SAME)).status_code == 200
    denied = await signed_in.post("/api/v1", json={"type": "DRAIN_AGENTS", "agent_ids": ["a"]}, headers=SAME)
    assert denied.status_code == 403 and "'ann' has no right to drain" in denied.json()["error"]["message"]
    assert site.cluster.callers == ["ann", "ann"]


@pytest.mark.parametrize(
    ("secure", "parts"),
    [
        (False, {"bmesos", "Path=/", "HttpOnly", "SameSite=Strict"}),
        (True, {"__Host-bmesos", "Path=/", "HttpOnly", "SameSite=Strict", "Secure"}),
    ],
)
async def test_no_script_and_no_other_site_has_the_cookie(secure: bool, parts: set[str]) -> None:
    async with Site(secure=secure).browser() as browser:
        header = (await browser.post("/api/v1/session", headers=bearer(ANN))).headers["set-cookie"]
    first, *rest = [part.strip() for part in header.split(";")]
    ages = [part for part in rest if part.startswith("Max-Age=")]
    assert {first.partition("=")[0], *rest} - {*ages} == parts
    assert 0 < int(ages[0].partition("=")[2]) <= SESSION_SECONDS and ANN not in header


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:5051"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_page_of_another_site_can_change_nothing_with_a_session(
    signed_in: httpx.AsyncClient, site: Site, method: str, headers: dict[str, str]
) -> None:
    for path in ("/api/v1", "/api/v1/session"):
        body = b'{"type": "KILL_BY_ID", "id": "j"}'
        answer = await signed_in.request(
            method, path, content=body, headers=headers | {"content-type": "application/json"}
        )
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "denied"
        assert "set-cookie" not in answer.headers
    assert not hasattr(site.cluster, "callers")


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_page_of_another_site_can_change_nothing_where_no_token_is_needed(headers: dict[str, str]) -> None:
    cluster = FakeCluster()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(cluster)), base_url="http://127.0.0.1:5050"
    ) as client:
        for method in ("POST", "DELETE"):
            answer = await client.request(
                method, "/api/v1", content=b'{"type": "GET_JOBS"}', headers=headers | {"content-type": "text/plain"}
            )
            assert answer.status_code == 403
        assert (await client.post("/api/v1", json={"type": "GET_JOBS"}, headers=SAME)).status_code == 200
    assert len(cluster.asked) == 1


async def test_a_revoked_token_ends_its_sessions_with_the_next_request(
    signed_in: httpx.AsyncClient, site: Site
) -> None:
    policy = site.access.policy
    ann = policy.principal["ann"]
    left = tuple(entry for entry in ann.tokens if entry.id != "aaaaaaaa")
    site.access.policy = policy.model_copy(update={"principal": {"ann": ann.model_copy(update={"tokens": left})}})
    answer = await signed_in.get("/api/v1/jobs")
    assert answer.status_code == 401 and "sign in again" in answer.json()["error"]["message"]
    assert "Max-Age=0" in answer.headers["set-cookie"]


@pytest.mark.parametrize("by", ["token", "session"])
async def test_a_revoked_token_ends_the_streams_that_were_opened_with_it_at_once(
    by: str, signed_in: httpx.AsyncClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 1e9)
    monkeypatch.setattr(stream, "COMMENT_SECONDS", 1e9)
    site.cluster.failing["GET_EVENTS"] = Unavailable("a stream without events")
    headers = {}
    if by == "token":
        signed_in.cookies.clear()
        headers = bearer(ANN)
    reading = asyncio.create_task(signed_in.get("/api/v1/stream", headers=headers))
    while not site.live.viewers:
        await asyncio.sleep(0)
    # A change that leaves its token alone ends nothing.
    site.live.policy_changed()
    while any(viewer.must_be_checked for viewer in site.live.viewers):
        await asyncio.sleep(0)
    assert not reading.done()
    site.access.policy = parse_policy({"principal": {"ann": {"actions": ["view"]}}})
    site.live.policy_changed()
    answer = await asyncio.wait_for(reading, PATIENCE)
    assert "event: bye" in answer.text and "sign in again" in answer.text
    assert (await signed_in.get("/api/v1/stream", headers=headers)).status_code == 401


async def test_another_web_server_with_the_same_key_continues_a_session(signed_in: httpx.AsyncClient) -> None:
    async with Site().browser(signed_in.cookies) as browser:
        assert (await browser.get("/api/v1/jobs")).status_code == 200
    async with Site(key="x" * 32).browser(signed_in.cookies) as browser:
        assert (await browser.get("/api/v1/jobs")).status_code == 401


async def test_sign_out_deletes_the_cookie(signed_in: httpx.AsyncClient) -> None:
    assert (await signed_in.delete("/api/v1/session", headers=SAME)).status_code == 200
    assert (await signed_in.get("/api/v1/jobs")).status_code == 401


@pytest.mark.parametrize("token", ["", "x", OLD, ANN[:-1], ANN + "a"])
async def test_without_a_valid_token_no_session_begins(site: Site, token: str) -> None:
    async with site.browser() as browser:
        answer = await browser.post("/api/v1/session", headers=bearer(token) | SAME)
        assert answer.status_code == 401 and "set-cookie" not in answer.headers


async def test_a_session_begins_no_other_session(signed_in: httpx.AsyncClient) -> None:
    answer = await signed_in.post("/api/v1/session", headers=SAME)
    assert answer.status_code == 400 and "set-cookie" not in answer.headers


def test_a_session_ends_after_twelve_hours_or_with_its_token() -> None:
    sessions, policy = Sessions(KEY, secure=True), Access().policy
    session = sessions.sign_in(ANN, policy, NOW)
    value = sessions.find([sessions.cookie(session, NOW).partition(";")[0]])
    assert sessions.open(value, policy, NOW + SESSION_SECONDS - 1) == session
    with pytest.raises(Denied, match="has ended"):
        sessions.open(value, policy, NOW + SESSION_SECONDS)
    ends = policy.token_ends("ann", "aaaaaaaa")
    assert sessions.sign_in(ANN, policy, ends - 60).ends == ends


@pytest.mark.parametrize(
    "change", ["", ".", "x.y", "{value}x", "x{value}", "{body}.", "{body}.é", "{body}", "a" * 5000]
)
def test_a_cookie_that_was_changed_is_no_session(change: str) -> None:
    sessions, policy = Sessions(KEY, secure=False), Access().policy
    session = sessions.sign_in(ANN, policy, NOW)
    value = sessions.cookie(session, NOW).partition(";")[0].partition("=")[2]
    with pytest.raises(Denied):
        sessions.open(change.format(value=value, body=value.partition(".")[0]), policy, NOW)


@pytest.mark.parametrize("header", ["bmesos", "=;=", "a=b; bmesos=v; c=d", 'bmesos="v', "\x00", "x" * 100_000])
def test_odd_cookies_are_read_without_an_error(header: str) -> None:
    assert Sessions(KEY, secure=False).find([header]) in ("", "v", '"v')


def test_a_short_key_is_refused_with_the_command_that_makes_one() -> None:
    with pytest.raises(InvalidInput, match="openssl rand -hex 32"):
        Sessions("short", secure=True)
