"""What the kernel is to hold a task to, as its launch request and the journal describe it. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from broker_mesos.containerizer.cgroups.limits import DEFAULT_PIDS, Limits
from broker_mesos.containerizer.launchers.profile import NO_LIMIT, RLIMITS
from broker_mesos.containerizer.namespaces.view import View, ports_of, view_of

MAX_PIDS = 1 << 22
"""The kernel has no more process ids."""
MAX_CPUS = 10_000.0
MIN_CPU_LIMIT = 0.01
"""The smallest quota that the kernel takes, in CPUs."""
MAX_BYTES = 1 << 62
NO_CORE = (("core", 0),)
"""The resource limits of a task that names none."""


class TaskLimits(NamedTuple):
    """All limits of one task."""

    limits: Limits
    pin: int
    """CPUs of its own that it is to have; 0: none."""
    rlimits: tuple[tuple[str, int], ...]
    """Resource limits by name, as in a ``Profile``."""
    view: View | None = None
    """What the task sees, if that is not all of the machine."""
    ports: tuple[tuple[int, int], ...] | None = None
    """The ranges of TCP ports that it may listen on; None: all."""


def task_limits(held: Mapping[str, Any]) -> TaskLimits:
    """The limits in a launch request, or in the journal. Raises one of ``launch_requests.UNUSABLE``, with the reason in
    one line, if they are none."""
    cpu_limit = _number(held, "cpu_limit", 0.0, MAX_CPUS)
    if 0 < cpu_limit < MIN_CPU_LIMIT:
        raise ValueError(f"a limit of {cpu_limit:g} CPUs is below {MIN_CPU_LIMIT:g}, the least that the kernel takes")
    oom = held.get("oom") or "kill"
    if oom not in ("kill", "ignore"):
        raise ValueError(f"oom is {oom!r:.40}, and not kill or ignore")
    limits = Limits(
        cpus=_number(held, "cpus", 1.0, MAX_CPUS),
        memory=_integer(held, "memory", MAX_BYTES),
        pids=_integer(held, "pids", MAX_PIDS) or DEFAULT_PIDS,
        quota=cpu_limit,
        burst=cpu_limit,
        cpuset=str(held.get("cpuset") or ""),
        idle=bool(held.get("idle", False)),
        ends_by_oom=oom == "kill",
    )
    rlimits = _rlimits(held.get("rlimits") or {})
    return TaskLimits(limits, _integer(held, "pin", int(MAX_CPUS)), rlimits, view_of(held), ports_of(held))


def limits_of(held: Mapping[str, Any]) -> Limits:
    """The limits of a task's cgroup. Raises as ``task_limits`` does."""
    return task_limits(held).limits


def _number(held: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = float(held.get(name, default))
    if not (math.isfinite(value) and 0 <= value <= most):
        raise ValueError(f"{name} is {value:g}, and not between 0 and {most:g}")
    return value


def _integer(held: Mapping[str, Any], name: str, most: int) -> int:
    value = int(held.get(name, 0))
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {value}, and not between 0 and {most}")
    return value


def _rlimits(wanted: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    if not wanted:
        return NO_CORE
    found = dict(NO_CORE)
    for name, value in wanted.items():
        if name not in RLIMITS:
            raise ValueError(f"rlimit {name!r:.40} is not known here; known are {', '.join(sorted(RLIMITS))}")
        if not NO_LIMIT <= int(value) <= MAX_BYTES:
            raise ValueError(
                f"rlimit {name} is {int(value)}, and not between 0 and {MAX_BYTES}, or {NO_LIMIT} for none"
            )
        found[name] = int(value)
    return tuple(sorted(found.items()))
