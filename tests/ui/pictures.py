"""``python -m tests.ui.pictures FOLDER [PART …]``: pictures of the dashboard with 0, 3, 300 and 10,000 agents, empty,
loading, failing and forbidden, in both schemes and at three widths. Parts of names choose some of them."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from broker_mesos.core.api.state import MissingCell
from broker_mesos.errors import Denied, Unavailable
from broker_mesos.web import WebServer
from tests.operator.fakes import Stage
from tests.ui.browser import PATIENCE, chromium
from tests.ui.pretended import PretendedCluster

WIDTHS = {1440: 900, 1024: 768, 390: 844}
PAGES = ("", "agents", "jobs", "roles", "frameworks", "masters", "events")


class Picture(NamedTuple):
    """What is on a picture."""

    name: str
    cluster: PretendedCluster
    path: str
    scheme: str = "light"
    width: int = 1440


def pictures() -> list[Picture]:
    """All of them."""
    found = []
    for count in (0, 3, 300, 10_000):
        cluster = PretendedCluster(count)
        for path in ("", "agents", "jobs"):
            for scheme in ("light", "dark"):
                name = f"{count}-{path or 'cluster'}-{scheme}"
                found.append(Picture(name, cluster, path, scheme))
        for width in (1024, 390):
            found += [
                Picture(f"{count}-{path or 'cluster'}-{width}", cluster, path, "dark", width) for path in PAGES[:3]
            ]
    some = PretendedCluster(300)
    for path in PAGES[3:]:
        found += [Picture(f"300-{path}-{scheme}", some, path, scheme) for scheme in ("light", "dark")]
        found += [Picture(f"300-{path}-{width}", some, path, "light", width) for width in (1024, 390)]
    found.append(Picture("300-kit-light", some, "kit"))
    found.append(Picture("300-kit-dark", some, "kit", "dark"))
    partly = PretendedCluster(300)
    partly.missing = (MissingCell(cell=2, reason="no answer within 2 s"),)
    failing = PretendedCluster(0, error=Unavailable("no master answers within 5 s"))
    forbidden = PretendedCluster(0, error=Denied("'bob' has no right to view"))
    loading = PretendedCluster(0, silent=True)
    for state, cluster in (("partly", partly), ("failing", failing), ("forbidden", forbidden), ("loading", loading)):
        for path in PAGES:
            scheme = "dark" if path in ("agents", "masters") else "light"
            found.append(Picture(f"{state}-{path or 'cluster'}", cluster, path, scheme))
    return found


async def take(page: Any, folder: Path, picture: Picture) -> None:
    """Take a picture when the page is at rest."""
    if not picture.cluster.silent and picture.path != "kit":
        await page.locator("main h1").first.wait_for(timeout=PATIENCE)
        await page.locator(".skeleton").first.wait_for(state="detached", timeout=PATIENCE)
    await page.wait_for_timeout(500)
    await page.screenshot(path=folder / f"{picture.name}.png")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in pictures() if not options.parts or any(part in each.name for part in options.parts)]
    stage = Stage()
    server = WebServer(stage, port=0)
    serving = asyncio.create_task(server.run())
    await server.ready.wait()
    async with chromium() as browser:
        for each in chosen:
            stage.cluster = each.cluster
            size = {"width": each.width, "height": WIDTHS[each.width]}
            context = await browser.new_context(viewport=size, color_scheme=each.scheme, reduced_motion="reduce")
            page = await context.new_page()
            await page.goto(f"{server.url}/ui/{each.path}", timeout=PATIENCE)
            await take(page, options.folder, each)
            await context.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
