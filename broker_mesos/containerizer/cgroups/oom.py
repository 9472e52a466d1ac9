"""Notices when the kernel kills a process of a task cgroup because memory is short.

On v1 an eventfd becomes readable, up to 0.2 ms before the counter ``oom_kill`` rises, also for cgroups beside the one
whose process is killed, and once more when the cgroup is removed. So an event is remembered, and the counter decides.
Whoever kills the other processes of the task before it has risen may be faster than the kernel, which then kills, and
counts, none. On v2 the counter has risen when the event comes.
"""

from __future__ import annotations

import enum
import os
import select

from broker_mesos.containerizer.cgroups.files import NO_DESCRIPTOR, CgroupFiles, table
from broker_mesos.containerizer.descriptors import is_spare

COUNTER_SECONDS = 0.02
"""Time for which the counter is waited for after an event."""


class Oom(enum.Enum):
    """What is known about an event."""

    NONE = "none"
    """No event, or one of another cgroup."""
    PENDING = "pending"
    """An event whose counter has not risen yet: look again in a millisecond."""
    KILLED = "killed"
    """The kernel has killed a process of this cgroup: the others are to be killed."""


class OomWatch:
    """Watches one cgroup of the memory controller. ``fd`` and ``events`` are for epoll; close it before the cgroup is
    removed. Without a descriptor (-1) nothing is reported, and ``look`` is to be called from time to time. Raises
    OSError if the kernel does not watch it."""

    def __init__(self, files: CgroupFiles, folder: str, version: int, kills_before: int) -> None:
        self._files = files
        self._version = version
        self._path = f"{folder}/memory.events" if version == 2 else f"{folder}/memory.oom_control"
        self._before = kills_before
        self._event_at: float | None = None
        self.events = select.EPOLLPRI if version == 2 else select.EPOLLIN
        try:
            if version == 2:
                self.fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            else:
                self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
            self.fd = -1
        if self.fd >= 0 and is_spare(self.fd):
            self.close()
        if version == 2 or self.fd < 0:
            return
        try:
            control = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                files.write(f"{folder}/cgroup.event_control", f"{self.fd} {control}")
            finally:
                os.close(control)
        except OSError:
            os.close(self.fd)
            raise

    def notice(self, now: float) -> Oom:
        """Take an event from ``fd``, which is readable, at ``now`` in monotonic seconds."""
        if self._version == 2:
            os.pread(self.fd, 4096, 0)  # epoll reports the file again only after it was read
        else:
            try:
                os.eventfd_read(self.fd)
            except BlockingIOError:
                return self.look(now)
        if self._event_at is None:
            self._event_at = now
        return self.look(now)

    def look(self, now: float) -> Oom:
        """Whether an event that came meanwhile, or none, was a kill in this cgroup."""
        if self.kills() > 0:
            self._event_at = None
            return Oom.KILLED
        if self._event_at is None:
            return Oom.NONE
        if now - self._event_at < COUNTER_SECONDS:
            return Oom.PENDING
        self._event_at = None
        return Oom.NONE

    def kills(self) -> int:
        """Processes that the kernel has killed since the last ``restart``; 0 if that cannot be read now."""
        try:
            return max(0, table(self._files, self._path, often=True).get("oom_kill", 0) - self._before)
        except OSError:
            return 0

    def restart(self, kills_before: int) -> None:
        """Count from here on: the cgroup gets another task."""
        self._before = kills_before
        self._event_at = None

    def close(self) -> None:
        """Stop watching; may be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
