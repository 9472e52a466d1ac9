"""The files of a task in a container, ``<work_dir>/containers/<task_id>/``, by which its agent and the process that
runs its container (``container_main.py``) know of each other.

``request.json``  what the agent wants to run; written before the process is started
``grace``         seconds between SIGTERM and SIGKILL, written by the agent before it sends SIGTERM to the process
``usage.json``    CPU seconds so far, bytes of memory now, and the most at one time
``outcome.json``  how the container has ended; written by the process before it ends
``left``          there if the process could not remove the container
``stdout``, ``stderr``  the output of the process itself, not of the task
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

REQUEST = "request.json"
GRACE = "grace"
USAGE = "usage.json"
OUTCOME = "outcome.json"
LEFT = "left"
MAX_BYTES = 4 << 20
"""The largest file that is read; a request has the command and the environment of its task."""


class Used(NamedTuple):
    """What a container has used: CPU seconds so far, bytes of memory now, and the most at one time."""

    cpu_seconds: float = 0.0
    memory: int = 0
    memory_peak: int = 0


class Outcome(NamedTuple):
    """How a container has ended."""

    exit_code: int | None
    """None if it was not started, or nobody knows how it ended."""
    text: str = ""
    """Why it was ended by its engine or not started, in one line."""
    kind: str = ""
    """``memory`` if it was ended for its memory, ``launch`` if it could not be started."""


def write(folder: str, name: str, value: Any) -> None:
    """Write a file as a whole: others see either the old or the new one. Raises OSError."""
    path = os.path.join(folder, name)
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(value, file)
    os.rename(path + ".new", path)


def read(folder: str, name: str) -> Any:
    """What is in a file; None if it is not there, or was not written by us."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            return json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None


def read_outcome(folder: str) -> Outcome | None:
    """How the container of this folder has ended; None if that was not written."""
    found = read(folder, OUTCOME)
    if not isinstance(found, list) or len(found) != len(Outcome._fields):
        return None
    code, text, kind = found
    return Outcome(code if isinstance(code, int) else None, str(text), str(kind))


def read_usage(folder: str) -> Used | None:
    """What the container of this folder has used at last; None if that was not written."""
    found = read(folder, USAGE)
    if not isinstance(found, list) or len(found) != len(Used._fields):
        return None
    try:
        return Used(float(found[0]), int(found[1]), int(found[2]))
    except (TypeError, ValueError, OverflowError):
        return None


def usage_of(stats: Mapping[str, Any], before: Used) -> Used:
    """The use of a container, from the statistics of its engine: of the memory, without the page cache that the kernel
    can take back."""
    cpu = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    memory = stats.get("memory_stats") or {}
    more = memory.get("stats") or {}
    cache = int(more.get("total_inactive_file", more.get("inactive_file", 0)) or 0)
    now = max(0, int(memory.get("usage") or 0) - cache)
    return Used(
        max(before.cpu_seconds, round(int(cpu.get("total_usage") or 0) / 1e9, 3)), now, max(before.memory_peak, now)
    )
