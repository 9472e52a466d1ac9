"""How a cost grows with a size: the exponent of a power law, and a picture of it.

For every benchmark that measures at several sizes. Values are **costs of the whole** (seconds of a cycle,
bytes of a process), not rates and not costs per item: those of a linear thing stay level, and n log n would
mean nothing. Several values of one size are runs of it; their median counts::

    growth = Growth("A full cycle", "agents", "s", {
        "50 frameworks": [(1_000, 0.011), (1_000, 0.012), (10_000, 0.13)],
        "1,000 frameworks": [(1_000, 0.05), (10_000, 0.61)],
    })
    growth.fits()["50 frameworks"].exponent   # 1.05
    growth.worse()                            # names of the series that are worse than n log n
    growth.svg()                              # logarithmic axes, each series with its exponent

``Record.growth`` (``benchmarks.record``) stores one with the other results, and puts it into the page.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
"""A size, and what it cost. Both above 0."""

SLACK = 0.05
"""Exponents this much over that of n log n are still taken for it."""


@dataclass(frozen=True)
class Fit:
    """``cost = factor * size ** exponent``, by least squares over the logarithms."""

    factor: float
    exponent: float
    error: float
    """Standard error of the exponent; 0 with two sizes, which any line fits."""
    limit: float
    """What n log n itself would give over these sizes, a little more than 1."""

    @property
    def worse(self) -> bool:
        """Whether this is worse than n log n, by more than the noise of the measurement."""
        return self.exponent - self.error > self.limit + SLACK

    def at(self, size: float) -> float:
        """The cost that the law gives."""
        return self.factor * float(size**self.exponent)


def fit(points: Sequence[Point]) -> Fit:
    """The law behind some points, one per size or several.

    Raises ``ValueError`` for fewer than two sizes and for anything that has no logarithm.
    """
    level = medians(points)
    if len(level) < 2:
        raise ValueError(f"an exponent needs two sizes at least, there are {len(level)}")
    if any(size <= 0 or value <= 0 for size, value in level):
        raise ValueError(f"sizes and costs must be above 0: {level}")
    xs = [math.log(size) for size, _ in level]
    slope, factor, error = _line(xs, [math.log(value) for _, value in level])
    # log(n + 1): n log n of one thing is not nothing.
    limit, _, _ = _line(xs, [x + math.log(math.log(math.exp(x) + 1)) for x in xs])
    return Fit(math.exp(factor), slope, error, limit)


def medians(points: Sequence[Point]) -> list[Point]:
    """One point a size, ascending."""
    return [
        (size, statistics.median(value for each, value in points if each == size))
        for size in sorted({size for size, _ in points})
    ]


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    """Slope, intercept, and the slope's standard error."""
    slope, intercept = statistics.linear_regression(xs, ys)
    if len(xs) < 3:
        return slope, intercept, 0.0
    rest = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    spread = sum((x - statistics.fmean(xs)) ** 2 for x in xs)
    return slope, intercept, math.sqrt(rest / (len(xs) - 2) / spread)


@dataclass(frozen=True)
class Growth:
    """One cost against one size, in one or several series."""

    title: str
    size: str
    """What is counted on the x axis: ``agents``."""
    unit: str
    """Of the cost: ``s``, ``MB``."""
    series: Mapping[str, Sequence[Point]]

    def fits(self) -> dict[str, Fit]:
        """The law of each series with two sizes or more."""
        return {
            name: fit(points)
            for name, points in self.series.items()
            if len({size for size, _ in points}) > 1 and all(value > 0 for _, value in points)
        }

    def worse(self) -> list[str]:
        """The series that grow worse than n log n."""
        return [name for name, law in self.fits().items() if law.worse]

    def table(self) -> list[str]:
        """Lines of Markdown: the medians, and the exponents."""
        sizes = sorted({size for points in self.series.values() for size, _ in points})
        fits = self.fits()
        lines = [
            f"| {self.size} | " + " | ".join(f"{size:,g}" for size in sizes) + " | grows as |",
            "|---|" + "---:|" * len(sizes) + "---|",
        ]
        for name, points in self.series.items():
            level = dict(medians(points))
            values = [f"{short(level[size])} {self.unit}" if size in level else "" for size in sizes]
            lines.append(f"| {name} | " + " | ".join(values) + f" | {said(fits.get(name))} |")
        return lines

    def svg(self) -> str:
        """A picture of it, for light and dark pages."""
        return _Picture(self).svg()


def said(law: Fit | None) -> str:
    """An exponent in words."""
    if law is None:
        return ""
    error = f" ± {law.error:.2f}" if law.error else ""
    return f"n^{law.exponent:.2f}{error}" + (" **(worse than n log n)**" if law.worse else "")


