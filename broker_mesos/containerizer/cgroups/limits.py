"""The limits of a task, and the values of the cgroup files that hold them, on v1 and v2. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MB = 1 << 20
MIN_MEMORY_BYTES = 32 * MB
"""The smallest memory limit: a smaller one ends programs while they are being loaded."""
LAUNCHER_BYTES = MB
"""Memory that is added to each limit for the launcher, which is in the cgroup of its task."""
LAUNCHER_PIDS = 1
"""Processes that are added to each limit for the launcher."""
DEFAULT_PIDS = 4096
PERIOD_USEC = 100_000
"""The period of a CPU quota, in microseconds."""
MIN_QUOTA_USEC = 1_000
"""The kernel refuses a smaller quota for a period."""


class Limits(NamedTuple):
    """What the kernel holds a task to."""

    cpus: float = 1.0
    """The share of CPU time when CPUs are scarce, in CPUs; it is no upper limit."""
    memory: int = 0
    """Bytes of memory at most, swap included; 0: not limited."""
    pids: int = DEFAULT_PIDS
    """Processes and threads at most."""
    quota: float = 0.0
    """CPUs at most, in each period; 0: not limited."""
    burst: float = 0.0
    """CPUs that unused parts of earlier periods may add to the quota, where the kernel has that; at most the quota."""
    cpuset: str = ""
    """The CPUs that the task may run on, as in "0-2,5"; empty: all that its agent may use."""
    idle: bool = False
    """Whether the task gets only CPU time that no other one wants, as one that runs on revocable resources."""
    ends_by_oom: bool = True
    """Whether all of the task ends when the kernel kills one of its processes for memory."""

    @property
    def memory_bytes(self) -> int:
        """The limit that the kernel gets: at least MIN_MEMORY_BYTES, and the launcher's part added; 0: none."""
        return max(self.memory, MIN_MEMORY_BYTES) + LAUNCHER_BYTES if self.memory else 0


class Setting(NamedTuple):
    """A value for a file of a task cgroup."""

    controller: str
    file: str
    text: str


FILES_V1 = {
    "cpu": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_burst_us", "cpu.idle"),
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    "pids": ("pids.max",),
}
FILES_V2 = {
    "cpu": ("cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle"),
    "memory": ("memory.max", "memory.swap.max", "memory.oom.group"),
    "pids": ("pids.max",),
}
"""The files that hold limits; the first of each controller must be there, others may be missing."""

ALL_CPUS = "\n"
"""The value of a cpuset that is not limited: v2 takes it as it is, and v1 takes that of the cgroup above instead."""
_UNLIMITED_V1 = "-1"


def settings(limits: Limits, controller: str, version: int) -> list[Setting]:
    """The values that hold one controller to the limits, in an order in which a cgroup without limits takes them."""
    if controller == "cpu":
        made = _cpu(limits, version)
    elif controller == "memory":
        made = _memory(limits, version)
    elif controller == "pids":
        made = [("pids.max", str(limits.pids + LAUNCHER_PIDS))]
    elif controller == "cpuset":
        made = [("cpuset.cpus", limits.cpuset or ALL_CPUS)]
    else:
        made = []
    return [Setting(controller, file, text) for file, text in made]


def _cpu(limits: Limits, version: int) -> list[tuple[str, str]]:
    quota = max(MIN_QUOTA_USEC, round(limits.quota * PERIOD_USEC)) if limits.quota else 0
    burst = min(quota, round(limits.burst * PERIOD_USEC))
    cpus = 0.0 if limits.idle else limits.cpus
    idle = ("cpu.idle", str(int(limits.idle)))
    if version == 1:
        shares = min(262_144, max(2, round(1024 * cpus)))
        made = [("cpu.shares", str(shares)), ("cpu.cfs_quota_us", str(quota) if quota else _UNLIMITED_V1)]
        return [*made, ("cpu.cfs_burst_us", str(burst)), idle]
    made = [("cpu.weight", str(cpu_weight(cpus))), ("cpu.max", f"{quota or 'max'} {PERIOD_USEC}")]
    return [*made, ("cpu.max.burst", str(burst)), idle]


def cpu_weight(cpus: float) -> int:
    """The weight on v2 that is the share of so many CPUs."""
    return min(10_000, max(1, round(100 * cpus)))


def _memory(limits: Limits, version: int) -> list[tuple[str, str]]:
    limit = limits.memory_bytes
    if version == 1:
        text = str(limit) if limit else _UNLIMITED_V1
        return [("memory.limit_in_bytes", text), ("memory.memsw.limit_in_bytes", text)]
    # Swap that is not limited would let a task with a limit use more than that.
    swap = "0" if limit else "max"
    together = ("memory.oom.group", str(int(limits.ends_by_oom)))
    return [("memory.max", str(limit) if limit else "max"), ("memory.swap.max", swap), together]


def in_order(wanted: Iterable[Setting], written: dict[str, str]) -> list[Setting]:
    """The settings to write into a cgroup that has the values ``written``, by file, in an order that the kernel takes.

    Values that it has already are left out. A burst may not exceed the quota, nor a limit of memory that of memory and
    swap together, and an idle cgroup takes no shares and loses those that it had. So what depends on another value is
    lifted before that one changes, and written after it.
    """
    wanted = list(wanted)
    changed = {each.file for each in wanted if written.get(each.file) != each.text}
    before = []
    for each in wanted:
        if each.file not in changed:
            continue
        if each.file == "memory.limit_in_bytes" and "memory.memsw.limit_in_bytes" in changed:
            before.append(Setting(each.controller, "memory.memsw.limit_in_bytes", _UNLIMITED_V1))
        for file, depending, lifted in _DEPENDING:
            if each.file == file and depending in {other.file for other in wanted} and written.get(depending) != lifted:
                before.append(Setting(each.controller, depending, lifted))
                changed.add(depending)
    if "cpu.idle" in changed:
        changed.update(("cpu.shares", "cpu.weight"))
    return [*before, *(each for each in wanted if each.file in changed)]


_DEPENDING = (
    ("cpu.cfs_quota_us", "cpu.cfs_burst_us", "0"),
    ("cpu.max", "cpu.max.burst", "0"),
    ("cpu.shares", "cpu.idle", "0"),
    ("cpu.weight", "cpu.idle", "0"),
    ("cpu.idle", "cpu.idle", "0"),
)
"""A file, another one whose value depends on the value of it, and the value of that one that fits to all."""
