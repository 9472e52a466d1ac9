"""The filter of system calls (seccomp) that sandboxed tasks have.

A sandboxed task has no capabilities, so that the kernel refuses it most of what could harm the machine. The filter
denies the rest: what has had many faults that led out of sandboxes, what reaches over namespaces (keys of the kernel,
input for terminals), and ways to get capabilities in a user namespace. Mounts are left to capabilities, since the
launcher, which has the filter before its tasks do, makes some.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

from broker_mesos.containerizer.namespaces.kernel import CLONE_NEWUSER

_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
"""The numbers by which the kernel tells the filter whose numbers of system calls a process uses."""
# By name: the numbers on x86_64 and on aarch64.
DENIED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
CLONE, UNSHARE, CLONE3, IOCTL = (56, 220), (272, 97), (435, 435), (16, 29)
DENIED_IOCTLS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: input for a terminal, as if somebody had typed it."""
_X32 = 0x4000_0000
"""The bit of the numbers of a third set of system calls on x86_64, which nobody uses."""

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
_ALLOW, _ERROR = 0x7FFF_0000, 0x0005_0000
_ARGUMENT_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def program(machine: str) -> bytes:
    """The filter for an architecture, as the kernel reads it; empty for one that it is not written for."""
    if machine not in _ARCHITECTURES or sys.byteorder != "little":
        return b""
    column = list(_ARCHITECTURES).index(machine)
    allow, deny = [_step(_RETURN, _ALLOW)], [_step(_RETURN, _ERROR | errno.EPERM)]
    missing = [_step(_RETURN, _ERROR | errno.ENOSYS)]
    made = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, _ARCHITECTURES[machine], 1, 0), *missing, _step(_LOAD, _NUMBER)]
    if machine == "x86_64":
        made += [_step(_AT_LEAST, _X32, 0, 1), *missing]
    # clone3 has its flags in memory, where a filter does not see them. Programs then use clone.
    made += [_step(_EQUAL, CLONE3[column], 0, 1), *missing]
    for numbers in DENIED.values():
        made += [_step(_EQUAL, numbers[column], 0, 1), *deny]
    for numbers in (CLONE, UNSHARE):
        made += [
            _step(_EQUAL, numbers[column], 0, 4),
            _argument(0),
            _step(_ANY_BIT, CLONE_NEWUSER, 0, 1),
            *deny,
            *allow,
        ]
    ioctl = [_argument(1)]
    for request in DENIED_IOCTLS:
        ioctl += [_step(_EQUAL, request, 0, 1), *deny]
    made += [_step(_EQUAL, IOCTL[column], 0, len(ioctl)), *ioctl, *allow]
    return b"".join(made)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _argument(index: int) -> bytes:
    """Load the lower half of an argument."""
    return _step(_LOAD, _ARGUMENT + _ARGUMENT_BYTES * index)


def install() -> bool:
    """Filter the system calls of this process and of all that it starts, for good. It has given up gaining privileges
    before. Returns whether there is a filter for this architecture. Raises OSError."""
    made = program(platform.machine())
    if not made:
        return False
    wanted = _Program(len(made) // 8, made)
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the filter of system calls: {os.strerror(number)}")
    return True
