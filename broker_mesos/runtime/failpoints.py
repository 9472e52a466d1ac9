"""Failpoints: places at which a test kills or stops this process, chosen by environment variables.

``BMESOS_FAILPOINTS='term.before-commit=kill@5'`` sends this process SIGKILL when it reaches that point for the fifth
time; ``=stop@5`` sends SIGSTOP, so that it continues after a SIGCONT. Several are separated by commas.
``BMESOS_FAILPOINTS_DIR`` names a folder in which a running test sets failpoints: a file there with the name of a
point and the content ``kill@5`` counts from when it appears. The first process to reach the point that often renames
the file to ``NAME.PID``, and gets the signal. If neither variable is set, a point costs one lookup in an empty dict.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from broker_mesos.errors import InvalidInput

VARIABLE = "BMESOS_FAILPOINTS"
FOLDER = "BMESOS_FAILPOINTS_DIR"

POINTS = frozenset(
    {
        "term.before-commit",
        "term.after-commit",
        "term.after-acknowledge",
        "term.before-publish",
        "term.after-publish",
        "outbox.confirmed",
        "batch.before-claim",
        "batch.after-claim",
        "batch.after-accept",
        "batch.before-apply",
        "batch.after-apply",
        "agent.before-checkpoint",
        "agent.after-checkpoint",
        "agent.after-launch",
        "agent.before-enrolment",
        "agent.after-enrolment",
        "enroll.after-user",
        "enroll.after-rights",
    }
)
"""The names of all points: a misspelt name would make a test pass that tests nothing."""

_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

_armed: dict[str, tuple[signal.Signals, int] | None] = {}
"""The signal for each armed point, and the number of the hit that sends it; None looks into the folder."""
_hits: dict[str, int] = {}
_folder = Path()


def arm(text: str, folder: str = "") -> None:
    """Replace the failpoints that are set. Raises InvalidInput."""
    global _folder
    _armed.clear()
    _hits.clear()
    if folder:
        _folder = Path(folder)
        _armed.update(dict.fromkeys(POINTS))
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, action = part.partition("=")
        if name not in POINTS:
            raise InvalidInput(f"{VARIABLE}: there is no point {name[:80]!r}; there are {', '.join(sorted(POINTS))}")
        _armed[name] = _action(action)


def hit(name: str) -> None:
    """Record that this process has reached the point ``name``."""
    if name in _armed:
        _count(name)


def _count(name: str) -> None:
    action = _armed[name]
    from_folder = action is None
    if action is None:
        try:
            action = _action((_folder / name).read_text())
        except FileNotFoundError:
            _hits.pop(name, None)
            return
    number, wanted = action
    _hits[name] = _hits.get(name, 0) + 1
    if _hits[name] < wanted:
        return
    if from_folder:
        del _hits[name]
        try:
            (_folder / name).rename(_folder / f"{name}.{os.getpid()}")
        except FileNotFoundError:
            return  # another process came first
    else:
        del _armed[name]
    os.kill(os.getpid(), number)


def _action(text: str) -> tuple[signal.Signals, int]:
    action, _, count = text.partition("@")
    if action not in _ACTIONS or not (count or "1").isdecimal() or len(count) > 9:
        raise InvalidInput(f"{VARIABLE}: {text[:80]!r}: write kill@COUNT or stop@COUNT")
    return _ACTIONS[action], int(count or "1")


arm(os.environ.get(VARIABLE, ""), os.environ.get(FOLDER, ""))
