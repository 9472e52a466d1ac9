"""The dashboard in a real browser, on a cluster in this process: every page, both schemes, and work by keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.wiring.local import LocalCluster

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parent.parent.parent / "ui" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium: apt-get install chromium"),
]
PATIENCE = 60_000
"""In milliseconds."""
PAGES = {
    "/ui/": "Cells with an owner",
    "/ui/agents": "agent-1",
    "/ui/agents/AGENT": "Resources",
    "/ui/jobs": "needs-gpus",
    "/ui/jobs/WAITING": "no agent has any",
    "/ui/tasks/RUNNING.0": "line 3 <b>",
    "/ui/tasks/RUNNING.0?tab=files": "stdout",
    "/ui/roles": "Shares now",
    "/ui/frameworks": "batch",
    "/ui/frameworks/batch": "What it wants and holds",
    "/ui/masters": "1 master alive",
    "/ui/events": "Dead letters",
    "/ui/kit": "every part in every state",
}


class Site:
    def __init__(self, cluster: LocalCluster, browser: Any, jobs: dict[str, str]) -> None:
        self.cluster, self.browser, self.jobs = cluster, browser, jobs
        self.agent = cluster.agents[0].state.info.agent_id

    def url(self, path: str) -> str:
        for name, ident in {"AGENT": self.agent, **self.jobs}.items():
            path = path.replace(name, ident)
        return self.cluster.url + path

    async def open(self, path: str, **context: Any) -> tuple[Any, list[str]]:
        """A page, and the list to which problems are added: errors of scripts, and requests to other machines."""
        page = await (await self.browser.new_context(**context)).new_page()
        page.set_default_timeout(PATIENCE)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda each: each.url.startswith(self.cluster.url) or problems.append(each.url))
        page.on("console", lambda each: problems.append(each.text) if "Content Security Policy" in each.text else None)
        await page.goto(self.url(path))
        return page, problems


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    from broker_mesos.client import Client

    async with LocalCluster(agents=2, resources="cpus:2;mem:1024", port=0, work_dir=tmp_path) as cluster:

        def submit() -> dict[str, str]:
            with Client(cluster.url) as client:
                waiting = client.submit("true", name="needs-gpus", gpus=1)
                script = 'for n in 1 2 3; do echo "line $n <b>"; done; sleep 600'
                running = client.submit(script, name="running", cpus=0.1, mem=16)
                return {"WAITING": waiting.id, "RUNNING": running.id}

        jobs = await asyncio.to_thread(submit)
        async with playwright.async_playwright() as started:
            browser = await started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
            yield Site(cluster, browser, jobs)
            await browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_shows_its_data_without_an_error_and_can_be_used_by_everybody(site: Site, scheme: str) -> None:
    found: dict[str, list[str]] = {}
    for path, text in PAGES.items():
        page, problems = await site.open(path, color_scheme=scheme, reduced_motion="reduce")
        await page.get_by_text(text).first.wait_for()
        if AXE.exists():
            # As a file of the test: the page's own policy allows no other script, and stays in force.
            await page.evaluate(AXE.read_text(encoding="utf-8"))
            result = await page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag22aa']})")
            problems += [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in result["violations"]]
        if problems:
            found[path] = problems
        await page.context.close()
    assert found == {}


async def test_no_page_is_wider_than_a_telephone(site: Site) -> None:
    for path, text in PAGES.items():
        page, _ = await site.open(path, viewport={"width": 390, "height": 844})
        await page.get_by_text(text).first.wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, path
        await page.context.close()


async def test_an_agent_is_drained_by_keyboard_alone(site: Site) -> None:
    page, problems = await site.open("/ui/")
    await page.get_by_text("Cells with an owner").wait_for()
    await page.keyboard.press("g")
    await page.keyboard.press("a")
    await page.locator("[role=grid] a", has_text=site.agent).wait_for()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", level=1, name=site.agent).wait_for()
    await page.get_by_role("button", name="Drain…").focus()
    await page.keyboard.press("Enter")
    # The focus is on Cancel: Enter by itself destroys nothing.
    await page.locator("dialog button:focus", has_text="Cancel").wait_for()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.locator("dialog .result").wait_for()
    await page.keyboard.press("Enter")
    await page.locator(".head .state", has_text="drain").wait_for()
    assert problems == []


async def test_a_job_shows_when_its_tasks_ran_and_the_attempts_at_each_and_is_submitted_again_as_another(
    site: Site,
) -> None:
    from broker_mesos.client import Client

    def run() -> str:
        with Client(site.cluster.url) as client:
            script = "test $BMESOS_ARRAY_INDEX$BMESOS_ATTEMPT != 21"
            job = client.submit(script, array=3, retries=1, cpus=0.1, mem=16)
            assert job.wait(90).state == "finished"
            return job.id

    job = await asyncio.to_thread(run)
    page, problems = await site.open(f"/ui/jobs/{job}")
    await page.get_by_role("button", name="Show as a table").click()
    table = page.get_by_role("grid", name="When and where tasks ran")
    await table.get_by_text(f"{job}.3").wait_for()
    assert await table.locator("a", has_text=site.agent[:5]).count() >= 3
    await page.get_by_role("button", name="Retry as new…").click()
    dialog = page.locator("dialog")
    await dialog.get_by_text("Submits 3 tasks as a new job").wait_for()
    await dialog.get_by_role("button", name="Submit").click()
    await dialog.get_by_text("is stored").wait_for()
    await dialog.get_by_role("button", name="Close").click()
    await page.wait_for_url(lambda url: "/ui/jobs/ui-" in url)

    await page.goto(site.url(f"/ui/tasks/{job}.2"))
    await page.get_by_role("navigation", name="Attempts").get_by_text("attempt 1").click()
    await page.get_by_role("heading", level=1, name=f"{job}.2.1").wait_for()
    await page.locator(".steps", has_text="failed").wait_for()
    await page.get_by_role("button", name="Retry as new…").click()
    await dialog.get_by_text("Submits 1 task as a new job with the same command and index 2").wait_for()
    await page.context.close()
    assert problems == []


async def test_what_jobs_wait_for_leads_to_them_and_a_framework_is_torn_down_only_by_its_id(site: Site) -> None:
    page, problems = await site.open("/ui/")
    await page.get_by_role("link", name="no gpus", exact=True).click()
    await page.wait_for_url("**/ui/jobs?waits=no*gpus")
    row = page.locator("[role=grid] [role=row]", has_text="needs-gpus")
    await row.get_by_text("no gpus").wait_for()
    await page.goto(site.url("/ui/frameworks/batch"))
    await page.get_by_role("button", name="Tear down…").click()
    dialog = page.locator("dialog")
    await dialog.get_by_text("Kills 1 task of it").wait_for()
    tear_down = dialog.get_by_role("button", name="Tear down")
    assert await tear_down.is_disabled()
    await dialog.get_by_role("textbox").fill("batch")
    assert await tear_down.is_enabled()
    await dialog.get_by_role("button", name="Cancel").click()
    await page.context.close()
    assert problems == []
