"""Processes as /proc shows them: which task each belongs to, and signals that cannot reach a wrong process.

The spawner imports this file: standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
from collections.abc import Collection, Mapping
from typing import NamedTuple

from broker_mesos.containerizer.credentials import acting_as, owner_of

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PR_SET_CHILD_SUBREAPER = 36
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes), Linux 6.13; the exit code since 6.15
_PIDFD_INFO_EXIT = 8


class Process(NamedTuple):
    """The contents of /proc/PID/stat. ``ticks`` is the start time; with the pid it identifies the process."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    ticks: int
    cpu: float
    """CPU time in seconds, including that of the children it has waited for."""
    rss: int
    """Resident memory in bytes."""
    exit_status: int
    """The status as waitpid returns it; valid only for a zombie, and 0 for one of another user; see ``exit_status``."""

    @property
    def alive(self) -> bool:
        return self.state not in "ZXx"


def _read(path: str, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def start_ticks(pid: int) -> int:
    """The kernel's start time of a process, in clock ticks; 0 if there is no such process. Cheaper than `look`."""
    try:
        stat = _read(f"/proc/{pid}/stat", 1024)
    except OSError:
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split(b" ", 20)[19])


def is_there(pid: int, ticks: int) -> bool:
    """Whether a process that began at ``ticks`` exists, even as a zombie. True if that cannot be found out, since a
    lack of descriptors does not mean that the process has ended."""
    try:
        stat = _read(f"/proc/{pid}/stat", 1024)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return int(stat[stat.rindex(b")") + 2 :].split(b" ", 20)[19]) == ticks


def look(pid: int) -> Process | None:
    """One process, or None if it is gone."""
    try:
        stat = _read(f"/proc/{pid}/stat", 1024)
    except OSError:
        return None
    # The name, in parentheses, may contain anything.
    f = stat[stat.rindex(b")") + 2 :].split()
    return Process(
        pid,
        f[0].decode(),
        int(f[1]),
        int(f[2]),
        int(f[3]),
        int(f[19]),
        (int(f[11]) + int(f[12]) + int(f[13]) + int(f[14])) * _TICK,
        int(f[21]) * _PAGE,
        int(f[49]),
    )


def scan() -> dict[int, Process]:
    """All processes by pid. It takes some 20 to 40 µs for each process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = look(int(name))
            if process is not None:
                found[process.pid] = process
    return found


def children(pid: int) -> list[int] | None:
    """The pids of the direct children; None if the kernel does not list them."""
    try:
        fd = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        words = b""
        while data := os.read(fd, 65536):
            words += data
        return [int(word) for word in words.split()]
    finally:
        os.close(fd)


def tree(pid: int) -> list[int]:
    """A process, its descendants, and all others of its session."""
    processes = scan()
    children: dict[int, list[int]] = {}
    for each in processes.values():
        children.setdefault(each.parent, []).append(each.pid)
    found = dict.fromkeys(each.pid for each in processes.values() if each.pid == pid or each.session == pid)
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found[child] = None
                waiting.append(child)
    return list(found)


def read_as_owner(pid: int, name: str) -> bytes:
    """A file in /proc/PID that only processes of the same user, and root with all capabilities, can read; empty if it
    cannot be read."""
    path = f"/proc/{pid}/{name}"
    for attempt in (0, 1):
        try:
            with acting_as(owner_of(f"/proc/{pid}") if attempt else None), open(path, "rb") as file:
                return file.read()
        except PermissionError:
            continue
        except OSError:
            break
    return b""


def marker(pid: int, prefix: bytes) -> str | None:
    """The rest of the variable that begins with ``prefix`` in the environment that the process was started with."""
    environ = b"\0" + read_as_owner(pid, "environ")
    at = environ.find(b"\0" + prefix)
    if at < 0:
        return None
    at += 1 + len(prefix)
    return os.fsdecode(environ[at:].split(b"\0", 1)[0])


def owners(
    processes: Mapping[int, Process],
    mains: Mapping[int, str],
    prefix: bytes,
    *,
    reaper: int,
    everywhere: bool,
    helpers: Collection[int] = (),
) -> tuple[dict[str, list[Process]], dict[str, list[Process]]]:
    """Assign each living process to its task. Returns (those of the tasks in ``mains``, those of other tasks), by
    task id.

    A process belongs to a task if it is the task's main process, is in its session or group, descends from such a
    process, or (having left both) has the task's sandbox in its environment. A child of ``reaper`` that cannot be
    assigned is listed under "". Each environment costs a read, so environments are read only for orphans, which
    ``reaper`` has inherited; with ``everywhere``, for all processes. ``helpers`` are children of it that belong to no
    task.
    """
    known: dict[int, str | None] = {reaper: None, 0: None, **dict.fromkeys(helpers)}
    for process in processes.values():
        chain: list[Process] = []  # up to the first ancestor whose task is known; a loop, since a task may nest deeply
        task: str | None = None
        step: Process | None = process
        while step is not None:
            if step.pid in known:
                task = known[step.pid]
                break
            task = mains.get(step.pid) or mains.get(step.session) or mains.get(step.group)
            chain.append(step)
            known[step.pid] = task
            if task is not None:
                break
            step = processes.get(step.parent)
        for step in reversed(chain):
            orphan = step.parent == reaper
            if task is None and (orphan or everywhere):
                task = marker(step.pid, prefix)
                if task is None and orphan:
                    task = ""
            known[step.pid] = task
    running = set(mains.values())
    ours: dict[str, list[Process]] = {}
    others: dict[str, list[Process]] = {}
    for process in processes.values():
        task = known[process.pid]
        if task is not None and process.alive and process.pid != reaper:
            (ours if task in running else others).setdefault(task, []).append(process)
    return ours, others


def send(process: Process, number: int) -> None:
    """Signal this process and no later one with the same pid. No error is raised if it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        if start_ticks(process.pid) == process.ticks:
            signal.pidfd_send_signal(fd, number)
    except OSError:
        pass
    finally:
        os.close(fd)


def exit_status(pid: int, ticks: int, pidfd: int) -> int | None:
    """The status of an ended process that was not our child, as waitpid would return it; None if it is not available.

    The parent, usually init, gets the status. It can be read here while the process is a zombie, or later from the
    pidfd, on Linux 6.15 and newer.
    """
    # The kernel shows the status as 0 to those who may not trace the process.
    try:
        with acting_as(owner_of(f"/proc/{pid}")):
            process = look(pid)
    except PermissionError:
        process = None
    if process is not None and process.ticks == ticks and not process.alive:
        return process.exit_status
    if pidfd >= 0:
        info = bytearray(64)
        struct.pack_into("Q", info, 0, _PIDFD_INFO_EXIT)
        try:
            fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
        except OSError:
            return None
        if struct.unpack_from("Q", info, 0)[0] & _PIDFD_INFO_EXIT:
            return int(struct.unpack_from("i", info, 60)[0])
    return None


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
