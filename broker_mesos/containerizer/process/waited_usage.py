"""What a process that has ended has used, as wait4(2) and waitid(2) report it. Standard library only.

That is the process itself and those of its children that it has waited for. One that left its parent, or was never
waited for, is not counted; and the peak of memory is that of the largest single process, not of all at one time.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct

BLOCK_BYTES = 512
"""The unit in which the kernel reports what was read from and written to disks."""
# The C library's function has no argument for the usage, which the system call has.
_WAITID = {"x86_64": 247, "aarch64": 95, "riscv64": 95, "loongarch64": 95, "ppc64le": 272, "s390x": 281}.get(
    platform.machine(), 0
)
_RUSAGE = struct.Struct("18l")

Used = list[float | int | None]
"""CPU seconds, the most bytes of memory, and the bytes that were read from and written to disks; None for what is not
known."""

_libc = ctypes.CDLL(None, use_errno=True)
_long = ctypes.c_long
_own_peak = 0


def wait_for(pid: int) -> Used:
    """Wait for a child that has ended, and return what it has used."""
    _, _, used = os.wait4(pid, 0)
    return _used(used.ru_utime + used.ru_stime, used.ru_maxrss, used.ru_inblock, used.ru_oublock)


def used_by_zombie(pid: int) -> Used:
    """What a child has used that has ended, and that is waited for later; empty if that cannot be known here."""
    found = ctypes.create_string_buffer(_RUSAGE.size)
    options = os.WEXITED | os.WNOWAIT | os.WNOHANG
    if not _WAITID or _libc.syscall(_long(_WAITID), _long(os.P_PID), _long(pid), None, _long(options), found) != 0:
        return []
    user, user_usec, system, system_usec, peak, *_, read, written = _RUSAGE.unpack(found)[:13]
    return _used(user + system + (user_usec + system_usec) / 1e6, peak, read, written)


def _used(cpu_seconds: float, peak: int, read: int, written: int) -> Used:
    return [round(cpu_seconds, 3), _bytes(peak), read * BLOCK_BYTES, written * BLOCK_BYTES]


def _bytes(peak: int) -> int | None:
    """A child's peak of memory, given in KB; None if it is not above that of this process: posix_spawn runs the child
    in the memory of this process at first, and the kernel counts that."""
    global _own_peak
    if peak > _own_peak:
        _own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak << 10 if peak > _own_peak else None
