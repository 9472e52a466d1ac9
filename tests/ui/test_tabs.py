"""Many tabs, several web servers, and masters that end: on real servers, with real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from broker_mesos.client import Client
from tests.e2e.cluster import Cluster
from tests.e2e.waiting import READY
from tests.servers import RabbitMQServer, RedisServer
from tests.ui.browser import PATIENCE
from tests.ui.front import Front
from tests.ui.site import opened

TABS = 8
RECORD_IDS = """
window.ids = [];
const Real = window.SharedWorker;
window.SharedWorker = class extends Real {
  constructor(...given) {
    super(...given);
    this.port.addEventListener("message", ({ data }) => {
      if (data.frame?.event === "event") window.ids.push(data.frame.id);
      if (data.frame?.event === "resync") window.ids.push("resync");
    });
  }
};
"""


@pytest.fixture(scope="session")
def daemons(
    rabbitmq_server: RabbitMQServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A master of four cells, an agent, a worker of the batch framework, and two web servers."""
    tmp: Path = tmp_path_factory.mktemp("tabs")
    with Cluster(rabbitmq_server.url, redis_server.url, "tabs", tmp) as cluster:
        cluster.master(cells=4).ready()
        cluster.agent()
        cluster.batch()
        cluster.web()
        cluster.web()
        yield cluster.ready()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def front(daemons: Cluster) -> AsyncIterator[Front]:
    async with Front(*(urlsplit(web.url).port or 0 for web in daemons.of("web"))) as found:
        yield found


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(READY):
        while not check():
            await asyncio.sleep(0.02)


async def switch(client: Client, agent_id: str) -> None:
    """Deactivate and activate an agent three times: six events."""
    for _ in range(3):
        await asyncio.to_thread(client.deactivate_agents, agent_id)
        await asyncio.to_thread(client.activate_agents, agent_id)


async def test_tabs_have_one_stream_and_go_on_at_another_server_when_theirs_is_killed(
    daemons: Cluster, front: Front, browser: Any
) -> None:
    client = daemons.client()
    (agent,) = daemons.of("agent")
    agent_id = await asyncio.to_thread(daemons.agent_id, agent)
    async with opened(browser, "about:blank") as (first, problems):
        context = first.context
        await context.add_init_script(RECORD_IDS)
        tabs = []
        for path in ("", "agents", "jobs", "roles", "frameworks", "masters", "events", ""):
            page = await context.new_page()
            page.set_default_timeout(PATIENCE)
            page.on("pageerror", lambda error: problems.append(str(error)))
            await page.goto(f"{front.url}/ui/{path}", timeout=PATIENCE)
            tabs.append(page)
        for page in tabs:
            await page.locator(".pulse", has_text="live").wait_for()
        in_use, other = front.backends
        # A tab more, or another page in one, may have it opened anew with more topics: one is open.
        await until(lambda: front.open == {in_use: 1, other: 0})
        last = (await asyncio.to_thread(client.events, limit=1)).last
        await switch(client, agent_id)
        server = next(web for web in daemons.of("web") if web.url.endswith(f":{in_use}"))
        server.kill()
        await switch(client, agent_id)
        await until(lambda: front.open == {in_use: 0, other: 1})
        await switch(client, agent_id)
        for page in tabs:
            await page.locator(".pulse", has_text="live").wait_for()
        events: list[str] = []
        seen: list[list[str]] = []

        async def compared() -> bool:
            nonlocal events, seen
            found = await asyncio.to_thread(lambda: client.events(after=last, limit=1_000).events)
            events = [each.id for each in found if each.kind.startswith("agent.")]
            kept = {each.id for each in found}
            seen = [[each for each in await page.evaluate("window.ids") if each in kept] for page in tabs]
            wanted = set(events)
            return len(events) >= 18 and all(wanted <= set(each) for each in seen)

        async with asyncio.timeout(READY):
            while not await compared():
                await asyncio.sleep(0.2)  # pages announce nothing to a test
        for each in seen:
            assert len(each) == len(set(each)), "an event came twice"
            assert [ident for ident in each if ident in set(events)] == events
        for page in tabs:
            assert "resync" not in await page.evaluate("window.ids")
        assert problems == [] and front.streams[other] == 1


async def test_the_page_says_which_cells_have_no_owner_and_then_who_took_over(
    daemons: Cluster, front: Front, browser: Any
) -> None:
    (master,) = daemons.of("master")
    async with opened(browser, f"{front.url}/ui/masters") as (page, problems):
        await page.get_by_text("1 master alive").wait_for()
        await asyncio.to_thread(master.stop)
        await page.get_by_text("Cells 0, 1, 2, 3 have no owner").wait_for()
        new = daemons.master()
        await page.get_by_text("Cells 0, 1, 2, 3 have no owner").wait_for(state="detached")
        client = daemons.client()
        (owner,) = [each for each in (await asyncio.to_thread(client.cluster)).masters if each.pid == new.pid]
        taken = page.locator("main li", has_text=f"has a new owner: {owner.master_id}")
        await taken.filter(has_text="after the last sign of").first.wait_for()
        assert await page.locator("tbody .state", has_text="no owner").count() == 0
        assert problems == []
