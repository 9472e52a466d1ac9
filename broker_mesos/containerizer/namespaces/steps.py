"""The steps that make a task's view of files, in their order. Pure: what the machine has is asked through ``Look``."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from broker_mesos.containerizer.namespaces.view import Mount, View

HOST_FOLDERS = ("/usr", "/etc", "/opt")
"""What a task sees of the machine, read-only, if it has no root file system of its own."""
MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Links into /usr, or folders on machines that have not merged them."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
COVERED = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/acpi", "/proc/scsi")
"""What root may write in /proc even without capabilities, and so reach the whole machine."""
RESOLVER = "/etc/resolv.conf"


class Folder(NamedTuple):
    """Make a folder, and those above it."""

    path: str


class Link(NamedTuple):
    """Make a symbolic link."""

    path: str
    target: str


class Bind(NamedTuple):
    """Mount a folder or file of the machine."""

    source: str
    target: str
    writable: bool = False
    device: bool = False
    """Whether it is a device, which works as one."""
    folder: bool = True


class Memory(NamedTuple):
    """Mount an empty file system in memory."""

    path: str
    options: str


class Processes(NamedTuple):
    """Mount the processes that the task sees."""

    path: str


class Terminals(NamedTuple):
    """Mount the terminals that the task opens."""

    path: str


class Cover(NamedTuple):
    """Make a part of what is mounted read-only."""

    path: str


class Seal(NamedTuple):
    """Make a file system read-only; not those that are mounted in it."""

    path: str


Step = Folder | Link | Bind | Memory | Processes | Terminals | Cover | Seal


class Look(Protocol):
    """What the machine has."""

    def kind(self, path: str) -> str:
        """``folder``, ``file`` or ``link``; empty if there is nothing. A link is not followed."""
        ...

    def target(self, path: str) -> str:
        """What a link says."""
        ...

    def resolved(self, path: str) -> str:
        """The path without links; empty if it leads nowhere."""
        ...


def steps(view: View, sandbox: str, look: Look, *, root: bool) -> list[Step]:
    """The steps for one task. ``root``: whether the task has the user id of the machine's root. Raises
    FileNotFoundError for a source that is not there."""
    made: list[Step] = []
    mounts = (
        [Mount(each, each, False) for each in HOST_FOLDERS if look.kind(each) == "folder"] if not view.rootfs else []
    )
    if not view.rootfs:
        for path in MERGED:
            if look.kind(path) == "link":
                made.append(Link(path, look.target(path)))
            elif look.kind(path) == "folder":
                mounts.append(Mount(path, path, False))
    made += [Folder(path) for path in ("/run", "/var", "/tmp", "/proc", "/dev", "/sys")]
    if not view.rootfs:
        made.append(Link("/var/tmp", "/tmp"))
    made += _proc(look, root=root)
    made += _devices(view, look)
    made.append(Memory("/tmp", f"mode=1777,size={view.tmp_bytes}"))
    # A mount below another one comes after it; of two with one target the later one holds.
    outside = [each for each in view.mounts if not _is_below(each.target, sandbox)]
    by_target = {each.target: each for each in (*mounts, *outside)}
    mounts = sorted(by_target.values(), key=lambda each: each.target.count("/"))
    for each in mounts:
        made += _bind(each, look)
    if view.network == "host":
        made += _resolver(mounts, look, rootfs=bool(view.rootfs))
    for path in view.hidden:
        made += _hide(path, mounts, look)
    made += _bind(Mount(sandbox, sandbox, True), look)
    made += [step for each in view.mounts if _is_below(each.target, sandbox) for step in _bind(each, look)]
    return [*made, Seal("/dev"), Seal("/")]


def _proc(look: Look, *, root: bool) -> Iterator[Step]:
    yield Processes("/proc")
    if root:
        yield from (Cover(path) for path in COVERED if look.kind(path))


def _devices(view: View, look: Look) -> Iterator[Step]:
    yield Memory("/dev", "mode=755,size=1m")
    for name in DEVICES:
        if look.kind(f"/dev/{name}"):
            yield Bind(f"/dev/{name}", f"/dev/{name}", writable=True, device=True, folder=False)
    yield from _more_devices(view.devices, look)
    yield from (Link(f"/dev/{name}", target) for name, target in DEVICE_LINKS.items())
    yield Folder("/dev/shm")
    yield Memory("/dev/shm", f"mode=1777,size={view.tmp_bytes}")
    yield Folder("/dev/pts")
    yield Terminals("/dev/pts")


def _more_devices(paths: Iterable[str], look: Look) -> Iterator[Step]:
    """The device files that this task alone is to see, at the paths that they have outside, all in /dev."""
    for path in paths:
        target = path if _is_below(path, "/dev") else f"/dev/{posixpath.basename(path)}"
        if look.kind(path):
            yield Folder(posixpath.dirname(target))
            yield Bind(path, target, writable=True, device=True, folder=False)


def _bind(mount: Mount, look: Look) -> Iterator[Step]:
    source = look.resolved(mount.source)
    if not source:
        raise FileNotFoundError(2, f"{mount.source}: there is no such file or folder on the machine")
    folder = look.kind(source) == "folder"
    yield Folder(mount.target if folder else posixpath.dirname(mount.target))
    yield Bind(source, mount.target, mount.writable, folder=folder)


def _resolver(mounts: Iterable[Mount], look: Look, *, rootfs: bool) -> Iterator[Step]:
    """The machine's list of name servers, which may be a link out of /etc."""
    real = look.resolved(RESOLVER)
    if not real:
        return
    if rootfs:
        yield from _bind(Mount(real, RESOLVER, False), look)
    elif not any(_is_below(real, each.target) for each in mounts):
        yield from _bind(Mount(real, real, False), look)


def _hide(path: str, mounts: Iterable[Mount], look: Look) -> Iterator[Step]:
    """Cover what is behind a path of the machine, at each place where a mount shows it."""
    real = look.resolved(path)
    if not real:
        return
    for mount in mounts:
        source = look.resolved(mount.source)
        if _is_below(real, source):
            shown = mount.target + real.removeprefix(source.rstrip("/"))
            if look.kind(real) == "folder":
                yield Memory(shown, "mode=711,size=64k")
            else:
                yield Bind("/dev/null", shown, device=True, folder=False)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
