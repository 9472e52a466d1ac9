"""The floor of free disk: before it is reached, the tasks that write the most are ended. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from time import thread_time, time

from broker_mesos.containerizer.disk_space import DiskSpace, megabytes
from broker_mesos.containerizer.process.folder_size import FolderSize, measure_folder
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.proctree import Process, read_as_owner
from broker_mesos.containerizer.process.stops import Stop

CLOSE_SECONDS = 2.0
"""If the disk would be at its floor within this time, it is seen who writes, in seconds."""
REACTION_SECONDS = 0.3
"""If it would be there within this time, the one that writes the most is ended, in seconds."""
SCAN_PAUSE_FACTOR = 4
"""To see who writes, /proc is read for all processes; if that took t seconds of CPU, it is not repeated for 4 t."""
MIN_RATE_BYTES = 1 << 16
"""Output rate from which a task counts as a writer, in bytes per second."""
MIN_RATE_FILES = 100
"""The rate at which the free files of a disk must fall for a task to be ended because of it, in files per second."""
MAX_RATE_BYTES = 4 << 30
MAX_RATE_FILES = 200_000
"""The most bytes and files that are written in a second."""
RECENT_SECONDS = 5.0
"""Time within which files count as being made now, in seconds."""
MIN_FILES = 1_000
MAX_COUNTED_FILES = 100_000
"""Files from which a task counts as one that has many, and up to which they are counted."""
_STEPS_PER_LOOK = 25
_IN_MEMORY = {b"tmpfs", b"ramfs"}


class FloorWatch:
    """Compares the free disk with its floor, and finds the tasks that lower it. All times are monotonic seconds."""

    def __init__(self, sandboxes: str) -> None:
        self._sandboxes = sandboxes
        self._before: tuple[float, DiskSpace] | None = None
        self._rate = 0.0
        self._file_rate = 0.0
        self._interval = 0.0
        self._written: dict[str, int] = {}
        self._written_at = 0.0
        self._scan_at = 0.0
        self._writer = ""
        """The task that wrote the most of all when that was last measured; empty if none wrote much."""
        self._writer_rate = 0
        self._processes: tuple[Process, ...] = ()
        self._count: Generator[None, None, tuple[FolderSize, Entry] | None] | None = None
        self._most: tuple[FolderSize, Entry] | None = None
        self._in_memory: bool | None = None

    def measured(self, space: DiskSpace, now: float) -> None:
        """Take a measurement of the disk into account."""
        if self._before is not None and now > self._before[0]:
            seconds, before = now - self._before[0], self._before[1]
            # On a busy machine this process gets its turns late, and so must act earlier.
            self._interval = min(1.0, max(seconds, 0.7 * self._interval))
            # A rate that falls is believed only after some time: writers pause.
            self._rate = max((before.free - space.free) / seconds, 0.7 * self._rate, 0.0)
            self._file_rate = max((before.free_files - space.free_files) / seconds, 0.7 * self._file_rate, 0.0)
        self._before = now, space

    def rest_seconds(self, min_free: int) -> float:
        """For how long the floor cannot get close, however much is written, in seconds."""
        if self._before is None:
            return 0.0
        space = self._before[1]
        seconds = (space.free - space.floor(min_free)) / MAX_RATE_BYTES
        if space.files:
            seconds = min(seconds, (space.free_files - space.floor_of_files) / MAX_RATE_FILES)
        return max(0.0, seconds / 4)

    def is_close(self, min_free: int) -> bool:
        """Whether the floor is near enough to find out who writes."""
        return self._reached_within(CLOSE_SECONDS + 10 * self._interval, min_free)

    def _is_urgent(self, min_free: int) -> bool:
        return self._reached_within(REACTION_SECONDS + 2 * self._interval, min_free)

    def _reached_within(self, seconds: float, min_free: int) -> bool:
        """Whether a floor is reached within a time, if bytes and files go on falling as they do."""
        if self._before is None:
            return False
        space = self._before[1]
        free = space.free - int(self._rate * seconds)
        files = space.free_files - int(self._file_rate * seconds)
        return bool(space._replace(free=free, free_files=files).shortage(min_free))

    def rest(self) -> None:
        """Note that the floor is not near, so that what was seen is of no use."""
        self._written.clear()
        self._writer = ""
        self._most = None
        if self._count is not None:
            self._count.close()
            self._count = None

    def find(
        self,
        entries: Mapping[str, Entry],
        groups: Callable[[], Mapping[str, Sequence[Process]]],
        min_free: int,
        now: float,
    ) -> list[Stop]:
        """The task to be ended, if it is time for that; called again and again while the floor is close. ``groups``
        returns the processes of the tasks."""
        assert self._before is not None
        space = self._before[1]
        if self._file_rate >= MIN_RATE_FILES and self._files_run_out(space):
            return self._count_files(entries, space, urgent=self._is_urgent(min_free))
        urgent = self._is_urgent(min_free)
        if not (urgent and self._writer in entries) and now >= self._scan_at:
            began = thread_time()
            processes = groups()
            self._fastest(entries, processes, now)
            self._scan_at = now + SCAN_PAUSE_FACTOR * (thread_time() - began)
        if not urgent or self._writer not in entries:
            return []
        task_id, processes_of_it = self._writer, self._processes
        self._written.clear()  # the next one is chosen by what is written after the end of this one
        self._writer = ""
        free, floor = megabytes(space.free), megabytes(space.floor(min_free))
        reason = (
            f"the disk of its agent was nearly full ({free} MB were free, and {floor} MB are kept free), and it wrote "
            f"{megabytes(self._writer_rate)} MB a second, more than any other task"
        )
        return [Stop(entries[task_id], reason, processes_of_it)]

    def _fastest(self, entries: Mapping[str, Entry], processes: Mapping[str, Sequence[Process]], now: float) -> None:
        """Find the task that has written most since the last call, and its processes."""
        if self._in_memory is None:
            self._in_memory = is_in_memory(self._sandboxes)
        count = _chars if self._in_memory else bytes_written
        written = {ident: sum(count(each.pid) for each in processes.get(ident, ())) for ident in entries}
        before, self._written = self._written, written
        seconds, self._written_at = now - self._written_at, now
        rates = {
            each: (total - before[each]) / seconds for each, total in written.items() if each in before and seconds
        }
        self._writer = max(rates, key=lambda each: rates[each], default="")
        self._writer_rate = int(rates.get(self._writer, 0))
        if self._writer_rate < MIN_RATE_BYTES:
            self._writer = ""
        self._processes = tuple(processes.get(self._writer, ()))

    # -- files --------------------------------------------------------------------------------------------

    def _files_run_out(self, space: DiskSpace) -> bool:
        seconds = CLOSE_SECONDS + 10 * self._interval
        return bool(space.files) and space.free_files - self._file_rate * seconds < space.floor_of_files

    def _count_files(self, entries: Mapping[str, Entry], space: DiskSpace, *, urgent: bool) -> list[Stop]:
        """Go on counting the files of all tasks. If it is ``urgent``, the one that has most of them is ended."""
        if self._count is None:
            self._count = self._most_files(list(entries.values()))
        try:
            for _ in range(_STEPS_PER_LOOK):
                next(self._count)
        except StopIteration as end:
            self._count, self._most = None, end.value
        if not urgent or self._most is None:
            return []
        size, entry = self._most
        self._most = None
        if entry.task_id not in entries:
            return []
        self._file_rate = 0.0  # the next one is chosen only if they go on falling
        made = f"has got {size.recent:,} of late" if size.recent else f"has {size.entries:,}"
        return [
            Stop(
                entry,
                f"the disk of its agent could take hardly any more files ({space.free_files:,}, and room for "
                f"{space.floor_of_files:,} is kept free), and its sandbox {made}, more than any other",
            )
        ]

    def _most_files(self, entries: list[Entry]) -> Generator[None, None, tuple[FolderSize, Entry] | None]:
        """The task that has made the most files of late, or, if none has, the one that has the most."""
        most: tuple[FolderSize, Entry] | None = None
        since = time() - RECENT_SECONDS
        for entry in entries:
            path = self._sandboxes + entry.task_id
            size = yield from measure_folder(path, entry.owner, MAX_COUNTED_FILES, since)
            if size.entries >= MIN_FILES and (most is None or _made(size) > _made(most[0])):
                most = size, entry
        return most


def _made(size: FolderSize) -> tuple[int, int]:
    return size.recent, size.entries


def bytes_written(pid: int) -> int:
    """Bytes that a process and its ended children have written to disks so far, without those that were deleted before
    they got there (a file system in memory counts none); 0 if the process is gone."""
    values = _io(pid)
    return max(0, values.get(b"write_bytes", 0) - values.get(b"cancelled_write_bytes", 0))


def _chars(pid: int) -> int:
    """Bytes that a process and its ended children have passed to write(), to whatever."""
    return _io(pid).get(b"wchar", 0)


def _io(pid: int) -> dict[bytes, int]:
    lines = (line.partition(b":") for line in read_as_owner(pid, "io").splitlines())
    return {name: int(value) for name, _, value in lines}


def is_in_memory(folder: str) -> bool:
    """Whether the file system of a folder is one in memory, to which no process is known to write."""
    try:
        device = os.stat(folder).st_dev
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                words = line.split()
                if words[2] == b"%d:%d" % (os.major(device), os.minor(device)):
                    return words[words.index(b"-") + 1] in _IN_MEMORY
    except (OSError, ValueError, IndexError):
        pass
    return False
