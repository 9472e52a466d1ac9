"""The disk that tasks were given, and the sizes of their volumes, held against what is there. Standard library only.

A folder has no size that can be asked for, so folders are walked: when the free space of the disk has fallen by what a
task may still write, or each half minute. Walks use WALK_SHARE of a core, and more for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from time import monotonic, thread_time

from broker_mesos.containerizer.disk_space import DiskSpace, megabytes
from broker_mesos.containerizer.process.folder_size import FolderSize, measure_folder
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.stops import Stop

ROUND_SECONDS = 30.0
"""Maximum interval between two walks of a sandbox, in seconds, while walks do not use up their share of a core."""
WALK_SHARE = 0.02
"""The part of one core that walks use."""
WALK_BURST_SECONDS = 0.5
"""CPU time that walks may use at once, after a time without any, in seconds."""
SLICE_SECONDS = 0.005
"""Time of walking between two rounds of the spawner's loop, in seconds."""
_MIN_HEADROOM = 1 << 20


class _Quota:
    """A task with limits, and what it held at its last walk."""

    def __init__(self, entry: Entry, now: float, adopted: bool) -> None:
        self.entry = entry
        self.headroom = min([entry.disk or 1 << 62, *(size for _, size in entry.volumes)])
        self.fallen_at = 0
        self.walked_at = now
        self.at_once = adopted or bool(entry.volumes)
        # What a volume held when the task began is not the task's doing. That of an adopted task is not known.
        self.volumes: dict[str, int] = dict(entry.volumes) if adopted else {}


class DiskQuotas:
    """The tasks with limits, and their walks; ``prepare`` is called with a task before its sandbox is walked."""

    def __init__(self, sandboxes: str, volumes: str) -> None:
        self._sandboxes = sandboxes
        self._volumes = volumes
        self._quotas: dict[str, _Quota] = {}
        self._walk: Generator[None, None, list[Stop]] | None = None
        self._walking = ""
        self._free: int | None = None
        self._fallen = 0
        self._allowance = WALK_BURST_SECONDS
        self._allowed_at = monotonic()
        self.noted: list[Entry] = []
        """Tasks that have got a note."""

    def __bool__(self) -> bool:
        """Whether there are tasks with limits."""
        return bool(self._quotas)

    def add(self, entry: Entry, *, adopted: bool = False) -> None:
        """Watch a task with limits that has started."""
        quota = self._quotas[entry.task_id] = _Quota(entry, monotonic(), adopted)
        quota.fallen_at = self._fallen

    def remove(self, task_id: str) -> None:
        """Stop watching a task that has ended."""
        if self._quotas.pop(task_id, None) is not None and task_id == self._walking:
            self._end_walk()

    def close(self) -> None:
        """Close what is open."""
        self._end_walk()

    def delay(self, now: float) -> float | None:
        """Seconds until ``work`` can go on; None if no walk is under way."""
        if self._walk is None:
            return None
        self._refill(now)
        return max(0.0, (SLICE_SECONDS - self._allowance) / WALK_SHARE)

    def measured(self, space: DiskSpace) -> None:
        """Take the free space of the disk into account."""
        if self._free is not None and space.free < self._free:
            self._fallen += self._free - space.free
        self._free = space.free

    def work(
        self, now: float, prepare: Callable[[Entry], None], written: Callable[[], Mapping[str, int]]
    ) -> list[Stop]:
        """Walk for a moment. Returns the tasks to be ended. ``written`` returns the bytes that tasks have written."""
        if self._walk is None:
            due = self._next(now)
            if due is None:
                return []
            prepare(due.entry)
            self._walking = due.entry.task_id
            due.at_once = False
            due.fallen_at = self._fallen
            self._walk = self._measure(due, written)
        self._refill(now)
        began = thread_time()
        until = began + min(SLICE_SECONDS, self._allowance)
        stops: list[Stop] = []
        while self._walk is not None and thread_time() < until:
            try:
                next(self._walk)
            except StopIteration as end:
                stops = end.value
                self._end_walk()
        self._allowance -= thread_time() - began
        return stops

    def _refill(self, now: float) -> None:
        earned = WALK_SHARE * (now - self._allowed_at)
        self._allowance = min(WALK_BURST_SECONDS, self._allowance + earned)
        self._allowed_at = now

    def _end_walk(self) -> None:
        if self._walk is not None:
            self._walk.close()
            self._walk, self._walking = None, ""

    def _next(self, now: float) -> _Quota | None:
        """The task to walk next: one that may hold too much by now, the one with the least room first."""
        late = [
            each
            for each in self._quotas.values()
            if not each.entry.kill_at
            and (
                each.at_once
                or self._fallen - each.fallen_at > max(each.headroom, _MIN_HEADROOM)
                or now - each.walked_at >= ROUND_SECONDS
            )
        ]
        if not late:
            return None
        return min(late, key=lambda each: (not each.at_once, each.headroom - (self._fallen - each.fallen_at)))

    def _measure(self, quota: _Quota, written: Callable[[], Mapping[str, int]]) -> Generator[None, None, list[Stop]]:
        entry, stops = quota.entry, []
        rooms: list[int] = []
        if entry.disk:
            size = yield from measure_folder(self._sandboxes + entry.task_id, entry.owner)
            rooms.append(entry.disk - size.bytes)
            if size.bytes > entry.disk:
                stops.append(Stop(entry, self._over("its sandbox", size, "disk", entry.disk)))
        for volume_id, most in entry.volumes:
            size = yield from measure_folder(self._volumes + volume_id, entry.owner)
            rooms.append(most - size.bytes)
            before = quota.volumes.get(volume_id)
            quota.volumes[volume_id] = size.bytes
            if before is not None and size.bytes > max(most, before):
                reason = self._over(f"its volume {volume_id}", size, "size", most)
                stops.append(Stop(self._writer(volume_id, entry, written), reason))
        now = monotonic()
        if now - quota.walked_at > 2 * ROUND_SECONDS and not entry.note:
            entry.note = f"its disk was not measured for {now - quota.walked_at:.0f} s, since there are many files"
            self.noted.append(entry)
        quota.walked_at = now
        quota.headroom = max(0, min(rooms, default=0))
        return stops

    @staticmethod
    def _over(what: str, size: FolderSize, name: str, most: int) -> str:
        return f"{what} holds {megabytes(size.bytes)} MB in {size.entries:,} files, more than its {name}:{most >> 20}"

    def _writer(self, volume_id: str, entry: Entry, written: Callable[[], Mapping[str, int]]) -> Entry:
        """Of the tasks that use a volume, the one that has written the most."""
        users = [
            each.entry
            for each in self._quotas.values()
            if not each.entry.kill_at and any(volume_id == other for other, _ in each.entry.volumes)
        ]
        if len(users) < 2:
            return entry
        amounts = written()
        return max(users, key=lambda each: amounts.get(each.task_id, 0))