def short(value: float) -> str:
    """Three digits or so."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 0.1 or value == 0:
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:.2g}"


STYLE = """
    .c0 { fill: #0969da; stroke: #0969da; } .c1 { fill: #bc4c00; stroke: #bc4c00; }
    .c2 { fill: #1a7f37; stroke: #1a7f37; } .c3 { fill: #8250df; stroke: #8250df; }
    .c4 { fill: #bf3989; stroke: #bf3989; } .c5 { fill: #57606a; stroke: #57606a; }
    .line { fill: none; stroke-width: 2; } .law { fill: none; stroke-dasharray: 4 4; }
    .axis { stroke: #57606a; fill: none; } .grid { stroke: #d0d7de; fill: none; }
    text { fill: #1f2328; stroke: none; } .small { font-size: 12px; fill: #57606a; }
    .name { font-weight: 600; } .end { text-anchor: end; } .mid { text-anchor: middle; }
    text.c0, text.c1, text.c2, text.c3, text.c4, text.c5 { stroke: none; font-weight: 600; }
    @media (prefers-color-scheme: dark) {
      .c0 { fill: #58a6ff; stroke: #58a6ff; } .c1 { fill: #f0883e; stroke: #f0883e; }
      .c2 { fill: #3fb950; stroke: #3fb950; } .c3 { fill: #a371f7; stroke: #a371f7; }
      .c4 { fill: #f778ba; stroke: #f778ba; } .c5 { fill: #8b949e; stroke: #8b949e; }
      .line, .law { fill: none; }
      .axis { stroke: #8b949e; } .grid { stroke: #30363d; }
      text { fill: #e6edf3; } .small { fill: #9da7b1; }
    }
"""
WIDTH, HEIGHT = 800, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 540, 56, 340
"""Of the field between the axes; the names of the series stand right of it."""


class _Picture:
    def __init__(self, growth: Growth) -> None:
        self.growth = growth
        points = [point for each in growth.series.values() for point in medians(each) if min(point) > 0] or [(1.0, 1.0)]
        self.xs = _decades([size for size, _ in points])
        self.ys = _decades([value for _, value in points])

    def svg(self) -> str:
        growth, fits = self.growth, self.growth.fits()
        title = f"{growth.title} against the number of {growth.size}"
        words = "; ".join(f"{name}: {said(fits.get(name)).replace('**', '')}" for name in growth.series)
        parts = [f'<text class="name" x="{LEFT}" y="26">{escape(growth.title)}, {escape(growth.unit)}</text>']
        parts += self._axes()
        lines = [self._series(f"c{at % 6}", name) for at, name in enumerate(growth.series)]
        parts += [part for line in lines for part in line]
        parts += self._names()
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="14">\n'
            f'  <title id="title">{escape(title)}</title>\n'
            f'  <desc id="desc">{escape(words)}.</desc>\n'
            f"  <style>{STYLE}  </style>\n" + "".join(f"  {part}\n" for part in parts) + "</svg>\n"
        )

    def _axes(self) -> list[str]:
        parts = []
        for size in _ticks(*self.xs):
            x = self._x(size)
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM}"/>')
            parts.append(f'<text class="small mid" x="{x:.1f}" y="{BOTTOM + 20}">{size:,g}</text>')
        for value in _ticks(*self.ys):
            y = self._y(value)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
            parts.append(f'<text class="small end" x="{LEFT - 8}" y="{y + 4:.1f}">{value:,g}</text>')
        parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>')
        middle = (LEFT + RIGHT) / 2
        parts.append(f'<text class="small mid" x="{middle:g}" y="{BOTTOM + 42}">{escape(self.growth.size)}</text>')
        return parts

    def _series(self, kind: str, name: str) -> list[str]:
        level = [point for point in medians(self.growth.series[name]) if min(point) > 0]
        if not level:
            return []
        at = [(self._x(size), self._y(value)) for size, value in level]
        parts = [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in at]
        parts.append(f'<path class="{kind} line" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in at) + '"/>')
        law = self.growth.fits().get(name)
        if law is not None:
            ends = [(size, law.at(size)) for size in (level[0][0], level[-1][0])]
            path = "L".join(f"{self._x(size):.1f} {self._y(value):.1f}" for size, value in ends)
            parts.append(f'<path class="{kind} law" d="M{path}"/>')
        return parts

    def _names(self) -> list[str]:
        """At the ends of the lines, moved apart where they would lie on each other."""
        fits, places = self.growth.fits(), []
        for at, (name, points) in enumerate(self.growth.series.items()):
            level = [point for point in medians(points) if min(point) > 0]
            if level:
                places.append((self._y(level[-1][1]), f"c{at % 6}", name))
        parts, last = [], TOP - 34.0
        for y, kind, name in sorted(places):
            last = max(y, last + 34)
            law = fits.get(name)
            parts.append(f'<text class="{kind}" x="{RIGHT + 12}" y="{last:.1f}">{escape(name)}</text>')
            text = said(law).replace("**", "")
            parts.append(f'<text class="small" x="{RIGHT + 12}" y="{last + 15:.1f}">{escape(text)}</text>')
        return parts

    def _x(self, size: float) -> float:
        low, high = self.xs
        return LEFT + (RIGHT - LEFT) * math.log(size / low) / math.log(high / low)

    def _y(self, value: float) -> float:
        low, high = self.ys
        return BOTTOM - (BOTTOM - TOP) * math.log(value / low) / math.log(high / low)


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """A round range around the values: to the next 1, 2 or 5 of a power of ten."""
    low, high = min(values), max(values)
    below = max(each for each in _round(low / 10, high) if each <= low * 1.0001)
    above = min(each for each in _round(low, high * 10) if each >= high * 0.9999)
    return (below, above) if above > below else (below / 2, above * 2)


def _ticks(low: float, high: float) -> list[float]:
    """Where the lines of the grid are: powers of ten alone when there are many."""
    every = [each for each in _round(low, high) if low * 0.999 <= each <= high * 1.001]
    tens = [each for each in every if math.isclose(math.log10(each) % 1, 0, abs_tol=1e-6)]
    return every if len(every) <= 10 else tens


def _round(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
