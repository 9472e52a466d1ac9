"""A cluster that a browser looks at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from broker_mesos.wiring.local import LocalCluster
from tests.ui.browser import PATIENCE

AXE = Path(__file__).parent.parent.parent / "ui" / "node_modules" / "axe-core" / "axe.min.js"
SCRIPT = 'for n in 1 2 3; do echo "line $n <b>"; done; sleep 600'
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
    "/ui/login": "No sign-in is needed here",
    "/ui/kit": "every part in every state",
}
"""The pages, and a text of each that is there when its data is."""


class Site:
    """The pages of a cluster; ``jobs`` has their ids by the names that stand for them in paths."""

    def __init__(self, cluster: LocalCluster, browser: Any, jobs: dict[str, str], folder: Path) -> None:
        self.cluster, self.browser, self.jobs, self.folder = cluster, browser, jobs, folder
        self.agent = cluster.agents[0].state.info.agent_id

    def url(self, path: str) -> str:
        """The URL of a path, with the ids of what it names."""
        for name, ident in {"AGENT": self.agent, **self.jobs}.items():
            path = path.replace(name, ident)
        return self.cluster.url + path

    @asynccontextmanager
    async def open(self, path: str, **context: Any) -> AsyncIterator[tuple[Any, list[str]]]:
        """A page, and the list to which problems are added: errors of scripts, and requests to other machines."""
        async with opened(self.browser, self.url(path), **context) as found:
            yield found


@asynccontextmanager
async def opened(browser: Any, url: str, **options: Any) -> AsyncIterator[tuple[Any, list[str]]]:
    """A page in a context of its own, and the list of its problems."""
    host = "/".join(url.split("/")[:3])
    context = await browser.new_context(**options)
    try:
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda each: each.url.startswith(host) or problems.append(each.url))
        page.on("console", lambda each: problems.append(each.text) if "Content Security Policy" in each.text else None)
        await page.goto(url, timeout=PATIENCE)
        yield page, problems
    finally:
        await context.close()


async def axe(page: Any, *rules: str) -> list[str]:
    """What axe-core finds on a page: of the rules of WCAG 2.2 A and AA, or of some rules only."""
    # As a file of the test: the page's own policy allows no other script, and stays in force.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    only = list(rules) or ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
    result = await page.evaluate("only => axe.run(document, {runOnly: only})", only)
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in result["violations"]]


async def tab_to(page: Any, text: str) -> None:
    """Press Tab until the focus is on something with a text."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        found = await page.evaluate("document.activeElement?.innerText || document.activeElement?.ariaLabel || ''")
        if text in found:
            return
    raise AssertionError(f"Tab does not reach {text!r}")
