"""``python -m benchmarks.dashboard``: the dashboard in Chromium on a cluster of many simulated agents, and what viewers
cost. Needs what ``make test-ui`` installs."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.agents_rig import AgentsRig, Program, agents_rig, within
from benchmarks.record import Record
from benchmarks.rig import run_seconds
from benchmarks.sizes import add_size
from broker_mesos.web.pages import STATIC
from tests.ui.browser import ARGUMENTS, CHROMIUM, PATIENCE

AGENTS = {"small": 200, "usual": 10_000, "full": 10_000}
SLOTS = 20
"""Tasks on each agent at full load."""
DURATION = "uniform:600s..1800s"
"""Of each task: with 200,000 of them, some 170 begin and end in a second."""
FULL = {"small": 20.0, "usual": 240.0, "full": 240.0}
"""Seconds for which the slots may fill."""
WINDOW = {"small": 4.0, "usual": 60.0, "full": 60.0}
"""Seconds of live data in which long tasks of the browser are counted."""
HEAP_AFTER = {"small": 0.0, "usual": 60.0, "full": 600.0}
"""Seconds for which the page is open longer before its heap is measured."""
VIEWERS = 50
COST_WINDOW = {"small": 4.0, "usual": 20.0, "full": 30.0}
MB, KB = 1e6, 1e3
LONG_TASKS = """
window.long = [];
new PerformanceObserver((list) => list.getEntries().forEach((each) => window.long.push(each.duration)))
  .observe({ type: "longtask", buffered: true });
"""
SCROLL = """async () => {
  const box = document.querySelector("[role=grid]");
  let frames = 0, down = true;
  const from = performance.now();
  while (performance.now() - from < 4000) {
    await new Promise(requestAnimationFrame);
    frames += 1;
    box.scrollTop += down ? 900 : -900;
    if (box.scrollTop + box.clientHeight >= box.scrollHeight) down = false;
    if (box.scrollTop <= 0) down = true;
  }
  return frames / ((performance.now() - from) / 1000);
}"""
PAINTED = """const painted = async (act) => {
  await new Promise((done) => setTimeout(done, 700));
  const from = performance.now();
  act();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - from;
};"""
SORT = (
    "async (name) => {"
    + PAINTED
    + """return painted(() => [...document.querySelectorAll("[role=columnheader] button")]
    .find((each) => each.textContent.startsWith(name)).click()); }"""
)
FILTER = (
    "async (text) => {"
    + PAINTED
    + """const field = document.querySelector("[data-filter]");
  return painted(() => { field.value = text; field.dispatchEvent(new Event("input", { bubbles: true })); }); }"""
)


def sizes(record: Record) -> None:
    """What is sent for the first page, with the chart on it."""
    record.section(
        "Size",
        "Compressed, as it is sent: what the page of the cluster loads until all of it is there: its script with those "
        "that it imports, the chart, and the worker that has the stream. Other pages are loaded when they are opened.",
    )
    page = (STATIC / "index.html").read_text()
    names = set(re.findall(r"/ui/(assets/[\w.-]+)", page))
    every = json.loads((STATIC / "manifest.json").read_text())["files"]
    names |= {name for name in every if name.startswith("assets/plot-")}
    for kind, suffix in (("scripts", ".js"), ("style sheet", ".css")):
        sent = sum(len(gzip.compress((STATIC / name).read_bytes())) for name in names if name.endswith(suffix))
        record.add(f"first page: {kind}", "kB", [sent / KB], key=suffix[1:])
    rest = [name for name in every if name.endswith(".js") and name not in names]
    record.add("all other scripts", "kB", [sum(len(gzip.compress((STATIC / each).read_bytes())) for each in rest) / KB])


@contextmanager
def browser() -> Iterator[Any]:
    """A running Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS), timeout=PATIENCE)
        yield found
        found.close()


