"""Finds the resources that this machine can lend, and measures how busy it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import psutil

from broker_mesos.agent.slack import Machine
from broker_mesos.containerizer.cgroups import own_limits
from broker_mesos.containerizer.disk_space import DiskSpace
from broker_mesos.containerizer.disk_space import measure as disk_space_of
from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.resources import Amount, Resources
from broker_mesos.errors import InvalidResources

MB = 1 << 20
RESERVED_MEM = 1024
"""Memory that is left to the machine itself, in MB; a tenth of the memory if that is less."""
RESERVED_DISK = 5120
"""Free disk space that is not lent, in MB; half of the free space if that is less."""
PORTS = (31_000, 32_000)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def find_resources(work_dir: Path, text: str = "", *, gpus: int = 0) -> Resources:
    """All resources of this machine: those that ``text`` names are as given (``disk:0`` lends none); cpus, mem,
    disk, ports and the ``gpus`` that it does not name are as found. Other names are custom resources. Raises
    InvalidResources.
    """
    given = Resources.parse(text)
    for name in ("cpus", "mem", "disk", "gpus"):
        if name in given.ranges or name in given.sets:
            raise InvalidResources(f"{name} must be an amount, as in {name}:4")
    if "volumes" in given.names():
        raise InvalidResources("volumes is the name of persistent volumes; lend disk, and make volumes of it")
    if "ports" in given.scalars or "ports" in given.sets:
        raise InvalidResources("ports must be ranges, as in ports:[31000-32000]")
    named = names(text)
    finders: dict[str, Callable[[], Amount]] = {
        "cpus": _cpus,
        "mem": _mem,
        "disk": lambda: free_disk(work_dir),
        "ports": lambda: [PORTS],
        **({"gpus": lambda: gpus} if gpus else {}),
    }
    found = {name: find() for name, find in finders.items() if name not in named}
    return given + Resources.from_mapping(found)


def names(text: str) -> set[str]:
    """The names of the resources in ``text``, including those with the amount 0 (``disk:0``)."""
    return {part.partition(":")[0].strip() for part in text.split(";")}


def _cpus() -> float:
    """The number of CPUs that this process may use, by its affinity and the limits of its cgroups."""
    return min(float(len(os.sched_getaffinity(0))), own_limits.cpus())


def _mem() -> int:
    total = min(psutil.virtual_memory().total, own_limits.memory()) // MB
    return int(total - min(RESERVED_MEM, total // 10))


def free_disk(work_dir: Path) -> int:
    """Free disk space of the work folder's file system that can be lent, in MB."""
    free = psutil.disk_usage(_existing(work_dir)).free // MB
    return int(free - min(RESERVED_DISK, free // 2))


def _existing(path: Path) -> str:
    """The folder, or the nearest one above it that exists already."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return str(path)


def disk_space(work_dir: Path) -> DiskSpace | None:
    """The space of the file system of the work folder; None if that is not known."""
    return disk_space_of(_existing(work_dir))


def measure(work_dir: Path) -> Usage:
    """How busy the machine is. The share of CPU is that since the last call (0 at the first call)."""
    memory = psutil.virtual_memory()
    try:
        disk = psutil.disk_usage(_existing(work_dir)).used / MB
    except OSError:
        disk = 0.0
    return Usage(
        cpu_percent=psutil.cpu_percent(None),
        mem_mb=round((memory.total - memory.available) / MB, 1),
        disk_mb=round(disk, 1),
        load=round(os.getloadavg()[0], 2),
    )


def machine() -> Machine:
    """The size of the whole machine, as ``measure`` counts it. Also begins the measurement of its CPU."""
    psutil.cpu_percent(None)
    return Machine(float(psutil.cpu_count() or 1), psutil.virtual_memory().total / MB)


def hostname() -> str:
    """The machine's host name."""
    return socket.gethostname()


def boot_id() -> str:
    """The kernel's boot id, which differs after every start of the machine; empty if the kernel has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
