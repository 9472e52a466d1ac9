"""The dashboard in a real browser, on a cluster in this process: every page, both schemes, and work by keyboard."""

from __future__ import annotations

import asyncio

from broker_mesos.client import Client
from broker_mesos.core.api.maintenance import ActivateAgents
from broker_mesos.errors import Denied, Unavailable
from tests.operator.fakes import Stage, serving
from tests.ui.pretended import PretendedCluster
from tests.ui.site import AXE, PAGES, Site, axe, opened, tab_to


async def test_every_page_shows_its_data_without_an_error_and_can_be_used_by_everybody(site: Site) -> None:
    found: dict[str, list[str]] = {}
    for path, text in PAGES.items():
        async with site.open(path, color_scheme="light", reduced_motion="reduce") as (page, problems):
            await page.get_by_text(text).first.wait_for()
            if AXE.exists():
                problems += await axe(page)
                await page.emulate_media(color_scheme="dark")
                problems += await axe(page, "color-contrast")
            if problems:
                found[path] = list(problems)
    assert found == {}


async def test_pages_fit_a_telephone_and_twice_the_size_of_everything(site: Site) -> None:
    narrow = {"viewport": {"width": 390, "height": 844}}
    # What a zoom of 200% leaves of 1440 × 900.
    zoomed = {"viewport": {"width": 720, "height": 450}, "device_scale_factor": 2}
    for options in (narrow, zoomed):
        async with site.open("/ui/", **options) as (page, _):
            for path, text in PAGES.items():
                await page.goto(site.url(path))
                await page.get_by_text(text).first.wait_for()
                width = await page.evaluate("document.documentElement.scrollWidth")
                assert width <= options["viewport"]["width"], path
                assert await page.locator("h1").first.is_visible(), path


async def test_a_waiting_job_is_found_explained_an_agent_drained_and_a_task_killed_by_keyboard_alone(
    site: Site,
) -> None:
    async with site.open("/ui/") as (page, problems):
        keys = page.keyboard
        await page.get_by_text("Cells with an owner").wait_for()
        # A waiting job, and why it waits.
        await keys.press("g")
        await keys.press("j")
        await page.locator("[role=grid] a", has_text="needs-gpus").wait_for()
        await keys.press("/")
        await keys.type("needs")
        await page.get_by_text("1 match").wait_for()
        await keys.press("Escape")
        await keys.press("j")
        await keys.press("Enter")
        await page.get_by_role("heading", level=1, name="needs-gpus").wait_for()
        await page.locator(".why .reason", has_text="no agent has any").wait_for()
        # An agent is drained.
        await keys.press("g")
        await keys.press("a")
        await page.locator("[role=grid] a", has_text=site.agent).wait_for()
        await keys.press("j")
        await keys.press("Enter")
        await page.get_by_role("heading", level=1, name="agent-").wait_for()
        agent = await page.get_by_role("heading", level=1).inner_text()
        await tab_to(page, "Drain…")
        await keys.press("Enter")
        # The focus is on Cancel: Enter by itself destroys nothing.
        await page.locator("dialog button:focus", has_text="Cancel").wait_for()
        await keys.press("Tab")
        await keys.press("Enter")
        await page.locator("dialog .result").wait_for()
        await keys.press("Enter")
        await page.locator(".head .state", has_text="drain").wait_for()

        def activate() -> str:
            with Client(site.cluster.url) as client:
                client.ask(ActivateAgents(agent_ids=(agent,)), ActivateAgents.ANSWER)
                return client.submit("sleep 600", name="to-be-killed", cpus=0.1, mem=16).id

        job = await asyncio.to_thread(activate)
        # A task is killed.
        await keys.press("g")
        await keys.press("j")
        await page.locator("[role=grid] a", has_text="to-be-killed").wait_for()
        await keys.press("j")
        await keys.press("Enter")
        await page.get_by_role("heading", level=1, name="to-be-killed").wait_for()
        await page.locator("[role=grid] a", has_text=f"{job}.0").wait_for()
        await tab_to(page, f"{job}.0")
        await keys.press("Enter")
        await page.get_by_role("heading", level=1, name=f"{job}.0").wait_for()
        await tab_to(page, "Kill…")
        await keys.press("Enter")
        await page.locator("dialog button:focus", has_text="Cancel").wait_for()
        await keys.press("Tab")
        await keys.press("Enter")
        await page.locator("dialog .result:not(.bad)").wait_for()
        await keys.press("Enter")
        await page.locator(".head .state", has_text="killed").wait_for()
        assert problems == []


async def test_a_page_says_what_is_missing_and_what_to_do_when_nothing_can_be_shown(browser) -> None:
    stage = Stage()
    states = {
        "No agent is registered": PretendedCluster(0),
        "That failed": PretendedCluster(0, error=Unavailable("no master answers within 5 s")),
        "You may not see this": PretendedCluster(0, error=Denied("'bob' has no right to view")),
    }
    with serving(stage) as url:
        for text, cluster in states.items():
            stage.cluster = cluster
            for path in ("", "agents") if not text.startswith("That") else ("", "masters", "jobs/none"):
                async with opened(browser, f"{url}/ui/{path}", color_scheme="dark") as (page, problems):
                    await page.get_by_text(text).first.wait_for()
                    assert await page.locator("main code").count(), "the next step is a command"
                    problems += await axe(page) if AXE.exists() else []
                    assert problems == []
        stage.cluster = PretendedCluster(0, silent=True)
        async with opened(browser, f"{url}/ui/") as (page, problems):
            await page.locator(".skeleton").first.wait_for()
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
    async with site.open(f"/ui/jobs/{job}") as (page, problems):
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
        assert problems == []


async def test_what_jobs_wait_for_leads_to_them_and_a_framework_is_torn_down_only_by_its_id(site: Site) -> None:
    async with site.open("/ui/") as (page, problems):
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
        assert problems == []