def pages(record: Record, chromium: Any, url: str, agents: int, size: str) -> None:
    """What a person waits for, and what the browser does."""
    record.section("In Chromium", f"{agents:,} agents; the browser and the whole cluster share one machine.")
    first, usable = [], []
    for _ in range(3):
        context = chromium.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.goto(f"{url}/ui/agents", timeout=PATIENCE)
        page.locator("[role=grid] .vrow a").first.wait_for(timeout=PATIENCE)
        usable.append(page.evaluate("performance.now()") / 1000)
        paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
        first.append(page.evaluate(paint) / 1000)
        context.close()
    record.add("first content", "s", first, "aim: 1 s", key="first")
    record.add("usable: the rows of all agents are there", "s", usable, "aim: 1.5 s", key="usable")
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(LONG_TASKS)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}/ui/agents")
    page.locator("[role=grid] .vrow a").first.wait_for()
    page.locator(".pulse", has_text="live").wait_for()
    page.wait_for_timeout(2_000)
    page.evaluate("window.long.length = 0")
    page.wait_for_timeout(1_000 * WINDOW[size])
    long = page.evaluate("window.long")
    about = f"longer than 50 ms, of {WINDOW[size]:g} s"
    record.add("tasks of the page that are long, while data comes", "", [float(len(long))], about, key="long")
    record.add("the longest of them", "ms", [max(long, default=0.0)])
    record.add("frames while the table is scrolled", "1/s", [page.evaluate(SCROLL) for _ in range(3)], key="frames")
    sorts = [page.evaluate(SORT, name) for name in ("CPUs", "Tasks", "Memory", "Agent")]
    record.add("sort all agents, until it is painted", "ms", sorts, key="sort")
    filters = [page.evaluate(FILTER, text) for text in ("state!=ready", "sim-99", "cell=2", "")]
    record.add("filter all agents, until it is painted", "ms", filters, key="filter")
    page.wait_for_timeout(1_000 * HEAP_AFTER[size])
    session = context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"] / MB
    record.add("heap of the page", "MB", [heap], "aim: 80 MB", key="heap")
    elements = page.evaluate("document.getElementsByTagName('*').length")
    record.add("elements of the page", "", [float(elements)])
    context.close()


def slowest_round(rig: AgentsRig) -> float:
    """The 99th percentile of the rounds of the slowest cell, in seconds. A machine that is too busy is asked again."""
    found: list[float] = []

    def look() -> bool:
        found.extend(load.round_p99 or 0.0 for load in rig.client.overview().loads)
        return bool(found)

    within(60, look)
    return max(found, default=0.0)


def costs(record: Record, rig: AgentsRig, web: int, url: str, size: str) -> None:
    """What 0, 1 and many viewers cost."""
    record.section(
        "Viewers",
        "Each has a stream of updates about all agents, and asks who owns which cell every second, as pages do. CPU is "
        "cores; allocation is the 99th percentile of the rounds of the slowest cell.",
    )
    masters = [each.pid for each in rig.masters()]
    p99: dict[int, float] = {}
    for count in (0, 1, VIEWERS):
        viewers = Program(rig.cluster, f"viewers-{count}", "benchmarks.viewers", url, "--count", str(count))
        try:
            if not within(120, lambda viewers=viewers, count=count: viewers.last("bytes") > 0 or not count):
                raise TimeoutError("no viewer got anything")
            time.sleep(COST_WINDOW[size] / 2)
            got, at = viewers.last("bytes"), time.monotonic()
            before = run_seconds(masters), run_seconds([web])
            time.sleep(COST_WINDOW[size])
            took = time.monotonic() - at
            used = [
                (now - old) / took for now, old in zip((run_seconds(masters), run_seconds([web])), before, strict=True)
            ]
            sent = (viewers.last("bytes") - got) / took
            p99[count] = slowest_round(rig)
        finally:
            viewers.end()
        name = {0: "nobody", 1: "1 viewer"}.get(count, f"{count} viewers")
        record.add(f"{name}: CPU of the masters", "cores", [used[0]])
        record.add(f"{name}: CPU of the web server", "cores", [used[1]], key=f"web-{count}")
        record.add(f"{name}: allocation, p99", "ms", [1_000 * p99[count]])
        if count:
            record.add(f"{name}: sent to each", "kB/s", [sent / count / KB], "aim: 30 kB/s", key=f"bytes-{count}")
    if p99[1]:
        record.add(f"allocation p99 with {VIEWERS} viewers, against 1", "×", [p99[VIEWERS] / p99[1]], key="p99")


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    options = parser.parse_args()
    size, agents = options.size, AGENTS[options.size]
    with Record("dashboard", "The dashboard", size) as record:
        sizes(record)
        with agents_rig(1) as rig:
            web = rig.cluster.web()
            web.ready()
            fleet = rig.fleet(agents, f"cpus:{SLOTS};mem:{128 * SLOTS}", DURATION, steady=60.0)
            if not within(60 + agents / 30, lambda: fleet.last("registered") >= agents):
                raise TimeoutError(f"only {fleet.last('registered'):,.0f} agents registered")
            rig.fillers()
            within(FULL[size], lambda: fleet.last("running") >= 0.97 * SLOTS * agents)
            time.sleep(5)
            record.section(
                "The cluster", "One master with four cells; tasks are simulated, and begin and end all the time."
            )
            record.add("agents", "", [float(agents)])
            record.add("tasks that run", "", [fleet.last("running")])
            with browser() as chromium:
                pages(record, chromium, web.url, agents, size)
            costs(record, rig, web.pid, web.url, size)


if __name__ == "__main__":
    main()
