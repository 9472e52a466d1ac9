"""Reads the CPU and memory limits of the control groups that this process is in (such as CPUQuota and MemoryMax of its
systemd unit, or the limits of a container); an agent cannot lend more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")
NO_LIMIT = float("inf")


def cpus(proc: Path = PROC, root: Path = Path("/")) -> float:
    """The number of CPUs by the lowest quota of the process' groups, v1 and v2; infinity if there is none."""
    limit = NO_LIMIT
    for folder in _folders("cpu", proc, root):
        text = _read(folder / "cpu.max")
        text = text or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        try:
            quota, period = (int(each) for each in text.split())
        except ValueError:
            continue  # "max", or no such file
        if quota > 0 and period > 0:
            limit = min(limit, quota / period)
    return limit


def memory(proc: Path = PROC, root: Path = Path("/")) -> float:
    """The memory in bytes by the lowest limit of the process' groups, v1 and v2; infinity if there is none."""
    limit = NO_LIMIT
    for folder in _folders("memory", proc, root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                found = int(_read(folder / name))
            except ValueError:
                continue
            if found > 0:
                limit = min(limit, found)
    return limit


def _folders(controller: str, proc: Path, root: Path) -> Iterator[Path]:
    """The folders of the process' group and of the groups above it, as far as they are mounted here, in each hierarchy
    that may have the controller."""
    for line in _read(proc / "mountinfo").splitlines():
        fields = line.split()
        if "-" not in fields[6:]:
            continue
        kind, options = fields[fields.index("-", 6) + 1], fields[-1].split(",")
        if kind == "cgroup2":
            controllers = ""
        elif kind == "cgroup" and controller in options:
            controllers = controller
        else:
            continue
        top, mounted = fields[3], root / fields[4].lstrip("/")
        path = Path(_path_of(controllers, proc))
        # In a container the process' group may be the top of the mounted tree, or may have its path on the host.
        below = path.relative_to(top) if path.is_relative_to(top) else Path()
        for part in (below, *below.parents):
            yield mounted / part


def _path_of(controllers: str, proc: Path) -> str:
    """The path of the process' group in the hierarchy with this controller; "" means the hierarchy of v2."""
    for line in _read(proc / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if (controllers in names.split(",")) if controllers else not names:
            return path
    return "/"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
