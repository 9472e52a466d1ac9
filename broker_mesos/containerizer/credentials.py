"""The rights of processes and threads: acting on files as another user, becoming one for good, and capabilities.

The spawner imports this file: standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import stat
from collections.abc import Iterator
from typing import NamedTuple

# The system call that sets the groups of one thread. The function of the C library sets those of all threads.
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "loongarch64": 159, "ppc64le": 81, "s390x": 206}.get(
    platform.machine(), 0
)
_CAPSET_VERSION_3 = 0x20080522
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_NOBODY_CHANGES = -1
NEEDED = {0: "CHOWN", 5: "KILL", 6: "SETGID", 7: "SETUID"}
"""The capabilities without which tasks cannot run as another user, by their numbers."""

_libc = ctypes.CDLL(None, use_errno=True)


class Ids(NamedTuple):
    """The ids of a user, as the kernel knows it."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    """Its supplementary groups."""


def missing_capabilities() -> list[str]:
    """Names of the capabilities in ``NEEDED`` that this process lacks, or that a program started by it would lack."""
    found: dict[str, int] = {}
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("Cap"):
                name, _, value = line.partition(":")
                found[name] = int(value, 16)
    # A program that root starts gets all capabilities of the bounding set; one that another user starts, the ambient.
    kept = found["CapBnd"] if os.geteuid() == 0 else found["CapAmb"]
    held = found["CapEff"] & kept
    return [name for bit, name in NEEDED.items() if not held >> bit & 1]


@contextlib.contextmanager
def acting_as(user: Ids | None) -> Iterator[None]:
    """Use files with the rights of another user, in this thread alone and without the rights to signal or trace it
    that this user's processes would otherwise get. With None, or this process' own user, nothing changes. Raises
    PermissionError if that is not possible."""
    if user is None or user.uid == os.geteuid():
        yield
        return
    own = os.getgroups()
    _set_groups(user.groups)
    try:
        _libc.setfsgid(user.gid)
        _libc.setfsuid(user.uid)
        # Both return the id before the call, and no error.
        if (_libc.setfsgid(_NOBODY_CHANGES), _libc.setfsuid(_NOBODY_CHANGES)) != (user.gid, user.uid):
            raise PermissionError(1, f"cannot use files as user {user.uid}")
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())
        _set_groups(own)


def owner(found: os.stat_result) -> Ids | None:
    """The user to act as (``acting_as``) on a folder that this process has given to a user, and on whatever is in it.
    None for a folder of root or of this process' own user."""
    return None if found.st_uid in (0, os.geteuid()) else Ids(found.st_uid, found.st_gid)


def owner_of(path: str | os.PathLike[str]) -> Ids | None:
    """The ``owner`` of a path, which is not followed if it is a link; None if there is nothing."""
    try:
        return owner(os.lstat(path))
    except OSError:
        return None


def make_folder(path: str | os.PathLike[str], user: Ids | None) -> None:
    """Make a folder that its user alone can read, unless there is one. The folder that it is in must be writable for
    nobody else. Raises OSError, also if there is something that does not belong to the user."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if user is None or (stat.S_ISDIR(found.st_mode) and found.st_uid == user.uid):
            return
        # This process may have been killed between the two calls; what others have filled is never given away.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or os.listdir(path):
            raise PermissionError(1, f"it belongs to user {found.st_uid}, not {user.uid}", os.fspath(path)) from None
    if user is not None:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def become(user: Ids) -> None:
    """Become another user for good, without a capability, and without a way to get one by starting a program. Raises
    OSError."""
    forbid_new_privileges()
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    drop_capabilities()
    hide()
    if os.getresuid() != (user.uid,) * 3 or os.getresgid() != (user.gid,) * 3:
        raise PermissionError(1, f"cannot become user {user.uid}")


def drop_capabilities() -> None:
    """Give up all capabilities, which a process that was never root keeps when it changes its user. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPSET_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, none), "capset")


def drop_ambient_capabilities() -> None:
    """Pass no capability on to programs that this process starts. (To one that root starts, all are passed on.)"""
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def hide() -> None:
    """Make what /proc shows of this process, and its memory, root's alone: others cannot read or trace it, even
    processes of the same user; and it writes no core dump. Raises OSError."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def is_readable() -> bool:
    """Whether other processes of this user can read what /proc shows of this process; see ``hide``."""
    return bool(_libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1)


def show() -> None:
    """Undo ``hide``. Raises OSError."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def forbid_new_privileges() -> None:
    """Let no program that this process or its children start gain rights: set-user-id bits and capabilities of files
    have no effect for them. Raises OSError."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def _set_groups(groups: tuple[int, ...] | list[int]) -> None:
    if not _SETGROUPS:
        raise PermissionError(1, f"tasks cannot run as another user on {platform.machine()}")
    _check(_libc.syscall(_SETGROUPS, len(groups), (ctypes.c_uint32 * len(groups))(*groups)), "setgroups")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
