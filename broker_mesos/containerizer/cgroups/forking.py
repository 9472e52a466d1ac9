"""Forks a process that is in a task cgroup from the beginning, or joins it before it does anything else."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup

_CLONE_INTO_CGROUP = 0x2_0000_0000
_SYS_CLONE3 = 435  # the same number on every architecture
_UNAVAILABLE = {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG, errno.EOPNOTSUPP, errno.EBADF}
"""Errors of a kernel before 5.7, of a filter for system calls, as most containers have one, or of a file system that
shows cgroups without being the kernel's."""

_libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: the interpreter's lock stays with the thread that forks


def fork_into(group: TaskCgroup, namespaces: int = 0) -> int:
    """Fork, as os.fork does: returns 0 in the child, which is in the cgroup, and the child's pid in the parent. With
    ``namespaces``, flags of clone(2), the child is the first process in those.

    On v2 alone the child is born there, at no cost. Else it joins first, for which the kernel may take 10 ms for each
    hierarchy of v1; the parent does not wait for that. The caller must have no other thread. Raises OSError; in the
    child, too, if it cannot join.
    """
    if len(group.paths) == 1 and "core" in group.folders:
        folder = os.open(group.paths[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return clone(namespaces | _CLONE_INTO_CGROUP, folder)
        except OSError as error:
            if error.errno not in _UNAVAILABLE:
                raise
        finally:
            os.close(folder)
    if (pid := clone(namespaces) if namespaces else os.fork()) == 0:
        group.join()
    return pid


def clone(flags: int, folder: int = 0) -> int:
    """Fork, as os.fork does, with flags of clone(2); ``folder`` is the descriptor of a cgroup. Raises OSError."""
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    # set_tid_size, cgroup.
    arguments = struct.pack("11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, folder)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(ctypes.c_long(_SYS_CLONE3), arguments, ctypes.c_size_t(len(arguments))))
    number = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid
