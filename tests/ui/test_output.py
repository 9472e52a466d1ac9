"""Output of tasks that is large or hostile: the page begins at the end, stays small, and runs nothing of it."""

from __future__ import annotations

import asyncio
from typing import Any

from broker_mesos.client import Client
from tests.ui.site import Site

LARGE = 200_000_000
MAX_HEAP = 80e6
FLOOD = r"""
printf '<script>window.ran = 1</script><img src=x onerror="window.ran = 1">\n'
printf '\033]8;;javascript:window.ran=1\033\\a link\033]8;;\033\\\n'
i=0; while [ $i -lt 300 ]; do printf '\033[3%dm\033[4%dm%d\033[0m' $((i%8)) $((i%8)) $i; i=$((i+1)); done
printf '\n\033[2J\033[1;1H\033[31mred\033[0m\nlast line\n'
sleep 600
"""


async def started(site: Site, command: str, name: str) -> str:
    def submit() -> str:
        with Client(site.cluster.url) as client:
            return client.submit(command, name=name, cpus=0.1, mem=16).id

    return await asyncio.to_thread(submit)


async def heap(page: Any) -> float:
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    return float((await session.send("Runtime.getHeapUsage"))["usedSize"])


async def test_200_mb_of_output_are_opened_at_the_end_in_little_memory(site: Site) -> None:
    # A line of a thousand bytes, over and over: yes(1) is a core utility of every system.
    command = f"yes $(printf %0999d 7) | head -c {LARGE}; echo; echo the very end; sleep 600"
    job = await started(site, command, "large")
    sizes: list[int] = []
    async with site.open(f"/ui/tasks/{job}.0") as (page, problems):
        page.on("response", lambda each: sizes.append(int(each.headers.get("content-length", 0))))
        await page.locator(".log .l", has_text="the very end").wait_for()
        box = page.locator(".log")
        at_end = "box => box.scrollHeight - box.scrollTop - box.clientHeight < 4"
        assert await box.evaluate(at_end)
        assert await page.locator(".log .l").count() < 150
        assert await heap(page) < MAX_HEAP
        await page.get_by_text("before it are not loaded").wait_for()
        # What is read is bounded whatever the size of the output is.
        assert sum(sizes) < LARGE / 5
        await box.evaluate("box => box.scrollTop = 0")
        await page.get_by_label("Find in the output").fill("very end")
        await page.locator(".log mark").or_(page.get_by_text("1 lines")).first.wait_for()
        assert problems == []
    for path in site.folder.rglob("stdout*"):
        if path.is_file() and path.stat().st_size > LARGE / 20:
            path.unlink()
    with_client = await asyncio.to_thread(lambda: Client(site.cluster.url))
    with with_client as client:
        await asyncio.to_thread(client.kill, job)


async def test_nothing_in_an_output_runs_or_hides_anything(site: Site) -> None:
    job = await started(site, FLOOD, "flood")
    async with site.open(f"/ui/tasks/{job}.0") as (page, problems):
        await page.locator(".log .l", has_text="last line").wait_for()
        lines = page.locator(".log")
        text = await lines.inner_text()
        assert "<script>window.ran = 1</script>" in text and 'onerror="window.ran = 1"' in text
        assert "a link" in text and "javascript:" not in text and "\x1b" not in text
        assert await page.evaluate("typeof window.ran") == "undefined"
        assert await lines.locator("a, img, script, iframe").count() == 0
        await page.locator(".log .f1", has_text="red").wait_for()
        # Of a line with hundreds of colours only so many elements are made.
        assert await lines.locator("span").count() <= 600
        assert problems == []
