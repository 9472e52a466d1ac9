"""``python -m benchmarks.page``: ``docs/benchmarks.md`` and its pictures, from ``benchmarks/results``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.growth import Growth, short
from benchmarks.record import Line
from benchmarks.sizes import RESULTS
from benchmarks.targets import TARGETS, Target

DOCS = Path(__file__).parent.parent / "docs"
ORDER = ("tasks", "latency", "security", "isolation", "footprint", "allocator", "agents", "dashboard")
"""Of the page, and in which ``make bench`` runs them. Others follow by name."""

HEAD = """# Benchmarks

Measured by `make bench`; this page is made of what it stored in `benchmarks/results`.
`make bench BENCH="tasks latency"` measures some of it again and keeps the rest. Figures of one section come
from one run on one machine: **compare ratios**, and not one section with another.
"""

METHOD = """## How it is measured

- A private RabbitMQ and a private Redis (`appendfsync always`) are started for each section, on the same
  cores as everything that is measured. Our cluster, Celery and Dramatiq use the same two servers; a peer is
  started for its turn, warmed, measured and ended; our idle cluster is there all the time. Work folders are
  on tmpfs. RabbitMQ has two schedulers and does not spin.
- Contestants take turns: one run of each, then the next run of each. The value is the median, beside it the
  lowest and the highest run. A ratio is the median of the ratios of runs in the same turn.
- A task is a process, `/bin/true`. It has ended when the client knows its result.
- The **bare limit** is one loop on one core: `posix_spawn` and `waitpid`, nothing else.
- Peers come from PyPI, each into an environment of its own below `.bench/`, with their fast settings: Celery
  and Dramatiq with 8 workers that fetch ahead, Dask with 8 processes of one thread and `client.map`,
  HyperQueue with 8 declared CPUs, one job of many tasks, and no output files.
- CPU seconds are those of the processes themselves, from `/proc`. That of the tasks (fork, exec, wait) is
  counted apart from ours.
- **Which Python** matters: each section says which it used. Debian's 3.11.2 is built with profile-guided
  optimisation; with a 3.11.7 that was not, the same loops took 1.4 to 2 times the CPU, side by side.
- An exponent is fitted by least squares over the logarithms of the medians. It is flagged when it exceeds
  that of n log n over the same sizes by more than its standard error and 0.05.

**What is not comparable.** Celery, Dramatiq and Dask call a function in a process that lives on;
the function here runs the command. Celery and Dramatiq track no resources, no states beside the result, and
keep no logs of a task. Celery acknowledges a task before it runs, as is its default, and loses it with its
worker. Dask and HyperQueue keep their state in the memory of one process, and use neither RabbitMQ nor Redis.
"""

Results = Mapping[str, Sequence[Line]]
"""The lines of each benchmark, by its name; the first of them says when and where."""


def load(folder: Path = RESULTS) -> dict[str, list[Line]]:
    """All results that are stored, in the order of the page."""
    found = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        for path in sorted(folder.glob("[!.]*.jsonl"))
    }
    names = sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return {name: found[name] for name in names if found[name]}


def render(results: Results) -> tuple[str, dict[str, str]]:
    """The page, and the pictures by file name."""
    pictures: dict[str, str] = {}
    parts = [HEAD, "\n".join(["## To reach", "", *_targets(results), ""])]
    for name, lines in results.items():
        parts.append("\n".join(_bench(name, lines, pictures)) + "\n")
    return "\n".join([*parts, METHOD]), pictures


def write(docs: Path = DOCS, folder: Path = RESULTS) -> None:
    """Make it anew; pictures that nothing shows any more are removed."""
    page, pictures = render(load(folder))
    images = docs / "images"
    for old in images.glob("bench-*.svg"):
        if old.name not in pictures:
            old.unlink()
    for name, text in pictures.items():
        (images / name).write_text(text)
    (docs / "benchmarks.md").write_text(page)


def _targets(results: Results) -> list[str]:
    values = {
        (name, line["key"]): (float(line["value"]), str(lines[0]["size"]))
        for name, lines in results.items()
        for line in lines
        if "key" in line
    }
    rows = ["| figure | at least | aim | measured | |", "|---|---:|---:|---:|---|"]
    return rows + [_target(each, *values.get((each.bench, each.key), (None, ""))) for each in TARGETS]


def _target(target: Target, value: float | None, size: str) -> str:
    unit = f" {target.unit}"
    least = "" if target.least is None else f"{target.least:g}{unit}"
    aim = target.aim_text if target.aim is None else f"{target.aim:g}{unit}"
    measured = "" if value is None else f"{short(value)}{unit}"
    return f"| {target.name} | {least} | {aim} | {measured} | {target.verdict(value, size)} |"


def _bench(name: str, lines: Sequence[Line], pictures: dict[str, str]) -> list[str]:
    head = lines[0]
    before = "chrt -r 1 " if head.get("real_time") else ""
    others = " (of others, which a real-time priority kept from the measured processes)" if before else ""
    made = [
        f"## {head['title']}",
        "",
        f"`{before}make bench BENCH={name} SIZE={head['size']}`, {head['date']}: {head['cores']} cores "
        f"({head['machine']}), Python {head['python']}, load average {head['load']} at the end{others}, "
        f"{head['stolen']:g}% of the time taken by the host.",
        "",
    ]
    in_table = False
    for line in lines[1:]:
        if "figure" in line:
            if not in_table:
                made += ["| figure | value | spread | |", "|---|---:|---|---|"]
            made.append(_figure(line))
            in_table = True
            continue
        if in_table:
            made.append("")
        in_table = False
        if "section" in line:
            made += [f"### {line['section']}", ""] + ([line["text"], ""] if line.get("text") else [])
        elif "growth" in line:
            made += _growth(name, Growth(**line["growth"]), pictures)
        elif "skipped" in line:
            made += [f"Left out: {line['skipped']} ({line['why']}).", ""]
    return made


def _figure(line: Line) -> str:
    unit = f" {line['unit']}".rstrip()
    spread = f"{short(line['min'])} – {short(line['max'])}" if "min" in line else ""
    return f"| {line['figure']} | {short(line['value'])}{unit} | {spread} | {line.get('about', '')} |"


def _growth(bench: str, growth: Growth, pictures: dict[str, str]) -> list[str]:
    slug = re.sub(r"[^a-z0-9]+", "-", f"{bench} {growth.title}".lower()).strip("-")
    pictures[f"bench-{slug}.svg"] = growth.svg()
    return [f"![{growth.title}](images/bench-{slug}.svg)", "", *growth.table(), ""]


if __name__ == "__main__":
    write()
