"""What the spawner does about the disk while tasks run: outputs, the floor of free disk, quotas. Standard library only.

Nothing here is done for a task when it starts or ends, unless it holds disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from broker_mesos.containerizer.disk_space import measure
from broker_mesos.containerizer.process.disk_floor import FloorWatch, bytes_written
from broker_mesos.containerizer.process.disk_quotas import DiskQuotas
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.output_limits import Limits, OutputWatch
from broker_mesos.containerizer.process.proctree import Process
from broker_mesos.containerizer.process.stops import Stop

LOOK_SECONDS = 0.1
REST_SECONDS = 1.0
"""Interval between two looks at the free disk while tasks run, in seconds: the longer one while none of them holds disk
and the floor is far."""
CLOSE_LOOK_SECONDS = 0.03
"""The same near the floor, in seconds."""
Groups = Callable[[], Mapping[str, list[Process]]]


class DiskWatch:
    """Watches the disk on which sandboxes and volumes are; ``log`` writes a line."""

    def __init__(self, work_dir: str, log: Callable[[str], None]) -> None:
        self._sandboxes = f"{work_dir}/sandboxes/"
        self.limits = Limits()
        self._outputs = OutputWatch(self._sandboxes, log)
        self._quotas = DiskQuotas(self._sandboxes, f"{work_dir}/volumes/")
        self._floor = FloorWatch(self._sandboxes)
        self.due = 0.0
        """Monotonic time of the next look."""
        self._measure_at = 0.0

    def started(self, entry: Entry, *, adopted: bool = False) -> None:
        """Watch a task that has started; ``adopted`` is one that another spawner has started."""
        if entry.disk or entry.volumes:
            self._quotas.add(entry, adopted=adopted)
            self.due = self._measure_at = 0.0

    def ended(self, entry: Entry) -> None:
        """Stop watching a task that has ended, but for the last of its output."""
        self._outputs.ended(entry, self.limits.output)
        if self._quotas:
            self._quotas.remove(entry.task_id)

    def __bool__(self) -> bool:
        """Whether there is something to look at although no task may run."""
        return bool(self._outputs)

    def close(self) -> None:
        """Look at what tasks have left, for the last time."""
        self._outputs.cut_ended(self.limits.output)

    def look(self, running: Mapping[int, Entry], groups: Groups) -> list[Stop]:
        """Check what is due. Returns the tasks to be ended. ``groups`` returns the processes of all tasks; it is called
        only where it must be."""
        began = monotonic()
        stops: list[Stop] = []
        if began >= self._measure_at:
            stops += self._measure(running, groups, began)
        if began >= self._outputs.due:
            self._outputs.cut(running.values(), self.limits.output)
            self._outputs.cut_ended(self.limits.output)
            self._outputs.looked(began, monotonic())
        delay = None
        if self._quotas:
            stops += self._quotas.work(began, self._cut, lambda: _written(groups()))
            delay = self._quotas.delay(began)
        self.due = min(self._measure_at, self._outputs.due)
        if delay is not None:
            self.due = min(self.due, began + delay)
        return stops

    def take_notes(self) -> list[tuple[Entry, str]]:
        """Remove and return the new notes about tasks."""
        notes = [*self._outputs.noted, *self._quotas.noted]
        self._outputs.noted, self._quotas.noted = [], []
        return [(entry, entry.note) for entry in notes]

    def _measure(self, running: Mapping[int, Entry], groups: Groups, now: float) -> list[Stop]:
        self._measure_at = now + LOOK_SECONDS
        if not self._quotas:
            self._measure_at = now + max(LOOK_SECONDS, min(REST_SECONDS, self._floor.rest_seconds(self.limits.free)))
        space = measure(self._sandboxes)
        if space is None:
            return []
        self._quotas.measured(space)
        self._floor.measured(space, now)
        if not self._floor.is_close(self.limits.free):
            self._floor.rest()
            return []
        entries = {entry.task_id: entry for entry in running.values() if not entry.kill_at}
        self._measure_at = now + CLOSE_LOOK_SECONDS
        return self._floor.find(entries, groups, self.limits.free, now)

    def _cut(self, entry: Entry) -> None:
        self._outputs.cut([entry], self.limits.output)


def _written(groups: Mapping[str, Iterable[Process]]) -> dict[str, int]:
    return {task_id: sum(bytes_written(each.pid) for each in group) for task_id, group in groups.items()}
