"""Takes from this process what it does not need to unpack an archive, for good. Standard library only.

What is not possible is left out: an agent that is not root has no other user and no other root for it, and Landlock
needs Linux 5.19. What is then left to this process is what every task of such an agent can do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource

from broker_mesos.containerizer import credentials
from broker_mesos.containerizer.namespaces import call_filter, kernel, landlock_files
from broker_mesos.containerizer.unpacking.extract import Bounds

UNPACKER = credentials.Ids(65_533, 65_533)
"""The user that unpacks archives where the agent may choose one: of those that neither distributions nor systemd give
out. Nothing else runs as this user, so nobody changes what it has made before it is the agent's."""
MAX_FILES_OPEN = 64
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


def confine(folder: str, bounds: Bounds, *, as_unpacker: bool) -> str:
    """Keep this process in ``folder``, and return the path that it has there from now on. ``as_unpacker``: the folder
    belongs to UNPACKER, who this process is to be. Raises OSError."""
    # A process that has used up its CPU time is killed, however busy its parent is.
    seconds = max(1, int(bounds.seconds))
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, bounds.memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NOFILE, MAX_FILES_OPEN),
        (resource.RLIMIT_NPROC, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a limit that is lower already
            resource.setrlimit(limit, (value, value))
    with contextlib.suppress(OSError):
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC)
    if as_unpacker:
        try:
            os.chroot(os.path.dirname(folder))
            os.chdir("/")
            folder = "/" + os.path.basename(folder)
        except PermissionError:
            os.chdir(folder)
            folder = "."  # the other user may have no way to it by its path
    with contextlib.suppress(OSError):
        landlock_files.confine_to(folder)
    if as_unpacker:
        credentials.become(UNPACKER)
    else:
        credentials.forbid_new_privileges()
        credentials.drop_capabilities()
    with contextlib.suppress(OSError):
        call_filter.install()
    return folder


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that has started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
