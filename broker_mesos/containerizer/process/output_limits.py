"""The size of the output files of tasks. Standard library only.

A task writes directly into ``stdout`` and ``stderr`` of its sandbox. The spawner checks their sizes while tasks run.
If an output file exceeds its limit, its middle is removed by releasing the file's blocks (a hole): the head and the
latest output stay, offsets do not change, and a reader that follows the file can go on. A line at the end of the head
reports the cut. A file system without holes keeps the head, and what is written after a cut.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from broker_mesos.containerizer.credentials import Ids, acting_as
from broker_mesos.containerizer.disk_space import MIN_FREE_BYTES
from broker_mesos.containerizer.process.journal import Entry

LOOK_SECONDS = 0.25
"""Minimum interval between two checks of the outputs of all running tasks, in seconds."""
LOOK_PAUSE_FACTOR = 50
"""A check that took t seconds is not repeated for 50 t, so that checks use at most 2% of a core."""
MAX_OUTPUT_BYTES = 1 << 30
MIN_OUTPUT_BYTES = 1 << 20
DISK_PARTS = 4
"""Each output file of a task that holds disk may take this part of it, so that much output is cut and ends no task."""
CUT = b"\n[bmesos: output was cut out here: a file keeps its head and its latest part, %s in all]\n"
TRUNCATED = (
    b"\n[bmesos: output was dropped here: this file system keeps only the head, and what came later; %s in all]\n"
)
_ALIGN = 1 << 16
_KEEP_SIZE_AND_PUNCH = 1 | 2
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


class Limits(NamedTuple):
    """The limits of what tasks write, in bytes."""

    output: int = MAX_OUTPUT_BYTES
    """Maximum size on the disk of one output file of a task that names none."""
    free: int = MIN_FREE_BYTES
    """Bytes of the disk that stay free."""
    most_output: int = MAX_OUTPUT_BYTES
    """The largest size that a task may name."""

    def output_of(self, wanted: int) -> tuple[int, str]:
        """The maximum size of the output files of a task that wants this one, and a note if it gets less."""
        if wanted <= self.most_output:
            return wanted, ""
        return self.most_output, f"its output is held to {_size(self.most_output)}, the most on its agent"


class OutputWatch:
    """Keeps the output files of tasks within their limit; ``log`` writes a line."""

    def __init__(self, sandboxes: str, log: Callable[[str], None]) -> None:
        self._sandboxes = sandboxes
        self._log = log
        self.due = 0.0
        """Monotonic time of the next check."""
        self.noted: list[Entry] = []
        """Tasks that have got a note."""
        self._ended: list[Entry] = []

    def __bool__(self) -> bool:
        """Whether the output of a task that has ended is still to be checked."""
        return bool(self._ended)

    def ended(self, entry: Entry, limit: int) -> None:
        """Have the output of a task that has ended checked for the last time: since the last check it may have written
        much. That is left out for a short task that is known to have written little."""
        assert entry.ended is not None
        short = entry.ended[2] - entry.started_at < LOOK_SECONDS
        if short and entry.used_by == "wait" and (entry.used[3] or 0) < self._limit_of(entry, limit):
            return
        self._ended.append(entry)

    def cut_ended(self, limit: int) -> None:
        """Cut the output of tasks that have ended."""
        ended, self._ended = self._ended, []
        self.cut(ended, limit)

    @staticmethod
    def _limit_of(entry: Entry, limit: int) -> int:
        most = entry.output or limit
        return min(most, max(4 * _ALIGN, entry.disk // DISK_PARTS)) if entry.disk else most

    def looked(self, began: float, now: float) -> None:
        """Set the time of the next check, after one that took from ``began`` to ``now``, in monotonic seconds."""
        self.due = now + max(LOOK_SECONDS, LOOK_PAUSE_FACTOR * (now - began))

    def cut(self, entries: Iterable[Entry], limit: int) -> None:
        """Cut output files that take more than their task's own limit, or else ``limit`` bytes, or more than a part of
        the task's own disk."""
        by_owner: dict[Ids | None, list[Entry]] = {}
        for entry in entries:
            by_owner.setdefault(entry.owner, []).append(entry)
        for owner, owned in by_owner.items():
            # Without the right to act as another user, the output of such tasks of an earlier process is left alone.
            with contextlib.suppress(PermissionError), acting_as(owner):
                for entry in owned:
                    self._cut_one(entry, limit)

    def _cut_one(self, entry: Entry, limit: int) -> None:
        most = self._limit_of(entry, limit)
        for name in ("stdout", "stderr"):
            path = f"{self._sandboxes}{entry.task_id}/{name}"
            try:
                found = os.lstat(path)
                if found.st_blocks * 512 <= most or not stat.S_ISREG(found.st_mode):
                    continue
                if not cut(path, most) and not entry.note:
                    entry.note = f"its {name} was truncated at {_size(most)}, since its file system keeps no holes"
                    self.noted.append(entry)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    self._log(f"cannot cut {path}: {error.strerror}")


def cut(path: str, limit: int) -> bool:
    """Release the middle of a file that has more than ``limit`` bytes on the disk, so that about half of them
    remain: a head, which ends with a line about the cut, and the latest bytes. Where the file system cannot do that,
    all but the head is dropped, and the file goes on behind it; then the result is False. Raises OSError."""
    head = max(_ALIGN, limit // 16 // _ALIGN * _ALIGN)
    fd = os.open(path, _OPEN)
    try:
        end = (os.fstat(fd).st_size - limit // 2) // _ALIGN * _ALIGN
        if end <= head:
            return True
        try:
            _punch(fd, head, min(_ALIGN, end - head))  # whether it can be done; the line comes before most of the gap
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            _mark(fd, head, TRUNCATED % _size(limit).encode())
            os.ftruncate(fd, head)  # the task writes at the end of the file, wherever that is
            return False
        _mark(fd, head, CUT % _size(limit).encode())
        _punch(fd, head, end - head)
        return True
    finally:
        os.close(fd)


def _mark(fd: int, head: int, line: bytes) -> None:
    """Write a line at the end of the head, unless it is there."""
    at = head - len(line)
    if os.pread(fd, len(line), at) != line:
        os.pwrite(fd, line, at)


def _punch(fd: int, offset: int, length: int) -> None:
    done = _libc.fallocate(fd, _KEEP_SIZE_AND_PUNCH, ctypes.c_int64(offset), ctypes.c_int64(length))
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _size(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MB"
