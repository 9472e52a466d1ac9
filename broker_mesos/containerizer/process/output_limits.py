"""Limits on what tasks write: the size of each output file, and the free disk of the agent. Standard library only.

A task writes directly into ``stdout`` and ``stderr`` of its sandbox. The spawner checks their sizes while tasks run.
If an output file exceeds its limit, its middle is removed by releasing the file's blocks (a hole): the head and the
latest output stay, offsets do not change, and a reader that follows the file can go on. A line at the end of the head
reports the cut.

Below the floor of free disk, the tasks that write the most are ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from broker_mesos.containerizer.credentials import Ids, acting_as
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.proctree import Process, read_as_owner

LOOK_SECONDS = 0.25
"""Minimum interval between two checks of the outputs of all running tasks, in seconds."""
LOOK_PAUSE_FACTOR = 50
"""A check that took t seconds is not repeated for 50 t, so that checks use at most 2% of a core."""
MAX_OUTPUT_BYTES = 1 << 30
MIN_OUTPUT_BYTES = 1 << 20
MIN_FREE_BYTES = 1 << 30
MIN_FREE_SHARE = 20
"""The floor of free disk is MIN_FREE_BYTES, or a 20th of the file system if that is less."""
MIN_RATE_BYTES = 1 << 16
"""Output rate from which a task counts as a writer, in bytes per second."""
_ALIGN = 1 << 16
_KEEP_SIZE_AND_PUNCH = 1 | 2
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


class Limits(NamedTuple):
    """The maximum size of one output file on the disk, and the minimum free disk, in bytes."""

    output: int = MAX_OUTPUT_BYTES
    free: int = MIN_FREE_BYTES


class Stop(NamedTuple):
    """A task to be ended, and the reason."""

    entry: Entry
    reason: str


def floor_of(found: os.statvfs_result, free: int) -> int:
    """The floor of free disk on a file system, in bytes."""
    return min(free, found.f_blocks * found.f_frsize // MIN_FREE_SHARE)


class OutputWatch:
    """Checks the output files of tasks and the free disk."""

    def __init__(self, sandboxes: str, log: Callable[[str], None]) -> None:
        self._sandboxes = sandboxes
        self._log = log
        self.limits = Limits()
        self.due = 0.0
        """Monotonic time of the next check."""
        self._written: dict[str, int] = {}
        self._measured_at = 0.0

    def _output_bytes(self, entry: Entry) -> int:
        """The sum of the sizes of a task's output files, in bytes."""
        total = 0
        for name in ("stdout", "stderr"):
            try:
                with acting_as(entry.owner):
                    total += os.lstat(f"{self._sandboxes}{entry.task_id}/{name}").st_size
            except OSError:
                pass
        return total

    def looked(self, began: float, now: float) -> None:
        """Set the time of the next check, after one that took from ``began`` to ``now``, in monotonic seconds."""
        self.due = now + max(LOOK_SECONDS, LOOK_PAUSE_FACTOR * (now - began))

    def cut(self, entries: Iterable[Entry]) -> list[Stop]:
        """Cut output files that exceed the limit. Returns the tasks whose output this file system cannot cut. What a
        task has put in the place of a file is used with the rights of its user."""
        stops: list[Stop] = []
        by_owner: dict[Ids | None, list[Entry]] = {}
        for entry in entries:
            by_owner.setdefault(entry.owner, []).append(entry)
        for owner, owned in by_owner.items():
            # Without the right to act as another user, the output of such tasks of an earlier process is left alone.
            with contextlib.suppress(PermissionError), acting_as(owner):
                for entry in owned:
                    self._cut_one(entry, stops)
        return stops

    def _cut_one(self, entry: Entry, stops: list[Stop]) -> None:
        for name in ("stdout", "stderr"):
            path = f"{self._sandboxes}{entry.task_id}/{name}"
            try:
                found = os.lstat(path)
                if found.st_blocks * 512 <= self.limits.output or not stat.S_ISREG(found.st_mode):
                    continue
                cut(path, self.limits.output)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                    what = f"its {name} grew beyond {_size(self.limits.output)}, and cannot be cut on this file system"
                    stops.append(Stop(entry, what))
                    break
                if error.errno != errno.ENOENT:
                    self._log(f"cannot cut {path}: {error.strerror}")

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
        """While free disk is below the floor: the one of these tasks that has written most since the last check;
        ``groups`` are their processes. Empty at the first check, and while no task writes much."""
        written = {
            task_id: max(sum(bytes_written(each.pid) for each in groups.get(task_id, ())), self._output_bytes(entry))
            for task_id, entry in entries.items()
        }
        return self.fastest_of(entries, written, now)

    def fastest_of(self, entries: Mapping[str, Entry], written: Mapping[str, int], now: float) -> list[Stop]:
        """The same as ``fastest``, from the bytes that each task has written so far."""
        before, self._written = self._written, dict(written)
        seconds, self._measured_at = now - self._measured_at, now
        rates = {each: (total - before[each]) / seconds for each, total in written.items() if each in before}
        if not rates or seconds <= 0:
            return []
        task_id = max(rates, key=lambda each: rates[each])
        if rates[task_id] < MIN_RATE_BYTES:
            return []
        rate = _size(int(rates[task_id]))
        reason = f"the disk of its agent was nearly full, and it wrote {rate} a second, more than any other task"
        return [Stop(entries[task_id], reason)]


def bytes_written(pid: int) -> int:
    """Bytes that a process and its ended children have written to disks so far (a file system in memory counts none); 0
    if the process is gone."""
    for line in read_as_owner(pid, "io").splitlines():
        if line.startswith(b"write_bytes:"):
            return int(line[12:])
    return 0


def cut(path: str, limit: int) -> None:
    """Release the middle of a file that has more than ``limit`` bytes on the disk, so that about half of them
    remain: a head, which ends with a line about the cut, and the latest bytes. Raises OSError."""
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
