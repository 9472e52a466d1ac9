"""The spawner's journal on disk: ``<work_dir>/meta/tasks.journal``.

It has one JSON array on each line::

    ["boot", boot_id]                         first line: the boot of the machine for the lines that follow
    ["intent", task_id]                       about to be started; written before the process exists
    [... task_id, limits]                     limits, if it has some: ``disk``, the bytes that its sandbox may hold,
                                              ``output``, those that each of its output files may take,
                                              ``volumes``, pairs of the id and the size in bytes, ``held``, what the
                                              kernel holds it to, and ``cgroup``, its name and its counters before,
                                              and ``given``, the ids of its GPUs
    ["started", task_id, pid, ticks, at]      ticks: the kernel's start time, field 22 of /proc/PID/stat;
                                              0 at first, and in a second record if the process runs on
    [... at, limits]                          as above
    ["exited", task_id, code, signal, at]     both null: the process is gone, its status is not known
    [... at, limit]                           the spawner ended it; limit: the exceeded limit, in words
    [... limit, more]                         what it has ``used``: CPU seconds, the most bytes of memory, and the bytes
                                              read from and written to disks, each null if not known; ``by`` what
                                              means: "cgroup", or "wait" (``waited_usage.py``); and ``kind``:
                                              "memory" if that was the limit
    ["failed", task_id, message, machine]     could not be started; machine: because of the machine
    ["forget", task_id]                       the agent has stored the outcome elsewhere

(pid, ticks, boot id) identifies a process uniquely; a pid alone is used again. The sandbox is always
``<work_dir>/sandboxes/<task_id>`` and so is not written.

Nothing is flushed to the device: the page cache survives the death of any process, and after a crash of
the machine no task runs anyway. The spawner imports this file: standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_mesos.containerizer.credentials import Ids
    from broker_mesos.containerizer.process.gpus import GpuWish
    from broker_mesos.containerizer.process.task_limits import TaskLimits
    from broker_mesos.containerizer.process.waited_usage import Used

Record = list[Any]
MAX_PID = 2**22
"""The upper bound of process ids on Linux, exclusive."""

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Entry:
    """One task of the spawner. ``ended`` is (exit code, signal, seconds since the epoch)."""

    __slots__ = (
        "cgroup",
        "disk",
        "ended",
        "failed",
        "gpu_wish",
        "gpus",
        "held",
        "kill_at",
        "limit",
        "limit_kind",
        "limits",
        "machine",
        "note",
        "output",
        "owner",
        "pid",
        "pidfd",
        "queue",
        "reported",
        "started_at",
        "task_id",
        "term",
        "ticks",
        "used",
        "used_by",
        "volumes",
    )

    def __init__(self, task_id: str, limits: Any = None) -> None:
        self.task_id = task_id
        self.disk = 0
        """Bytes that its sandbox may hold; 0 if that is not limited."""
        self.output = 0
        """Bytes that each of its output files may take; 0 for what the agent's settings say."""
        self.volumes: list[tuple[str, int]] = []
        """The ids of its volumes, with their sizes in bytes."""
        self.pid = 0
        self.ticks = 0
        self.started_at = 0.0
        self.ended: tuple[int | None, int | None, float] | None = None
        self.failed: str | None = None
        self.machine = False
        self.limit = ""
        self.limit_kind = ""
        """"memory" if that was the limit; empty for one of the disk."""
        self.used: Used = []
        """What a task that has ended has used; empty if that is not known."""
        self.used_by = ""
        """How ``used`` was measured: ``cgroup``, or ``wait``, which does not count all of its processes."""
        self.held: dict[str, Any] = {}
        """What the kernel is to hold it to; empty if it is not held. See ``task_limits``."""
        self.cgroup: list[Any] = []
        self.gpus: list[str] = []
        """The ids of the GPUs that it has."""
        self.gpu_wish: GpuWish | None = None  # of its launch request; never in the journal
        if limits:
            self.gpus = [str(each) for each in limits.get("given", ())]
            self.disk, self.output = int(limits.get("disk", 0)), max(0, int(limits.get("output", 0)))
            self.held, self.cgroup = dict(limits.get("held", ())), list(limits.get("cgroup", ()))
            self.volumes = [(str(volume_id), int(size)) for volume_id, size in limits.get("volumes", ())]
        # Used by the running spawner only, and never written to the journal:
        self.reported = True  # False: the process ended during a kill, and its tree is still being ended
        self.note = ""  # what is worth knowing about the task, for its status
        self.pidfd = -1  # only for a process that an earlier spawner started
        self.queue = ""
        self.kill_at = 0.0  # monotonic time of the SIGKILL; 0: no kill was requested
        self.term = False  # the SIGTERM is still to be sent
        self.limits: TaskLimits | None = None  # those of ``held``, for its start
        self.owner: Ids | None = None  # the user of its sandbox, if that is not this process' own

    def records(self) -> list[Record]:
        """The shortest list of records that leads to this state."""
        if self.failed is not None:
            return [["failed", self.task_id, self.failed, self.machine]]
        if not self.pid and self.ended is None:
            return [self.intent_record()]
        history = [self.start_record()]
        if self.ended is not None:
            history.append(self.exit_record())
        return history

    def intent_record(self) -> Record:
        """The record that the task is about to be started."""
        return ["intent", self.task_id, *self._limits()]

    def start_record(self) -> Record:
        """The record of the task's process."""
        return ["started", self.task_id, self.pid, self.ticks, self.started_at, *self._limits()]

    def _limits(self) -> list[dict[str, Any]]:
        if not any((self.disk, self.volumes, self.held, self.output, self.gpus)):
            return []
        found: dict[str, Any] = {"disk": self.disk, "volumes": self.volumes}
        if self.output:
            found["output"] = self.output
        if self.held:
            found.update(held=self.held, cgroup=self.cgroup)
        if self.gpus:
            found["given"] = self.gpus
        return [found]

    def exit_record(self) -> Record:
        """The record of the task's end."""
        assert self.ended is not None
        more: dict[str, Any] = {"kind": self.limit_kind} if self.limit_kind else {}
        if self.used:
            more.update(used=self.used, by=self.used_by)
        if more:
            return ["exited", self.task_id, *self.ended, self.limit, more]
        return ["exited", self.task_id, *self.ended, *((self.limit,) if self.limit else ())]


