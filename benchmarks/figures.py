"""Figures: one JSON line each as they come, a table at the end, and the page in the docs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured value: the median of ``runs``."""

    name: str
    unit: str
    runs: tuple[float, ...]
    about: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.runs)

    @property
    def spread(self) -> str:
        """Lowest to highest, if there were several."""
        return f"{_short(min(self.runs))} – {_short(max(self.runs))}" if len(self.runs) > 1 else ""


@dataclass
class Section:
    """Figures that belong together, and what they mean."""

    title: str
    text: str
    figures: list[Figure] = field(default_factory=list)


class Report:
    """Collects figures; each is one JSON line on stdout at once."""

    def __init__(self) -> None:
        self.sections: list[Section] = []

    def section(self, title: str, text: str = "") -> None:
        """What follows belongs under this title."""
        self.sections.append(Section(title, text))

    def add(self, name: str, unit: str, runs: Sequence[float], about: str = "") -> Figure:
        """A figure, from one or several runs."""
        figure = Figure(name, unit, tuple(runs), about)
        self.sections[-1].figures.append(figure)
        line = {"figure": name, "value": round(figure.value, 4), "unit": unit}
        if len(figure.runs) > 1:
            line |= {"min": round(min(runs), 4), "max": round(max(runs), 4), "runs": len(runs)}
        print(json.dumps(line), flush=True)
        return figure

    def table(self) -> str:
        """All of it for a terminal."""
        rows = [(f.name, f"{_short(f.value)} {f.unit}", f.spread) for s in self.sections for f in s.figures]
        widths = [max(len(row[at]) for row in rows) for at in range(2)]
        lines = []
        for section in self.sections:
            lines += ["", section.title]
            for figure in section.figures:
                value = f"{_short(figure.value)} {figure.unit}"
                lines.append(f"  {figure.name:<{widths[0]}}  {value:>{widths[1]}}  {figure.spread}".rstrip())
        return "\n".join(lines)

    def write(self, page: Path, facts: Sequence[str]) -> None:
        """The page in the docs."""
        lines = [
            "# Benchmarks",
            "",
            "Measured by `make bench`, which writes this page. Values are medians; beside them the lowest",
            "and the highest run. Figures of one table come from one run on one machine: compare ratios.",
            "",
            *(f"- {fact}" for fact in facts),
        ]
        for section in self.sections:
            lines += ["", f"## {section.title}", ""]
            if section.text:
                lines += [section.text, ""]
            lines += ["| figure | value | spread | |", "|---|---:|---|---|"]
            lines += [
                f"| {f.name} | {_short(f.value)} {f.unit} | {f.spread} | {f.about} |" for f in section.figures
            ]
        page.write_text("\n".join(lines) + "\n")


def machine_time() -> tuple[float, float]:
    """Seconds of all cores so far: in all, and those that the host gave to other machines."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    return sum(fields) / tick, fields[7] / tick


def facts(since: tuple[float, float]) -> list[str]:
    """When, and on what; ``since`` is the ``machine_time`` of the beginning."""
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    load = os.getloadavg()[0]
    now = machine_time()
    stolen = 100 * (now[1] - since[1]) / max(0.01, now[0] - since[0])
    return [
        f"date: {time.strftime('%Y-%m-%d')}",
        f"machine: {os.cpu_count()} cores shared by everything below ({model or platform.machine()}), "
        f"load average {load:.1f} at the end; the host took {stolen:.0f}% of its time for others",
        f"Python {sys.version.split()[0]}; Redis with `appendfsync always`",
    ]


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
