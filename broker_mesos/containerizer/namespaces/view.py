"""What a sandboxed task sees, as its launch request and the journal describe it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_MOUNTS = 256
MAX_PATH = 4_095
NETWORKS = ("host", "none")
TMP_BYTES = 1 << 30
"""The size of /tmp, and of /dev/shm, of a task whose memory is not limited."""
READ_ONLY, READ_WRITE = "ro", "rw"


class Mount(NamedTuple):
    """A folder or file of the machine that a task sees."""

    source: str
    target: str
    writable: bool


class View(NamedTuple):
    """What a task sees besides its sandbox, /proc, /dev and /tmp."""

    network: str = "host"
    """``none``: it has no network but its own loopback."""
    rootfs: str = ""
    """The folder that is its root file system, read-only; empty: the programs and the configuration of the machine."""
    mounts: tuple[Mount, ...] = ()
    hidden: tuple[str, ...] = ()
    """Paths of the machine that it does not see, wherever the folder above them is mounted."""
    tmp_bytes: int = TMP_BYTES
    devices: tuple[str, ...] = ()
    """Device files of the machine that it sees besides the common ones: those of its GPUs."""


def view_of(held: Mapping[str, Any]) -> View | None:
    """The view in the limits of a launch request, or of the journal; None if the task has that of the machine. Raises
    ValueError or TypeError, with the reason in one line, for what is none."""
    wanted = held.get("sandbox")
    if wanted is None:
        return None
    network = str(wanted.get("network") or "host")
    if network not in NETWORKS:
        raise ValueError(f"network is {network!r:.40}, and not host or none")
    rootfs = str(wanted.get("rootfs") or "")
    mounts = tuple(_mount(each) for each in wanted.get("mounts") or ())
    hidden = tuple(_path(str(each)) for each in wanted.get("hidden") or ())
    if len(mounts) > MAX_MOUNTS or len(hidden) > MAX_MOUNTS:
        raise ValueError(f"a task has at most {MAX_MOUNTS} mounts, and not {max(len(mounts), len(hidden))}")
    devices = tuple(_path(str(each)) for each in wanted.get("devices") or ())
    memory = int(held.get("memory") or 0)
    return View(network, _path(rootfs) if rootfs else "", mounts, hidden, memory or TMP_BYTES, devices)


def view_from(value: Any) -> View:
    """A view as it was before it was JSON. Raises TypeError, ValueError if it is none."""
    network, rootfs, mounts, hidden, tmp_bytes, *more = value
    made = View(str(network), str(rootfs), tuple(Mount(*each) for each in mounts), tuple(hidden), int(tmp_bytes))
    return made._replace(devices=tuple(map(str, more[0])) if more else ())


def ports_of(held: Mapping[str, Any]) -> tuple[tuple[int, int], ...] | None:
    """The ranges of ports that a task holds, both ends inclusive, if it may listen on no others; None if it may listen
    on all, as on those of a network of its own. Raises ValueError or TypeError."""
    ranges = held.get("ports")
    if ranges is None or (held.get("sandbox") or {}).get("network") == "none":
        return None
    found = tuple((int(low), int(high)) for low, high in ranges)
    for low, high in found:
        if not 0 < low <= high < 1 << 16:
            raise ValueError(f"{low}-{high} are no ports")
    return found


def _mount(value: Any) -> Mount:
    source, target, mode = value
    if mode not in (READ_ONLY, READ_WRITE):
        raise ValueError(f"the mode of a mount is {mode!r:.40}, and not ro or rw")
    return Mount(_path(str(source)), _path(str(target)), mode == READ_WRITE)


def _path(path: str) -> str:
    """The path, without what does not change it. Raises ValueError for one that leads elsewhere by its text alone."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or ".." in parts or "\0" in path or len(path) > MAX_PATH:
        raise ValueError(f"{path!r:.80} is no absolute path without '..'")
    return "/" + "/".join(parts)
