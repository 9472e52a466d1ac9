"""Prints results: tables on a terminal, plain columns in a pipe, one JSON value with ``-o json``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from broker_mesos.errors import Unavailable

if TYPE_CHECKING:
    from broker_mesos.client.jobs import JobClient
    from broker_mesos.core.model.part import Part
    from broker_mesos.core.model.resources import Resources

all_columns = False
"""Whether a terminal's tables have all columns: with ``-o wide``."""

_MIN_TURN_SECONDS = 1.5
"""Seconds before the first question why a job waits, and between two of them."""
_GOOD = {"finished", "registered", "subscribed", "ok"}
_BAD = {"failed", "lost", "dropped", "error", "gone", "unreachable", "torn-down", "no owner"}
_BUSY = {"running", "staging", "starting", "warning", "draining", "drained", "deactivated"}


def print_json(value: Any) -> None:
    """One JSON value on stdout, with escapes where its encoding lacks characters."""
    unicode = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=not unicode))


def data(part: Part) -> Any:
    """A part as JSON."""
    return part.model_dump(mode="json")


def note(text: str) -> None:
    """A line on stderr, for people. One that cannot be written is dropped: the work goes on without it."""
    with suppress(OSError):
        print(clean(text), file=sys.stderr, flush=True)


class WaitingNotes:
    """Notes on stderr why a job waits, for room or for an unreachable agent: each reason once, until it changes."""

    def __init__(self, client: JobClient) -> None:
        self._client = client
        self._last = ""
        self._due = time.monotonic() + _MIN_TURN_SECONDS  # most jobs start at once

    def check(self, summary: Mapping[str, Any]) -> None:
        """Asks why, and prints it, if the job of this summary waits; nothing if that was asked just before."""
        if summary.get("ended_at") is not None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _MIN_TURN_SECONDS
        with suppress(Unavailable):
            found = self._client.call("GET_JOB", {"job_id": summary["job_id"], "limit": 0})["summary"]
            self._note(f"job {summary['job_id']}", found.get("waiting") or "")

    def check_task(self, task: Mapping[str, Any]) -> None:
        """The same for one task of a job."""
        if task["state"] == "unreachable":
            from broker_mesos.core.api.explain_reasons import why_lost

            self._note(f"task {task['task_id']}", why_lost({task["agent_id"]: 1}))
        elif task["state"] == "pending":
            from broker_mesos.client.jobs import job_of

            self.check({"job_id": job_of(task)})

    def _note(self, subject: str, why: str) -> None:
        if why and why != self._last:
            note(f"bmesos: {subject} waits: {why}")
            self._last = why


def line(text: str) -> None:
    """A line on stdout."""
    print(clean(text))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", drop: Sequence[str] | None = None
) -> None:
    """Rows under headings; a heading that starts with ``>`` is a column of numbers.

    On a terminal the table fits its width: columns are left out in the order of ``drop`` (None: from the right, down
    to the first one) until the rest has room. Elsewhere, and with ``-o wide``, all of them are there, as wide as
    they must be.
    """
    names = [name.removeprefix(">") for name in columns]
    right = [name.startswith(">") for name in columns]
    cells = [[clean(str(value)) for value in row] for row in rows]
    if sys.stdout.isatty():
        import shutil

        from broker_mesos.cli.fitting import fit

        # Rich's own guess falls back to 80 columns in some terminals.
        widths = fit(names, cells, drop, None if all_columns else shutil.get_terminal_size().columns)
        _rich(names, right, cells, title, widths)
        return
    if title:
        print(title)
    plain = [max(len(row[at]) for row in [names, *cells]) for at in range(len(names))]
    for row in [names, *cells]:
        padded = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, plain, right, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _rich(names: list[str], right: list[bool], cells: list[list[str]], title: str, widths: Mapping[int, int]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from broker_mesos.cli.fitting import GAP, shortened

    # With a height, too: without one rich takes 80 columns for a terminal that it knows nothing of.
    width = max(sum(widths.values()) + GAP * len(widths), len(title), 1)
    console = Console(width=width, height=25, highlight=False)
    made = Table(
        box=SIMPLE_HEAD,
        title=Text(title, "bold") if title else None,
        title_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, GAP - 1, 0, 0),
    )
    for at, width in widths.items():
        # Ids fold rather than lose their ends: they are there to be copied.
        made.add_column(
            Text(names[at], "bold"),
            justify="right" if right[at] else "left",
            overflow="ellipsis" if shortened(names[at]) else "fold",
            no_wrap=shortened(names[at]),
            width=width,
        )
    for row in cells:
        # Text, so that square brackets in a name are not taken for markup.
        made.add_row(*(Text(row[at], _style(names[at], row[at])) for at in widths))
    console.print(made)


def _style(name: str, cell: str) -> str:
    if name == "STATE" or name == "OWNER":
        return "green" if cell in _GOOD else "red" if cell in _BAD else "cyan" if cell in _BUSY else ""
    return "red" if name == "EXIT" and cell not in ("", "-", "0") else ""


def clean(text: str) -> str:
    """Text from elsewhere, without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 m 5 s``, ``2 h 10 m``, ``4 d 3 h``."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    for unit, size, below, name in (("d", 86_400, 3_600, "h"), ("h", 3_600, 60, "m"), ("m", 60, 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def has_roles(roles: Iterable[str]) -> bool:
    """Whether any of the roles of jobs is one of its own, so that a column of roles tells something."""
    from broker_mesos.core.model.roles import ANYBODY

    return any(role != ANYBODY for role in roles)


def clock(at: float) -> str:
    """Date and time with milliseconds, in the time zone of this machine, of seconds since the epoch."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03}"


def since(at: float) -> str:
    """``12 s ago`` for seconds since the epoch."""
    return f"{duration(time.time() - at)} ago" if at else "-"


def amount(name: str, thousandths: int) -> str:
    """An amount of one resource for people: mem and disk in the unit that fits."""
    if name in ("mem", "disk"):
        value = thousandths / 1000
        for unit in ("MB", "GB", "TB"):
            if value < 1024 or unit == "TB":
                return f"{round(value, 1):g} {unit}"
            value /= 1024
    return f"{thousandths / 1000:g}"


def resources(value: Resources) -> str:
    """``2 cpus, 1 GB mem, 6 ports``; ``-`` for nothing."""
    amounts = value.quantities()
    return ", ".join(f"{amount(name, amounts[name])} {name}" for name in value.names()) or "-"


def part_of(used: Resources, total: Resources, name: str) -> str:
    """``1/4`` of one resource."""
    whole = total.quantities().get(name, 0)
    return f"{amount(name, used.quantities().get(name, 0))} / {amount(name, whole)}" if whole else "-"


def warn_missing(missing: Sequence[Any]) -> None:
    """Says on stderr which cells an answer lacks."""
    if not missing:
        return
    cells = ", ".join(str(each.cell) for each in missing)
    note(
        f"bmesos: cell{'s' if len(missing) > 1 else ''} {cells} did not answer ({missing[0].reason}): "
        "their part is missing here"
    )
