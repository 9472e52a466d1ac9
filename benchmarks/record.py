"""What one benchmark found: a JSON line for each figure, on stdout at once and in ``benchmarks/results``.

Every benchmark writes one file, and ``benchmarks.page`` makes ``docs/benchmarks.md`` of all that are there,
so that one of them can be run again without the others::

    with Record("allocator", "The allocator alone", options.size) as record:
        record.section("A full cycle", "What is measured, in a sentence or two.")
        record.add("full cycle, 10,000 × 1,000", "s", [0.31, 0.30, 0.33], key="full")
        record.growth(Growth("A full cycle", "agents", "s", {...}))

``key`` names a figure for ``benchmarks.targets``. The file is written when the block ends without an error.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.growth import Growth
from benchmarks.sizes import folder as folder_of

Line = dict[str, Any]


class Record:
    """The results of one benchmark, named after its module."""

    def __init__(self, bench: str, title: str, size: str = "usual", folder: Path | None = None) -> None:
        """``size``: of ``benchmarks.sizes``, which also says where the results go."""
        self.bench = bench
        self.lines: list[Line] = []
        self._title = title
        self._size = size
        self._folder = folder or folder_of(size)
        self._began = machine_time()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        head = {"bench": self.bench, "title": self._title, "size": self._size, **facts(self._began)}
        self._folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *self.lines])
        whole = self._folder / f".{self.bench}.{os.getpid()}"
        whole.write_text(text)
        whole.replace(self._folder / f"{self.bench}.jsonl")

    def section(self, title: str, text: str = "") -> None:
        """What follows belongs under this title."""
        self._say({"section": title, "text": text})

    def add(self, name: str, unit: str, runs: Sequence[float], about: str = "", key: str = "") -> float:
        """A figure, from one or several runs; its median."""
        value = statistics.median(runs)
        line: Line = {"figure": name, "value": digits(value), "unit": unit}
        if len(runs) > 1:
            line |= {"min": digits(min(runs)), "max": digits(max(runs)), "runs": len(runs)}
        line |= {"about": about} if about else {}
        line |= {"key": key} if key else {}
        self._say(line)
        return value

    def growth(self, growth: Growth) -> None:
        """Costs against sizes, drawn in the page; what is worse than n log n is flagged there."""
        line = asdict(growth) | {"series": {n: [list(p) for p in s] for n, s in growth.series.items()}}
        exponents = {name: round(law.exponent, 3) for name, law in growth.fits().items()}
        self._say({"growth": line, "exponents": exponents, "worse": growth.worse()})

    def skip(self, what: str, why: str) -> None:
        """Something that was left out, and the reason."""
        self._say({"skipped": what, "why": " ".join(why.split())[:300]})

    def _say(self, line: Line) -> None:
        self.lines.append(line)
        print(json.dumps(line, ensure_ascii=False), flush=True)


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that ``part`` percent of them do not exceed (nearest rank)."""
    if not values:
        raise ValueError("a percentile of nothing")
    ranked = sorted(values)
    return ranked[max(0, -int(-part * len(ranked) // 100) - 1)]


def digits(value: float) -> float:
    """Five digits that mean something."""
    return float(f"{value:.5g}")


def machine_time() -> tuple[float, float]:
    """Seconds of all cores so far: in all, and those that the host gave to other machines."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    return sum(fields) / tick, fields[7] / tick


def facts(since: tuple[float, float]) -> Line:
    """When, and on what; ``since`` is the ``machine_time`` of the beginning."""
    now = machine_time()
    real_time = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": sys.version.split()[0],
        "load": round(os.getloadavg()[0], 1),
        "stolen": round(100 * (now[1] - since[1]) / max(0.01, now[0] - since[0]), 1),
        # `chrt -r 1 make bench`: on a machine that others use at the same time.
        **({"real_time": True} if real_time else {}),
    }
