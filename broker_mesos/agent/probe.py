"""What this machine has to lend, and how busy it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import psutil

from broker_mesos.agent import cgroup_limits
from broker_mesos.agent.slack import Machine
from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.resources import Amount, Resources
from broker_mesos.errors import InvalidResources

MB = 1 << 20
RESERVED_MEM = 1024
"""MB of memory left to the machine itself, or a tenth of it if that is less."""
RESERVED_DISK = 5120
"""MB of free disk left alone, or half of it if that is less."""
PORTS = (31_000, 32_000)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def find_resources(work_dir: Path, text: str = "") -> Resources:
    """All resources of this machine: those that ``text`` names as given (``disk:0`` lends none), cpus, mem,
    disk and ports that it does not name as found. Other names are custom resources. Raises InvalidResources.
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
    }
    found = {name: find() for name, find in finders.items() if name not in named}
    return given + Resources.from_mapping(found)


def names(text: str) -> set[str]:
    """The names of the resources in ``text``, with those of which it gives none (``disk:0``)."""
    return {part.partition(":")[0].strip() for part in text.split(";")}


def _cpus() -> float:
    """Those that this process may use, by affinity and by the limits of the cgroups that it is in."""
    return min(float(len(os.sched_getaffinity(0))), cgroup_limits.cpus())


def _mem() -> int:
    total = min(psutil.virtual_memory().total, cgroup_limits.memory()) // MB
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


def disk_percent(work_dir: Path) -> float:
    """How full the file system of the work folder is, in bytes or in files, whichever is more; 0 if it cannot be
    told."""
    try:
        folder = _existing(work_dir)
        found = os.statvfs(folder)
        # Some file systems make files as they are needed, and count none.
        files = 100.0 * (found.f_files - found.f_ffree) / found.f_files if found.f_files else 0.0
        return max(float(psutil.disk_usage(folder).percent), files)
    except OSError:
        return 0.0


def measure(work_dir: Path) -> Usage:
    """How busy the machine is; the share of CPU is since the last call (0 at the first)."""
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
    """All of this machine, as ``measure`` sees it. Begins to measure its CPU."""
    psutil.cpu_percent(None)
    return Machine(float(psutil.cpu_count() or 1), psutil.virtual_memory().total / MB)


def hostname() -> str:
    """The machine's name."""
    return socket.gethostname()


def boot_id() -> str:
    """Differs after every start of the machine; empty where the kernel does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
