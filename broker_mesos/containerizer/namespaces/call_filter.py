"""The filter of system calls (seccomp) that sandboxed tasks have, made by libseccomp.

A sandboxed task has no capabilities, so that the kernel refuses it most of what could harm the machine. The filter
denies the rest: what has had many faults that led out of sandboxes, what reaches over namespaces (keys of the kernel,
input for terminals), and ways to get capabilities in a user namespace. Mounts are left to capabilities, since the
launcher, which has the filter before its tasks do, makes some.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform

from broker_mesos.containerizer.namespaces.kernel import CLONE_NEWUSER

DENIED = (
    "acct",
    "add_key",
    "bpf",
    "delete_module",
    "finit_module",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "open_by_handle_at",
    "perf_event_open",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "swapoff",
    "swapon",
    "syslog",
    "userfaultfd",
    "vhangup",
)
DENIED_IOCTLS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: input for a terminal, as if somebody had typed it."""
NOT_INSTALLED_TEXT = "libseccomp is not installed: apt install libseccomp2"

_LIBRARY = "libseccomp.so.2"
_ALLOW, _ERROR = 0x7FFF_0000, 0x0005_0000
_OTHER_ARCHITECTURES = 2  # the attribute of what is done with calls by numbers of another architecture
_EQUAL_UNDER_MASK = 7
_UNKNOWN = -1
_LOWER_HALF = 0xFFFF_FFFF  # all that the kernel reads of a request of ioctl(2)
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@functools.cache
def program() -> bytes:
    """The filter for this machine, as the kernel reads it. It is made once: processes that are forked afterwards have
    it. Raises OSError, with the reason in one line."""
    library = _library()
    made = ctypes.c_void_p(library.seccomp_init(_ALLOW))
    file = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        refused = ctypes.c_uint32(_ERROR | errno.ENOSYS)
        _check(library.seccomp_attr_set(made, _OTHER_ARCHITECTURES, refused))
        for name in DENIED:
            _deny(library, made, name)
        # clone3 has its flags in memory, where a filter does not see them. Programs then use clone.
        _deny(library, made, "clone3", error=errno.ENOSYS)
        clone_flags = 1 if platform.machine().startswith("s390") else 0
        for name, argument in (("clone", clone_flags), ("unshare", 0)):
            _deny(library, made, name, _Comparison(argument, _EQUAL_UNDER_MASK, CLONE_NEWUSER, CLONE_NEWUSER))
        for request in DENIED_IOCTLS:
            _deny(library, made, "ioctl", _Comparison(1, _EQUAL_UNDER_MASK, _LOWER_HALF, request))
        _check(library.seccomp_export_bpf(made, file))
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)
        library.seccomp_release(made)


def number(name: str) -> int:
    """The number of a system call on this machine; negative if it has none. Raises OSError, also if libseccomp does not
    know it, and so cannot deny it."""
    found = int(_library().seccomp_syscall_resolve_name(name.encode()))
    if found == _UNKNOWN:
        raise OSError(errno.ENOENT, f"libseccomp does not know {name}: version 2.5.2 or later is needed")
    return found


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise OSError(errno.ENOENT, NOT_INSTALLED_TEXT) from None
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _deny(
    library: ctypes.CDLL,
    made: ctypes.c_void_p,
    name: str,
    comparison: _Comparison | None = None,
    error: int = errno.EPERM,
) -> None:
    """Have a system call fail, if this architecture has it; with a comparison, only where an argument is so."""
    if (found := number(name)) >= 0:
        conditions = (0, None) if comparison is None else (1, ctypes.byref(comparison))
        _check(library.seccomp_rule_add_array(made, ctypes.c_uint32(_ERROR | error), found, *conditions))


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, f"the filter of system calls: {os.strerror(-result)}")


def install() -> None:
    """Filter the system calls of this process and of all that it starts, for good. It has given up gaining privileges
    before. Raises OSError."""
    made = program()
    wanted = _Program(len(made) // _INSTRUCTION_BYTES, made)
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
        _check(-ctypes.get_errno())
