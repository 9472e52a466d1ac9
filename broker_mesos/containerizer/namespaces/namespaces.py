"""The namespaces of a launcher, in which its sandboxed tasks run one after the other.

A launcher of such tasks is the first process of a namespace of processes, from its fork on. So its tasks cannot signal
it, orphans come to it, and nothing of a task outlives it. For each task it makes a new view of files, and after the
task it goes back to that of the machine.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable

from broker_mesos.containerizer import credentials
from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.namespaces import kernel
from broker_mesos.containerizer.namespaces.steps import (
    Bind,
    Cover,
    Folder,
    Link,
    Memory,
    Processes,
    Seal,
    Step,
    Terminals,
    steps,
)
from broker_mesos.containerizer.namespaces.view import View

_STAGE = "/tmp"
"""A folder over which the new root is mounted until it is the root; every machine has it."""
_SAFE = kernel.NO_SETUID | kernel.NO_DEVICES
_OVERLAY_BYTES = "4m"


class Namespaces:
    """The namespaces of this process, which is a launcher."""

    def __init__(self, network: str = "host") -> None:
        """To be made before this process gives up rights. Raises OSError."""
        if os.geteuid() != 0:
            # From a user namespace there is no way back to the mounts of the machine itself.
            kernel.unshare(kernel.CLONE_NEWNS)
            kernel.detach_from_host()
        self._home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if network == "none":
            # All of its tasks have the same one: they cannot change it, and nothing of one is left for the next.
            kernel.unshare(kernel.CLONE_NEWNET)
            kernel.raise_loopback()
        self._inside = False

    def enter(self, view: View, sandbox: str, user: Ids | None) -> None:
        """Have this process, and the task that it starts next, see only what the view and the sandbox say; to be
        followed by ``leave``, also if it raises OSError."""
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS)
        self._inside = True
        umask = os.umask(0o022)
        try:
            kernel.detach_from_host()
            uid = os.geteuid() if user is None else user.uid
            build(steps(view, sandbox, Machine(), root=uid == 0), view.rootfs)
        finally:
            os.umask(umask)

    def leave(self) -> None:
        """Go back to the files of the machine. Raises OSError."""
        if self._inside:
            kernel.enter(self._home)
            self._inside = False

    def outer_pid(self, pid: int) -> int:
        """The pid by which the spawner knows a child of this process that was not waited for yet. Raises OSError."""
        fd = os.pidfd_open(pid)
        try:
            info = os.open(f"self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            try:
                text = os.read(info, 4096).decode("ascii")
            finally:
                os.close(info)
        finally:
            os.close(fd)
        for line in text.splitlines():
            if line.startswith("Pid:"):
                return int(line.split()[1])
        raise OSError(0, "the kernel does not say which process a descriptor refers to")


class Machine:
    """What this machine has, for ``steps``."""

    def kind(self, path: str) -> str:
        """``folder``, ``file`` or ``link``; empty if there is nothing."""
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return ""
        if stat.S_ISLNK(mode):
            return "link"
        return "folder" if stat.S_ISDIR(mode) else "file"

    def target(self, path: str) -> str:
        """What a link says."""
        return os.readlink(path)

    def resolved(self, path: str) -> str:
        """The path without links; empty if it leads nowhere."""
        try:
            return os.path.realpath(path, strict=True)
        except OSError:
            return ""


def first_flags() -> int:
    """The namespaces, as flags of clone(2), that a launcher of sandboxed tasks is born in. Only root can make them
    without a user namespace, in which it has the rights that it lacks outside."""
    return kernel.CLONE_NEWPID if os.geteuid() == 0 else kernel.CLONE_NEWPID | kernel.CLONE_NEWUSER


def own_user_namespace(uid: int, gid: int) -> None:
    """The first step of a process that was born in a user namespace: keep the ids that it had outside. Raises
    OSError."""
    hidden = not credentials.is_readable()
    if hidden:
        credentials.show()  # files in /proc of a hidden process are root's alone
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "wb", buffering=0) as file:
                file.write(text.encode())
    finally:
        if hidden:
            credentials.hide()


def build(made: Iterable[Step], rootfs: str = "") -> None:
    """Take the steps in a new root, in a namespace of mounts of this process' own, and make it the root. Raises
    OSError."""
    made = list(made)
    # All of the machine is opened before the new root hides it.
    trees = [kernel.clone_tree(step.source) if isinstance(step, Bind) else -1 for step in made]
    lower = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if rootfs else -1
    try:
        kernel.mount("tmpfs", _STAGE, "tmpfs", _SAFE, f"mode=755,size={_OVERLAY_BYTES}")
        kernel.change_root(_STAGE if lower < 0 else _overlay(lower))
        os.chdir("/")
        for step, tree in zip(made, trees, strict=True):
            _take(step, tree)
        kernel.leave_old_root()
    finally:
        for fd in (*trees, lower):
            if fd >= 0:
                os.close(fd)


def _make_folder(path: str) -> None:
    """Make a folder, and those above it, unless there is one. Most of them are the first in a folder that is there."""
    try:
        os.mkdir(path, 0o755)
    except OSError:
        os.makedirs(path, 0o755, exist_ok=True)


def _overlay(lower: int) -> str:
    """A root file system whose files cannot be changed, but which folders for mounts can be made in."""
    for name in ("upper", "work", "root"):
        os.mkdir(f"{_STAGE}/{name}", 0o755)
    where = f"lowerdir=/proc/self/fd/{lower},upperdir={_STAGE}/upper,workdir={_STAGE}/work"
    kernel.mount("overlay", f"{_STAGE}/root", "overlay", _SAFE, where + (",userxattr" if os.geteuid() else ""))
    return f"{_STAGE}/root"


def _take(step: Step, tree: int) -> None:
    match step:
        case Folder(path):
            _make_folder(path)
        case Link(path, target):
            with contextlib.suppress(FileExistsError):
                os.symlink(target, path)
        case Bind(_, target, writable, device, folder):
            if not folder:
                with contextlib.suppress(FileExistsError):
                    os.mknod(target, 0o644)
            attributes = kernel.NO_SETUID | (0 if device else kernel.NO_DEVICES)
            kernel.set_attributes(tree, attributes | (0 if writable else kernel.READ_ONLY))
            kernel.attach(tree, target)
        case Memory(path, options):
            kernel.mount("tmpfs", path, "tmpfs", _SAFE, options)
        case Processes(path):
            kernel.mount("proc", path, "proc", _SAFE | kernel.NO_PROGRAMS)
        case Terminals(path):
            options = "newinstance,ptmxmode=0666,mode=620"
            kernel.mount("devpts", path, "devpts", kernel.NO_SETUID | kernel.NO_PROGRAMS, options)
        case Cover(path):
            part = kernel.clone_tree(path)
            try:
                kernel.set_attributes(part, kernel.READ_ONLY)
                kernel.attach(part, path)
            finally:
                os.close(part)
        case Seal(path):
            kernel.seal(path)
