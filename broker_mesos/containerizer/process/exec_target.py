"""What a command has to take over from the task that it runs beside: its user, environment, limits and namespaces.

All of it is read from the task's processes, so that it holds for tasks of earlier spawners as well. Standard library
only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
from typing import NamedTuple

from broker_mesos.containerizer.credentials import Ids, owner_of
from broker_mesos.containerizer.process import proctree

_LIMIT_NAMES = {
    "Max cpu time": "RLIMIT_CPU",
    "Max file size": "RLIMIT_FSIZE",
    "Max data size": "RLIMIT_DATA",
    "Max stack size": "RLIMIT_STACK",
    "Max core file size": "RLIMIT_CORE",
    "Max resident set": "RLIMIT_RSS",
    "Max processes": "RLIMIT_NPROC",
    "Max open files": "RLIMIT_NOFILE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max address space": "RLIMIT_AS",
    "Max pending signals": "RLIMIT_SIGPENDING",
    "Max msgqueue size": "RLIMIT_MSGQUEUE",
    "Max nice priority": "RLIMIT_NICE",
    "Max realtime priority": "RLIMIT_RTPRIO",
    "Max realtime timeout": "RLIMIT_RTTIME",
}
_NAME_WIDTH = 26  # of the first column of /proc/PID/limits
USER_NAMESPACE = "user"
_NAMESPACES = ("ipc", "uts", "net", "cgroup", "pid", "mnt", USER_NAMESPACE)  # in the order in which they are entered
_NS_GET_USERNS = 0xB701  # the user namespace that another one belongs to
_MAX_SEARCH = 64
"""The most processes that are looked at to find one in the namespaces of a task."""

_libc = ctypes.CDLL(None, use_errno=True)


class Box(NamedTuple):
    """A task, as far as the spawner knows what it is held to."""

    task_id: str
    pid: int
    """Its main process."""
    sandbox: str
    owner: Ids | None
    """Its user, if the spawner has started it and it is not the spawner's own."""
    held: bool
    """Whether it has a cgroup, and with that no capabilities."""
    sandboxed: bool
    """Whether it has namespaces of its own, and may make only the system calls of sandboxed tasks."""
    ports: tuple[tuple[int, int], ...] | None
    """The ranges of TCP ports that it may listen on; None: all."""
    umask: int


class CannotEnter(OSError):
    """The view of a task cannot be entered; ``strerror`` is the reason, as one line."""


def user_of(box: Box) -> Ids | None:
    """The user of a task; None for the spawner's own."""
    user = box.owner or owner_of(box.sandbox)
    if user is None or user.groups:
        return user
    words = _status(box.pid)
    if words.get("Uid", "").split()[:1] == [str(user.uid)]:
        return user._replace(groups=tuple(int(each) for each in words.get("Groups", "").split()))
    return user


def _status(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}


def environment(pid: int) -> dict[bytes, bytes]:
    """The environment that a process was started with; empty if it cannot be read, or has been overwritten."""
    found = {}
    for entry in proctree.read_as_owner(pid, "environ").split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name:
            found[name] = value
    return found


def rlimits(pid: int) -> list[tuple[int, tuple[int, int]]]:
    """The resource limits of a process, as pairs of a number and its soft and hard limit."""
    found = []
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            lines = file.readlines()[1:]
    except OSError:
        return []
    for line in lines:
        name = _LIMIT_NAMES.get(line[: _NAME_WIDTH - 1].strip())
        values = line[_NAME_WIDTH - 1 :].split()[:2]
        if name is not None and len(values) == 2 and hasattr(resource, name):
            soft, hard = (resource.RLIM_INFINITY if each == "unlimited" else int(each) for each in values)
            found.append((getattr(resource, name), (soft, hard)))
    return found


def take_rlimits(limits: list[tuple[int, tuple[int, int]]]) -> None:
    """Set the resource limits of this process, none above its own hard limit. Raises OSError."""
    for number, (soft, hard) in limits:
        own = resource.getrlimit(number)[1]
        if own != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or hard > own):
            hard = own
        if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
            soft = hard
        resource.setrlimit(number, (soft, hard))


class View(NamedTuple):
    """The process whose view is taken, and descriptors of its namespaces that are not those of this process."""

    pid: int
    namespaces: list[tuple[str, int]]

    @property
    def of_user(self) -> bool:
        """Whether a user has made the namespaces, without rights: then that user can enter them, and only so."""
        return any(kind == USER_NAMESPACE for kind, _ in self.namespaces)


def find_view(box: Box) -> View:
    """The view of a task: that of its main process, or in a sandbox of the first process below that has namespaces of
    its own. Raises CannotEnter if there is none."""
    own = _namespace("self", "mnt")
    seen, found = [box.pid], 0
    for pid in seen:
        namespace = _namespace(pid, "mnt")
        if namespace and namespace != own:
            found = pid
            break
        if box.sandboxed and len(seen) < _MAX_SEARCH:
            seen.extend(proctree.children(pid) or ())
    if not found:
        if box.sandboxed:
            raise CannotEnter(16, "its sandbox is not there (yet): try again in a moment")  # EBUSY
        return View(box.pid, [])
    namespaces = []
    for kind in _NAMESPACES:
        if _namespace(found, kind) not in ("", _namespace("self", kind)):
            try:
                namespaces.append((kind, os.open(f"/proc/{found}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)))
            except OSError as error:
                raise CannotEnter(error.errno, f"its sandbox cannot be entered: {error.strerror}") from None
    # The first process of a sandbox may be the one that reaps its orphans: the command is its child then.
    command = next(iter(proctree.children(found) or ()), found) if box.sandboxed else found
    return View(command if environment(command) else found, namespaces)


def _namespace(pid: int | str, kind: str) -> str:
    path = f"/proc/{pid}/ns/{kind}"
    try:
        return os.readlink(path)
    except OSError:
        return ""


def enter(view: View) -> None:
    """Enter the namespaces of a view; that of processes is for the children of this process. If a user has made them,
    this process is to be that user, and has all capabilities in them afterwards. Raises CannotEnter."""
    entered = -1
    if view.of_user:
        # Whoever has made the outermost user namespace has all rights in it, which the others belong to.
        kind, fd = next(each for each in view.namespaces if each[0] != USER_NAMESPACE)
        try:
            owner = fcntl.ioctl(fd, _NS_GET_USERNS)
        except OSError as error:
            raise CannotEnter(error.errno, f"its sandbox cannot be entered ({kind}): {error.strerror}") from None
        _enter(USER_NAMESPACE, owner)
        entered = os.fstat(owner).st_ino
        os.close(owner)
    for kind, fd in view.namespaces:
        if kind != USER_NAMESPACE or os.fstat(fd).st_ino != entered:  # the same cannot be entered twice
            _enter(kind, fd)


def _enter(kind: str, fd: int) -> None:
    if _libc.setns(fd, 0) != 0:
        number = ctypes.get_errno()
        raise CannotEnter(number, f"its sandbox cannot be entered ({kind}): {os.strerror(number)}")
