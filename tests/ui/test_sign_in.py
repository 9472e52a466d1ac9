"""Signing in with a token, what a viewer may not do, and what other sites can not do, in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

from broker_mesos.bus.current_caller import current
from broker_mesos.core.api.access import AccessPolicy, parse_policy
from broker_mesos.core.api.request import Request, Right
from broker_mesos.core.api.whoami import Identity, WhoAmI
from broker_mesos.core.model.part import Part
from broker_mesos.operator.gateway import OperatorApi
from broker_mesos.web import WebServer
from tests.ui.site import AXE, Site, axe, opened
from tests.web.test_authentication import ANN, bearer, entry

WRONG = "bm1_aaaaaaaa_" + "x" * 43


class Access:
    """A policy with one viewer."""

    daemons = ()

    def __init__(self) -> None:
        self.policy = self.viewer(True)

    @staticmethod
    def viewer(signed_in: bool) -> AccessPolicy:
        tokens = [entry(ANN)] if signed_in else []
        return parse_policy({"principal": {"ann": {"actions": ["view"], "tokens": tokens}}})


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def access() -> Access:
    return Access()


class Knowing:
    """The cluster of the tests has no policy: this answers who somebody is as masters with one do."""

    def __init__(self, gateway: OperatorApi) -> None:
        self._gateway = gateway

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        caller = current()
        if not isinstance(request, WhoAmI) or caller is None:
            return await self._gateway.handle(request, timeout)
        may = {
            each.value: "" if caller.rights.may(each) else f"{caller.name!r} has no right to {each}" for each in Right
        }
        return Identity(name=caller.name, actions=("view",), may=may, checked=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded(site: Site, access: Access) -> AsyncIterator[str]:
    """The URL of a server of the same cluster that asks for tokens."""
    server = WebServer(Knowing(await site.cluster.gateway()), port=0, access=access, session_key="k" * 32)
    serving = asyncio.create_task(server.run())
    await server.ready.wait()
    yield server.url
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def sign_in(page: Any, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")


async def test_a_token_opens_the_pages_and_a_wrong_one_says_so(site: Site, guarded: str, browser: Any) -> None:
    async with opened(browser, f"{guarded}/ui/agents") as (page, problems):
        await page.get_by_role("heading", name="Sign in").wait_for()
        assert problems == [] and (not AXE.exists() or await axe(page) == [])
        await sign_in(page, WRONG)
        await page.locator(".result.bad").wait_for()
        await sign_in(page, ANN)
        # The page that was asked for, and not the first one.
        await page.locator("[role=grid] a", has_text=site.agent).wait_for()
        await page.locator(".pulse", has_text="live").wait_for()
        cookies = await page.context.cookies()
        assert [(each["name"], each["httpOnly"], each["sameSite"]) for each in cookies] == [("bmesos", True, "Strict")]
        stored = "JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), document.cookie])"
        assert "bm1_" not in await page.evaluate(stored)
        await page.get_by_role("button", name="Sign out ann").click()
        await page.get_by_role("heading", name="Sign in").wait_for()
        assert await page.context.cookies() == []


async def test_what_a_viewer_may_not_do_is_disabled_with_the_reason_and_refused(
    site: Site, guarded: str, browser: Any
) -> None:
    job = site.jobs["RUNNING"]
    async with opened(browser, f"{guarded}/ui/jobs/{job}") as (page, problems):
        await sign_in(page, ANN)
        button = page.get_by_role("button", name="Kill…")
        await button.wait_for()
        assert await button.get_attribute("aria-disabled") == "true"
        assert "no right to" in (await button.get_attribute("title") or "")
        await button.click(force=True)
        assert await page.locator("dialog").count() == 0
        status = await page.evaluate(
            """async id => (await fetch('/api/v1', {method: 'POST', headers: {'content-type': 'application/json'},
                             body: JSON.stringify({type: 'KILL_BY_ID', id})})).status""",
            job,
        )
        assert status == 403
        assert problems == []


async def test_a_session_whose_token_is_revoked_ends_and_the_page_asks_for_another(
    guarded: str, browser: Any, access: Access
) -> None:
    async with opened(browser, f"{guarded}/ui/masters") as (page, _):
        await sign_in(page, ANN)
        await page.get_by_text("1 master alive").wait_for()
        access.policy = access.viewer(False)
        try:
            await page.get_by_role("heading", name="Sign in").wait_for()
        finally:
            access.policy = access.viewer(True)
        await sign_in(page, ANN)
        await page.get_by_text("1 master alive").wait_for()


async def test_a_page_of_another_site_can_neither_send_nor_delete_anything(
    site: Site, guarded: str, browser: Any
) -> None:
    """The other site is another port of this machine: another origin, of which the browser has the cookies as well."""
    async with opened(browser, f"{guarded}/ui/") as (page, _):
        await sign_in(page, ANN)
        await page.get_by_text("Cells with an owner").wait_for()
        refused: list[tuple[str, int]] = []
        page.on("response", lambda each: refused.append((each.request.method, each.status)))
        other = await page.context.new_page()
        other.on("response", lambda each: refused.append((each.request.method, each.status)))
        await other.goto(f"{site.cluster.url}/healthz")
        for method, path in (("POST", "/api/v1"), ("DELETE", "/api/v1/session"), ("PUT", "/api/v1")):
            outcome = await other.evaluate(
                """async ([url, method]) => {
                    try { return (await fetch(url, {method, mode: method == 'POST' ? 'no-cors' : 'cors',
                        credentials: 'include', body: '{"type": "GET_JOBS"}'})).type } catch { return 'blocked' }
                }""",
                [f"{guarded}{path}", method],
            )
            assert outcome in ("opaque", "blocked")
        posts = [status for method, status in refused if method == "POST" and status != 200]
        assert posts == [403]
        assert all(status in (400, 403, 405) for method, status in refused if method != "POST" and method != "GET")


async def test_other_names_of_this_address_are_refused(site: Site, guarded: str) -> None:
    async with httpx.AsyncClient() as http:
        for url in (site.cluster.url, guarded):
            for method, path in (("GET", "/ui/"), ("GET", "/api/v1/stream"), ("DELETE", "/api/v1/session")):
                answer = await http.request(method, url + path, headers={"Host": "rebound.example"} | bearer(ANN))
                assert answer.status_code == 403
