"""The text for a task that ended by SIGKILL: whether it was killed for its memory, and whose limit it was. Pure."""

from __future__ import annotations

from typing import NamedTuple

from broker_mesos.containerizer.cgroups.limits import LAUNCHER_BYTES, MB, Limits
from broker_mesos.containerizer.cgroups.usage import Usage

PAGE_BYTES = 4096


class MemoryEnd(NamedTuple):
    """Why the kernel killed processes of a task."""

    own_limit: bool
    """Whether the task reached its own limit; else all tasks together reached what the agent lends, or the machine
    was out of memory."""
    text: str


def memory_end(limits: Limits, usage: Usage, version: int, host: str) -> MemoryEnd | None:
    """Why the kernel killed processes of a task; None if it killed none for memory. An exit code of 137 means nothing:
    the kill of a child counts as much, though its parent may have exited with 0."""
    if usage.counted.oom_kills == 0:
        return None
    limit = limits.memory_bytes
    if version == 2:
        own = usage.counted.own_ooms > 0
    else:
        own = 0 < limit - PAGE_BYTES <= usage.memory_peak
    if own and limit:
        peak = min(limit, usage.memory_peak or limit) - LAUNCHER_BYTES
        text = f"used more than its mem:{_mb(limits.memory)} MB (peak {_mb(peak)} MB) on {host}; killed by the kernel"
        return MemoryEnd(True, text)
    return MemoryEnd(False, f"killed for memory on {host}: all tasks together reached what the agent lends")


SIGKILL_TEXT = "terminated by SIGKILL (not by us, not for its memory limit)"
"""The text for a task that ended by SIGKILL while the kernel killed none of its processes for memory."""


def _mb(count: int) -> str:
    return f"{count / MB:,.0f}"
