"""The spawner's memory on disk: ``<work_dir>/meta/tasks.journal``.

One JSON array a line::

    ["boot", boot_id]                         first line: what follows happened under this boot
    ["intent", task_id]                       about to be started; written before the process exists
    ["started", task_id, pid, ticks, at]      ticks: the kernel's start time, field 22 of /proc/PID/stat;
                                              0 at first, and told in a second record of one that goes on
    ["exited", task_id, code, signal, at]     both null: the process is gone, nobody knows how
    [... at, limit]                           the spawner ended it, for a limit that it had passed, in words
    ["failed", task_id, message, machine]     could not be started; machine: which is to blame, not the task
    ["forget", task_id]                       the agent has stored the outcome elsewhere

(pid, ticks, boot id) names a process for good; a pid alone is used again. The sandbox is always
``<work_dir>/sandboxes/<task_id>`` and so is not written.

Nothing is flushed to the device: the page cache survives the death of any process, and after a crash of
the machine no task runs anyway. The spawner imports this file: standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

Record = list[Any]
MAX_PID = 2**22
"""Process ids of Linux stay below it."""

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Entry:
    """What is known of one task. ``ended`` is (exit code, signal, seconds since the epoch)."""

    __slots__ = (
        "ended",
        "failed",
        "kill_at",
        "limit",
        "line",
        "machine",
        "pid",
        "pidfd",
        "reported",
        "started_at",
        "task_id",
        "term",
        "ticks",
    )

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.pid = 0
        self.ticks = 0
        self.started_at = 0.0
        self.ended: tuple[int | None, int | None, float] | None = None
        self.failed: str | None = None
        self.machine = False
        self.limit = ""
        # Of the running spawner only, never written:
        self.reported = True  # False: the process ended during a kill, and its tree is still being ended
        self.pidfd = -1  # only for a process that an earlier spawner started
        self.line = ""
        self.kill_at = 0.0  # monotonic time of the SIGKILL; 0: nobody wants to kill it
        self.term = False  # the SIGTERM is still to be sent

    def records(self) -> list[Record]:
        """The shortest history that leads here."""
        if self.failed is not None:
            return [["failed", self.task_id, self.failed, self.machine]]
        if not self.pid and self.ended is None:
            return [["intent", self.task_id]]
        history: list[Record] = [["started", self.task_id, self.pid, self.ticks, self.started_at]]
        if self.ended is not None:
            history.append(self.exit_record())
        return history

    def exit_record(self) -> Record:
        """How it has ended."""
        assert self.ended is not None
        return ["exited", self.task_id, *self.ended, *((self.limit,) if self.limit else ())]


def encode(records: Iterable[Record]) -> bytes:
    """Records as lines."""
    return "".join([_dumps(record) + "\n" for record in records]).encode("ascii")


def _apply(entries: dict[str, Entry], record: Record) -> None:
    kind, task_id = record[0], record[1]
    if not isinstance(task_id, str):
        raise ValueError("a task id is text")
    if kind == "forget":
        entries.pop(task_id, None)
        return
    if kind == "intent":
        entries[task_id] = Entry(task_id)
        return
    entry = entries.get(task_id) or Entry(task_id)
    if kind == "started":
        pid, ticks, at = int(record[2]), int(record[3]), float(record[4])
        if not 0 <= pid < MAX_PID or not 0 <= ticks < 2**64:
            raise ValueError("no process has this number")
        entry.pid, entry.ticks, entry.started_at = pid, ticks, at
    elif kind == "exited":
        entry.ended = (record[2], record[3], float(record[4]))
        entry.limit = str(record[5]) if len(record) > 5 else ""
    elif kind == "failed":
        entry.failed = str(record[2])
        entry.machine = len(record) > 3 and bool(record[3])
    entries[task_id] = entry


def load(path: str) -> tuple[str, dict[str, Entry], int]:
    """Read a journal: (boot id, tasks not forgotten, number of lines that made no sense).

    A torn last line is normal (the writer was killed, or the disk was full), and is skipped like any other
    line that cannot be read: every whole line stands for itself.
    """
    boot, entries, bad = "", dict[str, Entry](), 0
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return boot, entries, bad
    for line in lines:
        if not line:
            continue
        try:
            record = json.loads(line)
            if record[0] == "boot":
                boot = str(record[1])
            else:
                _apply(entries, record)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            bad += 1
    return boot, entries, bad


class Journal:
    """Appends, and rewrites the file when most of it is history."""

    def __init__(self, path: str, boot: str) -> None:
        self._path = path
        self._boot = boot
        self._fd = -1
        self._size = 0
        self._lines = 0

    def append(self, records: list[Record]) -> None:
        """Write all of them, or raise OSError and leave the file as it was."""
        data = encode(records)
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            # A torn line would swallow the next good one.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        self._lines += len(records)

    def compact(self, entries: Iterable[Entry]) -> None:
        """Rewrite the file with only what is still worth knowing. Raises OSError; the old file stays."""
        records: list[Record] = [["boot", self._boot]]
        for entry in entries:
            records.extend(entry.records())
        data = encode(records)
        fd = os.open(self._path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(28, "No space left on device")
            os.rename(self._path + ".new", self._path)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._lines = fd, len(data), 0

    def is_long(self, live: int) -> bool:
        """Whether rewriting would pay: ``live`` tasks are known."""
        return self._lines > 4096 + 4 * live