def encode(records: Iterable[Record]) -> bytes:
    """Records encoded as lines of the journal."""
    return "".join([_dumps(record) + "\n" for record in records]).encode("ascii")


def _apply(entries: dict[str, Entry], record: Record) -> None:
    kind, task_id = record[0], record[1]
    if not isinstance(task_id, str):
        raise ValueError("a task id is text")
    if kind == "forget":
        entries.pop(task_id, None)
        return
    if kind == "intent":
        entries[task_id] = Entry(task_id, record[2] if len(record) > 2 else None)
        return
    entry = entries.get(task_id) or Entry(task_id)
    if kind == "started":
        if len(record) > 5:
            entry = Entry(task_id, record[5])
        pid, ticks, at = int(record[2]), int(record[3]), float(record[4])
        if not 0 <= pid < MAX_PID or not 0 <= ticks < 2**64:
            raise ValueError("no process has this number")
        entry.pid, entry.ticks, entry.started_at = pid, ticks, at
    elif kind == "exited":
        entry.ended = (record[2], record[3], float(record[4]))
        entry.limit = str(record[5]) if len(record) > 5 else ""
        if len(record) > 6:
            entry.used, entry.limit_kind = list(record[6].get("used", ())), str(record[6].get("kind", ""))
            entry.used_by = str(record[6].get("by", "cgroup" if entry.used else ""))
    elif kind == "failed":
        entry.failed = str(record[2])
        entry.machine = len(record) > 3 and bool(record[3])
    entries[task_id] = entry


def load(path: str) -> tuple[str, dict[str, Entry], int]:
    """Read a journal: (boot id, tasks that were not deleted by "forget", number of unreadable lines).

    A torn last line is normal (the writer was killed, or the disk was full), and is skipped like any other
    line that cannot be read: every complete line is independent of the others.
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
    """Appends records to the file; the file is rewritten when most of its records are out of date."""

    def __init__(self, path: str, boot: str) -> None:
        self._path = path
        self._boot = boot
        self._fd = -1
        self._size = 0
        self._lines = 0

    def append(self, records: list[Record]) -> None:
        """Append all records. Raises OSError, and then none of them is written."""
        data = encode(records)
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            # Without this, a torn line and the next good one would become one unreadable line.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        self._lines += len(records)

    def compact(self, entries: Iterable[Entry]) -> None:
        """Rewrite the file with the records that are still needed. Raises OSError, and then the old file stays."""
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
        """Whether the file is so long that it should be rewritten, when ``live`` tasks are known."""
        return self._lines > 4096 + 4 * live
