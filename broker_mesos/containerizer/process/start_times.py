"""The start times of processes, by which a later spawner identifies them.

Reading a start time costs a fifth of starting a process. A process that ends at once needs none, and if the spawner
dies at once, the next one finds the process by its sandbox.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.event_log import EventLog
from broker_mesos.containerizer.process.journal import Entry

READ_AFTER_SECONDS = 0.05
"""Age at which the start time of a process is read, in seconds."""


class StartTimes:
    """The start times that are not read yet, oldest first; true while there are any. ``running`` is by pid."""

    def __init__(self, running: Mapping[int, Entry], event_log: EventLog) -> None:
        self._running = running
        self._event_log = event_log
        self._fresh: deque[tuple[float, Entry]] = deque()

    def __bool__(self) -> bool:
        return bool(self._fresh)

    @property
    def due(self) -> float:
        """Monotonic time at which the next one is to be read; valid only while there is one."""
        return self._fresh[0][0] + READ_AFTER_SECONDS

    def want(self, entry: Entry) -> None:
        """Add a process that has just been started."""
        self._fresh.append((time.monotonic(), entry))

    def read_due(self) -> None:
        """Read the start times of processes that have run for READ_AFTER_SECONDS."""
        if self._fresh:
            self._read(time.monotonic() - READ_AFTER_SECONDS)

    def read_all(self) -> None:
        """Read all start times now."""
        self._read(float("inf"))

    def _read(self, before: float) -> None:
        while self._fresh and self._fresh[0][0] <= before:
            _, entry = self._fresh.popleft()
            if entry.pid in self._running and not entry.ticks:
                entry.ticks = proctree.start_ticks(entry.pid)
                self._event_log.record(entry.start_record())
