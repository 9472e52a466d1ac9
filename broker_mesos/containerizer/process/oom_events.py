"""The events of task cgroups in which the kernel may have killed processes for memory. Standard library only."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from broker_mesos.containerizer.cgroups.oom import Oom
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup


class OomEvents:
    """Watches cgroups. ``killed`` is called with the name of one in which a process was killed."""

    def __init__(self, epoll: select.epoll, killed: Callable[[str], None]) -> None:
        self._epoll = epoll
        self._killed = killed
        self._by_fd: dict[int, TaskCgroup] = {}
        self._pending: dict[str, TaskCgroup] = {}
        self._unwatched: dict[str, TaskCgroup] = {}  # no descriptor was left

    def watch(self, group: TaskCgroup) -> None:
        """Watch a cgroup until it is closed. Raises OSError."""
        watch = group.watch_oom()
        if watch.fd < 0:
            self._unwatched[group.name] = group
        elif self._by_fd.get(watch.fd) is not group:
            self._epoll.register(watch.fd, watch.events)
            self._by_fd[watch.fd] = group

    def __contains__(self, fd: int) -> bool:
        """Whether this descriptor is that of a watch."""
        group = self._by_fd.get(fd)
        if group is None:
            return False
        if group.oom is None or group.oom.fd != fd:
            del self._by_fd[fd]  # it was closed with its cgroup, and may be used for anything
            return False
        return True

    def __bool__(self) -> bool:
        """Whether there are events of which it is not known yet what they mean: ``work`` is due in a millisecond."""
        return bool(self._pending)

    def receive(self, fd: int) -> None:
        """Handle an event."""
        group = self._by_fd[fd]
        if group.oom is not None:
            self._found(group, group.oom.notice(time.monotonic()))

    def look(self, group: TaskCgroup) -> None:
        """Handle what has happened while nobody watched."""
        if group.oom is not None:
            self._found(group, group.oom.look(time.monotonic()))

    def work(self) -> None:
        """Look again at what is not known."""
        for group in list(self._pending.values()):
            del self._pending[group.name]
            self.look(group)

    def check(self) -> None:
        """Look at the cgroups that have no events."""
        for group in list(self._unwatched.values()):
            self.look(group)

    def drop(self, group: TaskCgroup) -> None:
        """The task of a cgroup has ended."""
        self._unwatched.pop(group.name, None)
        self._pending.pop(group.name, None)

    def _found(self, group: TaskCgroup, what: Oom) -> None:
        if what is Oom.PENDING:
            self._pending[group.name] = group
        elif what is Oom.KILLED:
            self._killed(group.name)
