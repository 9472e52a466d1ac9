"""System calls for namespaces and mounts, which Python does not have. All raise OSError."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

READ_ONLY, NO_SETUID, NO_DEVICES, NO_PROGRAMS = 1, 2, 4, 8
"""Attributes of a mount; the same bits are flags of mount(2)."""

# The same numbers on every architecture.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MS_REC = 0x4000
_MS_SLAVE = 0x8_0000
_MNT_DETACH = 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)
_long = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return int(result)


def unshare(flags: int) -> None:
    """Give this process namespaces of its own."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def enter(namespace: int) -> None:
    """Make this process a member of the namespace that a descriptor refers to."""
    _check(_libc.setns(namespace, 0), "setns")


def detach_from_host() -> None:
    """Let no mount that is made here be seen by others; those that others unmount go here, too."""
    mount("none", "/", "", _MS_REC | _MS_SLAVE)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(_libc.mount(*arguments), f"mount {kind or target}")


def clone_tree(path: str) -> int:
    """A descriptor of a copy of all mounts at a path, which are mounted nowhere yet."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC)
    return _check(_libc.syscall(_long(_SYS_OPEN_TREE), _long(_AT_FDCWD), os.fsencode(path), flags), path)


def set_attributes(tree: int, attributes: int) -> None:
    """Set attributes of all mounts of a tree."""
    _set_attributes(tree, b"", attributes, _AT_EMPTY_PATH | _AT_RECURSIVE)


def seal(path: str) -> None:
    """Make one mount read-only, and none of those in it."""
    _set_attributes(_AT_FDCWD, os.fsencode(path), READ_ONLY, 0)


def _set_attributes(folder: int, path: bytes, attributes: int, flags: int) -> None:
    wanted = struct.pack("4Q", attributes, 0, 0, 0)
    arguments = (_long(folder), path, ctypes.c_uint(flags), wanted, _long(len(wanted)))
    _check(_libc.syscall(_long(_SYS_MOUNT_SETATTR), *arguments), "mount_setattr")


def attach(tree: int, target: str) -> None:
    """Mount a tree at a path."""
    arguments = (_long(tree), b"", _long(_AT_FDCWD), os.fsencode(target), ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH))
    _check(_libc.syscall(_long(_SYS_MOVE_MOUNT), *arguments), f"mount {target}")


def change_root(folder: str) -> None:
    """Make a mount the root of this process and of its namespace. The old root is mounted over it, where paths do not
    lead, until ``leave_old_root``."""
    os.chdir(folder)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")


def leave_old_root() -> None:
    """Unmount what was the root before; the working folder is ``/``."""
    os.chdir("/")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount")


def raise_loopback() -> None:
    """Bring up the loopback of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(made, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(made, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
