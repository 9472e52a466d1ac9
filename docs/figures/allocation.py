"""Draws the pictures of docs/allocation.md: ``python docs/figures/allocation.py``.

Nothing in them is drawn by hand: the policies themselves say who is served next. ``tests/test_docs.py`` fails
when a picture in ``docs/images`` is not what this draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy, Shares
from broker_mesos.core.model.resources import Resources

IMAGES = Path(__file__).parent.parent / "images"
COLOURS = ("c0", "c1", "c2")
STYLE = """
    .c0 { fill: #0969da; stroke: #0969da; } .c1 { fill: #bc4c00; stroke: #bc4c00; }
    .c2 { fill: #1a7f37; stroke: #1a7f37; }
    .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
    .block { fill-opacity: 0.25; stroke-width: 1.2; }
    .axis { stroke: #57606a; fill: none; } .grid { stroke: #d0d7de; fill: none; }
    .free { fill: none; stroke: #8b949e; stroke-dasharray: 3 3; }
    text { fill: #1f2328; stroke: none; } .small { font-size: 12px; fill: #57606a; }
    .name { font-weight: 600; } .end { text-anchor: end; } .mid { text-anchor: middle; }
    text.c0, text.c1, text.c2 { stroke: none; font-weight: 600; }
    @media (prefers-color-scheme: dark) {
      .c0 { fill: #58a6ff; stroke: #58a6ff; } .c1 { fill: #f0883e; stroke: #f0883e; }
      .c2 { fill: #3fb950; stroke: #3fb950; } .line { fill: none; }
      .axis { stroke: #8b949e; } .grid { stroke: #30363d; }
      text { fill: #e6edf3; } .small { fill: #9da7b1; }
    }
"""


@dataclass(frozen=True)
class Asker:
    """A framework in a role of the same name: what one task takes, and how many it wants."""

    name: str
    task: Resources
    wants: int
    weight: float = 1.0


PAPER = (
    Asker("A", Resources.of(cpus=1, mem=4), wants=99),
    Asker("B", Resources.of(cpus=3, mem=1), wants=99),
)
PAPER_TOTAL = Resources.of(cpus=9, mem=18)
CPU = Resources.of(cpus=1)
THREE = (
    Asker("prod", CPU, wants=40, weight=2.0),
    Asker("dev", CPU, wants=40),
    Asker("test", CPU, wants=40),
)
THREE_TOTAL = Resources.of(cpus=60)


def fill(policy: Policy, total: Resources, askers: Sequence[Asker]) -> list[int]:
    """Who got a task, one after the other (places in ``askers``), until nothing more fits."""
    # Equals go in the order of the paper's example: the last one first.
    claimants = [Claimant(each.name, each.name, -at) for at, each in enumerate(askers)]
    ranking = policy.rank(claimants, Shares(total, {}, {each.name: each.weight for each in askers}))
    free, served = total, list[int]()
    while True:
        for claimant in ranking.order():
            at = claimants.index(claimant)
            if served.count(at) < askers[at].wants and free.contains(askers[at].task):
                break
        else:
            return served
        served.append(at)
        free -= askers[at].task
        ranking.charge(claimant, askers[at].task)


def picture(title: str, desc: str, width: int, height: int, parts: Sequence[str]) -> str:
    """The whole file."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="14">',
            f'  <title id="title">{title}</title>',
            f'  <desc id="desc">{desc}</desc>',
            f"  <style>{STYLE}  </style>",
            *(f"  {part}" for part in parts),
            "</svg>\n",
        ]
    )


def text(x: float, y: float, said: str, kind: str = "") -> str:
    """One line of text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{said}</text>'


def curves(left: int, top: int, served: Sequence[int], askers: Sequence[Asker]) -> list[str]:
    """CPUs that each role holds, against the tasks started so far."""
    width, height, most = 400, 200, 40
    across, up = width / len(served), height / most
    parts = []
    for held in range(0, most + 1, 10):
        y = top + height - held * up
        parts.append(f'<path class="grid" d="M{left} {y:g}h{width}"/>')
        parts.append(text(left - 8, y + 4, str(held), "small end"))
    for started in range(0, len(served) + 1, 20):
        parts.append(text(left + started * across, top + height + 18, str(started), "small mid"))
    parts.append(f'<path class="axis" d="M{left} {top}v{height}h{width}"/>')
    parts.append(text(left, top - 12, "CPUs held", "small"))
    parts.append(text(left + width / 2, top + height + 38, "tasks started on a cluster of 60 CPUs", "small mid"))
    ends: list[float] = []
    for at, asker in enumerate(askers):
        held, path = 0, f"M{left} {top + height}"
        for chosen in served:
            held += chosen == at
            path += f"l{across:.2f} {-up * (chosen == at):g}"
        parts.append(f'<path class="line {COLOURS[at]}" d="{path}"/>')
        y = top + height - held * up + 4
        while any(abs(y - other) < 16 for other in ends):
            y += 16
        ends.append(y)
        said = f"{asker.name}: {held} of {asker.wants} wanted"
        parts.append(text(left + width + 10, y, said, COLOURS[at]))
    return parts


def blocks(left: int, top: int, served: Sequence[int]) -> list[str]:
    """The paper's machine: a bar for each resource, a block for each task."""
    parts = []
    width = 360
    for row, (name, unit) in enumerate((("cpus", "CPUs"), ("mem", "GB"))):
        y, whole = top + row * 62, PAPER_TOTAL.get(name)
        parts.append(text(left, y - 8, f"{whole // 1000} {unit}", "small"))
        x = float(left)
        for number, at in enumerate(served, 1):
            wide = width * PAPER[at].task.get(name) / whole
            parts.append(f'<rect class="block {COLOURS[at]}" x="{x:g}" y="{y}" width="{wide:g}" height="30"/>')
            if wide > 25:
                parts.append(text(x + wide / 2, y + 20, f"{PAPER[at].name}{number}", "mid"))
            x += wide
        if x < left + width - 0.5:
            parts.append(f'<rect class="free" x="{x:g}" y="{y}" width="{left + width - x:g}" height="30"/>')
            parts.append(text((x + left + width) / 2, y + 20, "free", "small mid"))
    return parts


def shares(left: int, top: int, served: Sequence[int]) -> list[str]:
    """Dominant shares after each task of the paper's example."""
    parts = [text(left, top - 8, "dominant share after each task", "small")]
    for number in range(len(served) + 1):
        x = left + number * 46
        head = f"{number}: {PAPER[served[number - 1]].name}" if number else "start"
        parts.append(text(x + 18, top + 128, head, "small mid"))
        for at, asker in enumerate(PAPER):
            size = asker.task.dominant_share(PAPER_TOTAL)
            tall = 110 * size * served[:number].count(at)
            parts.append(
                f'<rect class="block {COLOURS[at]}" x="{x + at * 19}" y="{top + 110 - tall:.1f}" '
                f'width="17" height="{tall:.1f}"/>'
            )
    y = top + 110 - 110 * 2 / 3
    parts.append(f'<path class="free" d="M{left} {y:.1f}h{46 * len(served) + 46}"/>')
    parts.append(text(left + 46 * len(served) + 50, y + 4, "2/3", "small"))
    parts.append(f'<path class="axis" d="M{left} {top + 110}h{46 * len(served) + 46}"/>')
    return parts


def drf() -> str:
    """The paper's example, and three roles."""
    served = fill(BUILT_IN["drf"], PAPER_TOTAL, PAPER)
    parts = [
        text(20, 28, "9 CPUs and 18 GB, shared by A (a task: 1 CPU, 4 GB) and B (3 CPUs, 1 GB)", "name"),
        *blocks(20, 68, served),
        *shares(440, 62, served),
        text(20, 236, "Three roles: prod has weight 2, dev and test have 1", "name"),
        *curves(60, 274, fill(BUILT_IN["drf"], THREE_TOTAL, THREE), THREE),
    ]
    desc = (
        "Tasks start in the order B, A, A, B, A: three for A, two for B, and both hold two thirds of what "
        "they use most. Of three roles, the one of weight 2 holds twice as much as each of the others."
    )
    return picture("The policy drf: dominant resource fairness", desc, 800, 530, parts)


def curve(name: str, heading: str, title: str, desc: str) -> str:
    """Three roles under another policy."""
    served = fill(BUILT_IN[name], THREE_TOTAL, THREE)
    parts = [text(20, 28, heading, "name"), *curves(60, 66, served, THREE)]
    return picture(title, desc, 800, 322, parts)


def pictures() -> dict[str, str]:
    """All of them, by file name."""
    return {
        "allocation-drf.svg": drf(),
        "allocation-priority.svg": curve(
            "priority",
            "The same three roles: prod, of the highest weight, is served whole first",
            "The policy priority: strict",
            "The role prod gets the first 40 tasks, all that it wants; dev and test share the other 20.",
        ),
        "allocation-random.svg": curve(
            "random",
            "The same three roles: each next task is drawn by lot, two lots for prod, one for each other",
            "The policy random",
            "Lines rise unevenly; prod gets about twice as much as each of dev and test.",
        ),
    }


def main() -> None:
    """Write those that changed."""
    for name, drawn in pictures().items():
        path = IMAGES / name
        if not path.exists() or path.read_text(encoding="utf-8") != drawn:
            path.write_text(drawn, encoding="utf-8")
            print(f"drew {path}")


if __name__ == "__main__":
    main()
