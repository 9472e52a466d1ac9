"""Reads the CPU and memory limits of the control groups that this process is in (such as CPUQuota and MemoryMax of its
systemd unit, or the limits of a container); an agent cannot lend more."""

from __future__ import annotations

import os
from collections.abc import Iterator

from broker_mesos.containerizer.cgroups.files import CgroupFiles, number, optional
from broker_mesos.containerizer.cgroups.mounts import PROC, hierarchies

NO_LIMIT = float("inf")

_files = CgroupFiles()


def cpus(proc: str | os.PathLike[str] = PROC, root: str | os.PathLike[str] = "/") -> float:
    """The number of CPUs by the lowest quota of the process' groups, v1 and v2; infinity if there is none."""
    limit = NO_LIMIT
    for folder in _folders("cpu", proc, root):
        text = optional(_files, f"{folder}/cpu.max")
        text = text or " ".join(optional(_files, f"{folder}/cpu.cfs_{each}_us") for each in ("quota", "period"))
        try:
            quota, period = (int(each) for each in text.split())
        except ValueError:
            continue  # "max", or no such file
        if quota > 0 and period > 0:
            limit = min(limit, quota / period)
    return limit


def memory(proc: str | os.PathLike[str] = PROC, root: str | os.PathLike[str] = "/") -> float:
    """The memory in bytes by the lowest limit of the process' groups, v1 and v2; infinity if there is none."""
    limit = NO_LIMIT
    for folder in _folders("memory", proc, root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (found := number(_files, f"{folder}/{name}")) > 0:
                limit = min(limit, found)
    return limit


def _folders(controller: str, proc: str | os.PathLike[str], root: str | os.PathLike[str]) -> Iterator[str]:
    """The folders of the process' group and of the groups above it, as far as they are mounted here, in each hierarchy
    that may have the controller."""
    for each in hierarchies(os.fspath(proc), os.fspath(root)):
        if each.version == 2 or controller in each.controllers:
            yield from each.upwards()
