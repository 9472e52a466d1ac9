"""Bounds on what tasks write: on each output file, and on the free disk of the agent. Standard library only.

A task writes straight into ``stdout`` and ``stderr`` of its sandbox; nothing stands between. The spawner looks
at their sizes while tasks run. What an output file has beyond its limit is cut out of the middle by releasing
the file's blocks (a hole): the head and the latest output stay, offsets stay as they are, and a reader that
follows goes on. One line at the end of the head says what has been done.

Below the floor of free disk, those tasks are ended that write the most.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.proctree import Process

LOOK_SECONDS = 0.25
"""Seconds between two looks at the outputs of all running tasks, at least."""
LOOK_PAUSE_FACTOR = 50
"""A look that took t seconds is not repeated for 50 t: looking costs at most 2% of a core."""
MAX_OUTPUT_BYTES = 1 << 30
MIN_OUTPUT_BYTES = 1 << 20
MIN_FREE_BYTES = 1 << 30
MIN_FREE_SHARE = 20
"""The floor of free disk is MIN_FREE_BYTES, or a 20th of the file system if that is less."""
MIN_RATE_BYTES = 1 << 16
"""Bytes per second from which a task counts as a writer."""
_ALIGN = 1 << 16
_KEEP_SIZE_AND_PUNCH = 1 | 2
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


class Limits(NamedTuple):
    """Bytes of one output file on the disk at most, and bytes of free disk at least."""

    output: int = MAX_OUTPUT_BYTES
    free: int = MIN_FREE_BYTES


class Stop(NamedTuple):
    """A task to be ended, and why."""

    entry: Entry
    why: str


def floor_of(found: os.statvfs_result, free: int) -> int:
    """Bytes that are to stay free on a file system."""
    return min(free, found.f_blocks * found.f_frsize // MIN_FREE_SHARE)


class OutputWatch:
    """Looks at the output files of tasks and at the free disk."""

    def __init__(self, sandboxes: str, log: Callable[[str], None]) -> None:
        self._sandboxes = sandboxes
        self._log = log
        self.limits = Limits()
        self.due = 0.0
        """Monotonic time of the next look."""
        self._written: dict[str, int] = {}
        self._measured_at = 0.0

    def _output_bytes(self, task_id: str) -> int:
        """The sizes of a task's output files."""
        total = 0
        for name in ("stdout", "stderr"):
            try:
                total += os.lstat(f"{self._sandboxes}{task_id}/{name}").st_size
            except OSError:
                pass
        return total

    def looked(self, began: float, now: float) -> None:
        """A look has taken from ``began`` to ``now``, in monotonic seconds."""
        self.due = now + max(LOOK_SECONDS, LOOK_PAUSE_FACTOR * (now - began))

    def cut(self, entries: Iterable[Entry]) -> list[Stop]:
        """Cut what is too long. Returns the tasks whose output cannot be cut on this file system."""
        stops = []
        for entry in entries:
            for name in ("stdout", "stderr"):
                path = f"{self._sandboxes}{entry.task_id}/{name}"
                try:
                    found = os.lstat(path)
                    if found.st_blocks * 512 <= self.limits.output or not stat.S_ISREG(found.st_mode):
                        continue
                    cut(path, self.limits.output)
                except OSError as error:
                    if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                        what = (
                            f"its {name} grew beyond {_size(self.limits.output)}, and cannot be cut on this file system"
                        )
                        stops.append(Stop(entry, what))
                        break
                    if error.errno != errno.ENOENT:
                        self._log(f"cannot cut {path}: {error.strerror}")
        return stops

    def is_short(self) -> bool:
        """Whether less than the floor of the disk is free."""
        try:
            found = os.statvfs(self._sandboxes)
        except OSError:
            return False
        short = found.f_bavail * found.f_frsize < floor_of(found, self.limits.free)
        if not short:
            self._written.clear()
        return short

    def fastest(self, entries: Mapping[str, Entry], groups: Mapping[str, Iterable[Process]], now: float) -> list[Stop]:
        """While the disk is short: the one of these tasks that has written most since the last look, with its
        processes in ``groups``. None at the first look, and while nobody writes much."""
        written = {
            task_id: max(sum(bytes_written(each.pid) for each in groups.get(task_id, ())), self._output_bytes(task_id))
            for task_id in entries
        }
        return self.fastest_of(entries, written, now)

    def fastest_of(self, entries: Mapping[str, Entry], written: Mapping[str, int], now: float) -> list[Stop]:
        """The same, by the bytes that each task has written so far."""
        before, self._written = self._written, dict(written)
        seconds, self._measured_at = now - self._measured_at, now
        rates = {each: (total - before[each]) / seconds for each, total in written.items() if each in before}
        if not rates or seconds <= 0:
            return []
        task_id = max(rates, key=lambda each: rates[each])
        if rates[task_id] < MIN_RATE_BYTES:
            return []
        rate = _size(int(rates[task_id]))
        why = f"the disk of its agent was nearly full, and it wrote {rate} a second, more than any other task"
        return [Stop(entries[task_id], why)]


def bytes_written(pid: int) -> int:
    """Bytes that a process, and those children of it that have ended, have written to disks so far (a file system in
    memory counts none); 0 if it has gone."""
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            for line in file:
                if line.startswith(b"write_bytes:"):
                    return int(line[12:])
    except (OSError, ValueError):
        pass
    return 0


def cut(path: str, limit: int) -> None:
    """Release the middle of a file that has more than ``limit`` bytes on the disk, so that about half of them
    remain: a head, which ends with a line that says so, and the latest bytes. Raises OSError."""
    head = max(_ALIGN, limit // 16 // _ALIGN * _ALIGN)
    fd = os.open(path, _OPEN)
    try:
        end = (os.fstat(fd).st_size - limit // 2) // _ALIGN * _ALIGN
        if end <= head:
            return
        _punch(fd, head, min(_ALIGN, end - head))  # whether it can be done; the line comes before most of the gap
        marker = b"\n[bmesos: output was cut out here: a file keeps its head and its latest part, %s in all]\n" % (
            _size(limit).encode()
        )
        at = head - len(marker)
        if os.pread(fd, len(marker), at) != marker:
            os.pwrite(fd, marker, at)
        _punch(fd, head, end - head)
    finally:
        os.close(fd)


def _punch(fd: int, offset: int, length: int) -> None:
    done = _libc.fallocate(fd, _KEEP_SIZE_AND_PUNCH, ctypes.c_int64(offset), ctypes.c_int64(length))
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _size(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MB"
