"""The processes of a cgroup, and signals that reach no other process."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable, Sequence

from broker_mesos.containerizer.cgroups.files import CgroupFiles

_CHUNK = 256  # processes that are signalled at a time, each by a file descriptor


def members(files: CgroupFiles, paths: Iterable[str]) -> list[int]:
    """The pids of all processes in a cgroup, daemons included, by its folders; zombies are not among them. Raises
    OSError if one of its folders is gone."""
    found: dict[int, None] = {}
    for path in paths:
        for word in files.read(f"{path}/cgroup.procs").split():
            found[int(word)] = None
    found.pop(0, None)  # a process of a pid namespace that is not ours
    return list(found)


def send(files: CgroupFiles, paths: Sequence[str], signal_number: int, keep: Collection[int] = ()) -> int:
    """Signal all members of a cgroup but ``keep``. Returns how many there were. Raises OSError as ``members`` does."""
    pids = [pid for pid in members(files, paths) if pid not in keep]
    for start in range(0, len(pids), _CHUNK):
        _send(files, paths, pids[start : start + _CHUNK], signal_number)
    return len(pids)


def _send(files: CgroupFiles, paths: Sequence[str], pids: Iterable[int], signal_number: int) -> None:
    pidfds = {}
    try:
        for pid in pids:
            try:
                pidfds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                pass
            except OSError:  # no descriptor is left; the pid was read just now
                _kill(pid, signal_number)
        # A pid that is still a member is that of the process which the descriptor refers to, or that one is gone.
        still = set(members(files, paths))
        for pid, fd in pidfds.items():
            if pid in still:
                try:
                    signal.pidfd_send_signal(fd, signal_number)
                except OSError:
                    pass
    finally:
        for fd in pidfds.values():
            os.close(fd)


def _kill(pid: int, signal_number: int) -> None:
    try:
        os.kill(pid, signal_number)
    except OSError:
        pass
