"""``bmesos status --watch``: prints the status again whenever it has changed."""

from __future__ import annotations

import io
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout

from broker_mesos.cli import show
from broker_mesos.client.jobs import JobClient
from broker_mesos.errors import Unavailable

REDRAW_SECONDS = 2.0
"""Seconds between two looks at the cluster. A job's changes are sent."""

_HOME_AND_CLEAR = "\x1b[H\x1b[J"
_AGES = re.compile(r"[0-9]+(\.[0-9]+)? ?(ms|[smhd])( [0-9]+ [smh])?( ago)?\b|\s+")
"""What changes in a view although nothing has happened."""


class _Screen(io.StringIO):
    """Collects a view, so that the old one is replaced in one step."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def watch(client: JobClient, job_id: str | None, draw: Callable[[], None]) -> None:
    """Show what ``draw`` prints, in place on a terminal, else as a block for each change; until the job has ended,
    or without a job until Ctrl-C. Once something was shown, a cluster that does not answer is a note on stderr."""
    terminal = sys.stdout.isatty()
    last: str | None = None
    for _ in _cluster_turns() if job_id is None else client.changes(job_id):
        screen = _Screen(terminal)
        try:
            with redirect_stdout(screen):
                draw()
        except Unavailable as error:
            if last is None:
                raise
            show.note(f"bmesos: {error}")
            continue
        text = screen.getvalue()
        if terminal:
            lines = text.splitlines(keepends=True)[: shutil.get_terminal_size().lines - 1]
            sys.stdout.write(_HOME_AND_CLEAR + "".join(lines))
        elif last is None or _AGES.sub("", text) != _AGES.sub("", last):
            sys.stdout.write(text if last is None else f"\n{text}")
        sys.stdout.flush()
        last = text


def _cluster_turns() -> Iterator[None]:
    while True:
        yield
        time.sleep(REDRAW_SECONDS)
