"""Watches processes that an earlier spawner has started: they are not children of this one, so that it cannot wait for
them.

They are watched by pidfds, and by reading /proc if no file descriptor is left. Standard library only.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from broker_mesos.containerizer.descriptors import is_spare
from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.journal import Entry


class AdoptedTasks:
    """The adopted processes that still run. True while there are any."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._by_pidfd: dict[int, Entry] = {}
        self._polled: dict[str, Entry] = {}

    def __bool__(self) -> bool:
        return bool(self._by_pidfd or self._polled)

    def __contains__(self, fd: int) -> bool:
        return fd in self._by_pidfd

    def adopt(self, entry: Entry) -> bool:
        """Watch a process. Returns False if it is gone."""
        fd = -1
        try:
            fd = os.pidfd_open(entry.pid)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # too many open files, or the like: the process may well live
        # The pidfd is opened first: the process that it refers to cannot be replaced between the check and the watch.
        there = proctree.is_there(entry.pid, entry.ticks)
        if fd >= 0 and (not there or is_spare(fd)):
            os.close(fd)
            fd = -1
        if not there:
            return False
        if fd < 0:
            self._polled[entry.task_id] = entry
            return True
        entry.pidfd = fd
        self._by_pidfd[fd] = entry
        self._epoll.register(fd, select.EPOLLIN)
        return True

    def ended_on(self, fd: int) -> tuple[Entry, int | None]:
        """The task of a readable pidfd, whose process has ended, and its status as waitpid returns it; None if that is
        not known."""
        entry = self._by_pidfd.pop(fd)
        status = proctree.exit_status(entry.pid, entry.ticks, fd)
        self._epoll.unregister(fd)
        os.close(fd)
        return entry, status

    def ended(self) -> Iterator[tuple[Entry, int | None]]:
        """The tasks without a pidfd whose processes have ended, with their statuses as in ``ended_on``."""
        for entry in list(self._polled.values()):
            process = proctree.look(entry.pid)
            status = None
            if proctree.is_there(entry.pid, entry.ticks):
                if process is None or process.alive:
                    continue
                status = proctree.exit_status(entry.pid, entry.ticks, -1)
            del self._polled[entry.task_id]
            yield entry, status
