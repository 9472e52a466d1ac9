"""What a page of 10,000 agents consists of, and what it asks for: counts, which are the same on every machine.
Times are measured by ``make bench BENCH=dashboard``."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.operator.fakes import Stage, serving
from tests.ui.pretended import PAGE, PretendedCluster
from tests.ui.site import opened

MAX_NODES = 1_500
"""Maximum number of elements of a page, however many agents there are."""


async def nodes(page: Any) -> int:
    return int(await page.evaluate("document.getElementsByTagName('*').length"))


async def test_a_page_of_10000_agents_has_the_elements_of_one_of_300(browser: Any) -> None:
    stage = Stage()
    counts: dict[int, int] = {}
    with serving(stage) as url:
        for agents in (300, 10_000):
            stage.cluster = PretendedCluster(agents)
            async with opened(browser, f"{url}/ui/agents") as (page, problems):
                asked: list[str] = []
                page.on("request", lambda each, asked=asked: asked.append(each.post_data or ""))
                await page.reload()
                await page.get_by_text(f"{agents:,} agents", exact=True).wait_for()
                await page.locator("[role=grid] .vrow a").first.wait_for()
                counts[agents] = await nodes(page)
                grid = page.locator("[role=grid]")
                assert await grid.get_attribute("aria-rowcount") == str(agents + 1)
                await grid.focus()
                await page.keyboard.press("End")
                await page.locator("[role=grid] a", has_text=f"node-{agents - 1:04}").wait_for()
                assert await nodes(page) < MAX_NODES
                await page.locator("[data-filter]").fill("rack:r01")
                await page.get_by_text("250 of").wait_for()
                assert problems == []
            # All of them once, in as many answers as it takes: nothing is fetched again for a filter.
            assert sum("GET_AGENTS" in each for each in asked) == -(-agents // PAGE)
    assert counts[10_000] <= counts[300] + 30


async def test_a_page_asks_for_nothing_that_an_update_has(browser: Any) -> None:
    stage = Stage()
    stage.cluster = cluster = PretendedCluster(1_000)
    with serving(stage) as url:
        async with opened(browser, f"{url}/ui/") as (page, problems):
            await page.locator(".pulse", has_text="live").wait_for()
            await page.get_by_text("Cells with an owner").wait_for()
            await page.locator("figure .chart canvas").wait_for()
            # The model of the server asks for two things by itself; the page has fetched all when they come again.
            await until(cluster, "GET_OVERVIEW", 3)
            before = {kind: cluster.asked.count(kind) for kind in ("GET_EVENTS", "GET_AGENTS", "GET_OVERVIEW")}
            cluster.change(500)
            await until(cluster, "GET_OVERVIEW", before["GET_OVERVIEW"] + 3)
            asked = {kind: cluster.asked.count(kind) - count for kind, count in before.items()}
            # In 6 s: an overview every 2 s, events and agents every second, whoever looks.
            assert asked["GET_OVERVIEW"] == 3 and asked["GET_AGENTS"] <= 9 and asked["GET_EVENTS"] <= 9
            assert problems == []
        # When the last page is closed, nothing is asked any more.
        await quiet(cluster)


async def until(cluster: PretendedCluster, kind: str, count: int) -> None:
    while cluster.asked.count(kind) < count:
        await asyncio.sleep(0.02)


async def quiet(cluster: PretendedCluster) -> None:
    """Wait until nothing is asked for three times the interval of the model."""
    while True:
        before = len(cluster.asked)
        await asyncio.sleep(3)  # nothing announces that nothing is asked
        if len(cluster.asked) == before:
            return
