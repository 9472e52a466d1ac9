"""The picture of ``benchmarks.locality``, and its table in the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

BEGIN, END = "<!-- written by benchmarks.locality -->", "<!-- end -->"

Row = tuple[str, float, float]
"""Case, part of the tasks that were local, and seconds of a job."""

STYLE = """
    .local { fill: #0969da; } .time { fill: #bc4c00; }
    .axis { stroke: #57606a; fill: none; } .grid { stroke: #d0d7de; fill: none; }
    text { fill: #1f2328; } .small { font-size: 12px; fill: #57606a; }
    .name { font-weight: 600; } .mid { text-anchor: middle; } .end { text-anchor: end; }
    @media (prefers-color-scheme: dark) {
      .local { fill: #58a6ff; } .time { fill: #f0883e; }
      .axis { stroke: #8b949e; } .grid { stroke: #30363d; }
      text { fill: #e6edf3; } .small { fill: #9da7b1; }
    }
"""
WIDTH, HEIGHT, BASE, TALL = 800, 330, 270, 190
"""Of the picture; where the bars stand, and how high the highest is."""


def write(docs: Path, rows: Sequence[Row]) -> None:
    """Both of them."""
    (docs / "images" / "locality.svg").write_text(_picture(rows))
    page = docs / "allocation.md"
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{_table(rows)}\n{END}{after}")


def _table(rows: Sequence[Row]) -> str:
    first = rows[0][2]
    lines = [
        "| | local tasks | a job takes | faster than partitioned |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {local:.0%} | {time:.0f} s | {first / time:.2f} × |" for name, local, time in rows),
    ]
    return "\n".join(lines)


def _picture(rows: Sequence[Row]) -> str:
    longest = max(time for _, _, time in rows)
    said = "; ".join(f"{name}: {local:.0%} local, {time:.0f} s" for name, local, time in rows)
    parts = [
        _panel(60, "Tasks that ran where their data is", "local", [(n, v, f"{v:.0%}") for n, v, _ in rows]),
        _panel(
            450,
            "Seconds from a job's start to its end",
            "time",
            [(n, v / longest, f"{v:.0f} s") for n, _, v in rows],
        ),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="14">\n'
        '  <title id="title">Delay scheduling: locality and job time against the wait</title>\n'
        f'  <desc id="desc">{said}.</desc>\n'
        f"  <style>{STYLE}  </style>\n" + "".join(parts) + "</svg>\n"
    )


def _panel(left: int, title: str, kind: str, bars: Sequence[tuple[str, float, str]]) -> str:
    lines = [f'<text class="name" x="{left}" y="30">{title}</text>']
    for part in (0.25, 0.5, 0.75, 1.0):
        y = BASE - TALL * part
        lines.append(f'<path class="grid" d="M{left} {y:g}h320"/>')
    for at, (name, value, label) in enumerate(bars):
        x, height = left + 12 + 80 * at, TALL * value
        middle = x + 28
        lines.append(f'<rect class="{kind}" x="{x}" y="{BASE - height:.1f}" width="56" height="{height:.1f}"/>')
        lines.append(f'<text class="mid" x="{middle}" y="{BASE - height - 6:.1f}">{label}</text>')
        for row, word in enumerate(name.split(" ", 1)):
            lines.append(f'<text class="small mid" x="{middle}" y="{BASE + 20 + 16 * row}">{word}</text>')
    lines.append(f'<path class="axis" d="M{left} {BASE}h320"/>')
    return "".join(f"  {line}\n" for line in lines)
