"""The tasks of the spawner that launchers start: those with limits, and those that run as another user.

A launcher has the user of its tasks, which may stop, end or limit it. So nothing here waits for one: a launcher that is
stopped, or does not answer, is killed, and another one starts the next task. Standard library only.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Collection
from typing import Any

from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.launchers.launcher import Exit, Launcher, LauncherEvent, Started
from broker_mesos.containerizer.launchers.launcher_pool import LauncherPool
from broker_mesos.containerizer.launchers.profile import Profile
from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.held_task import NotHeld
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.waited_usage import Used

ANSWER_SECONDS = 5.0
"""Time within which a launcher must have started a task, in seconds."""
ENDED = "the process that starts tasks of its user has ended"

OnStarted = Callable[[Entry, int, float | None], None]
OnFailed = Callable[[Entry, str, bool], None]
OnEnded = Callable[[Entry, int | None, int | None, Used | None], None]
Renew = Callable[[Entry, Launcher], Launcher]


class Launched:
    """A task that a launcher starts, or has started and waits for."""

    def __init__(self, entry: Entry, launcher: Launcher, request: list[Any], renew: Renew) -> None:
        self.entry = entry
        self.launcher = launcher
        self.request = request
        """The command, the environment, the directory, and whether it reads its stdin from a file."""
        self.renew = renew
        """Gets another launcher in place of one that has failed; raises OSError."""
        self.since = 0.0
        """When its launcher was asked to start it, in monotonic seconds."""
        self.kill: float | None = None
        """The grace, in seconds, of a kill that was requested while it was being started."""
        self.again = False
        """Whether this is the second attempt to start it."""


class LaunchedTasks:
    """All launchers with their tasks. ``started`` (with the pid, and the grace of a kill that was requested meanwhile),
    ``failed`` (with a reason, and whether the machine is to blame) and ``main_ended`` (with an exit code or a signal,
    and what was used, if that is known) are called with tasks; not ``main_ended`` if the launcher has ended by then,
    and the main process is a child of this one."""

    def __init__(
        self, epoll: select.epoll, sandboxes: str, started: OnStarted, failed: OnFailed, main_ended: OnEnded
    ) -> None:
        self._epoll = epoll
        self._sandboxes = sandboxes
        self._prefix = b"BMESOS_SANDBOX=" + os.fsencode(sandboxes)
        self._on_started = started
        self._on_failed = failed
        self._on_main_ended = main_ended
        self._by_fd: dict[int, Launcher] = {}
        self._by_pid: dict[int, Launcher] = {}
        self._waiting: set[int] = set()  # descriptors that are watched for writing
        self._tasks: dict[str, Launched] = {}
        self.starting: dict[str, Launched] = {}
        """The tasks that are being started, by id."""
        self.pool = LauncherPool(self._created, self._closed)
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def __contains__(self, fd: int) -> bool:
        """Whether this descriptor is that of a launcher."""
        return fd in self._by_fd

    @property
    def pids(self) -> Collection[int]:
        """The processes of all launchers."""
        return self._by_pid.keys()

    def profile(self, user: Ids | None, rlimits: tuple[tuple[str, int], ...] = ()) -> Profile:
        """The profile of tasks of a user, with the umask of this process."""
        return Profile(user, rlimits, umask=self._umask)

    def close(self) -> None:
        """End all launchers, when no task runs."""
        self.pool.close()
        for pid, launcher in list(self._by_pid.items()):
            self._kill(launcher)
            self.ended(pid)

    # -- starts ------------------------------------------------------------------------------------------

    def launch(self, entry: Entry, launcher: Launcher, request: list[Any], renew: Renew) -> None:
        """Have a launcher start a task. ``started`` or ``failed`` follows. Raises OSError; then neither does."""
        task = Launched(entry, launcher, request, renew)
        try:
            self._start(task)
        except NotHeld:
            raise
        except OSError:
            if not task.launcher.dead:
                raise
            self._start_again(task)

    def launch_shared(self, entry: Entry, user: Ids, request: list[Any]) -> None:
        """Have the launcher of a user start a task without a cgroup. Otherwise as ``launch``."""
        profile = self.profile(user)

        def renew(entry: Entry, launcher: Launcher) -> Launcher:
            self.pool.replace(launcher)
            return self.pool.share(profile)

        self.launch(entry, self.pool.share(profile), request, renew)

    def _start(self, task: Launched) -> None:
        task_id = task.entry.task_id
        try:
            task.launcher.start(task_id, self._sandboxes + task_id, *task.request)
        except OSError:
            self._read(task.launcher)
            if task.launcher.refused:
                raise NotHeld(task.launcher.refused) from None
            raise
        self._watch(task.launcher)
        task.since = time.monotonic()
        self._tasks[task_id] = self.starting[task_id] = task

    def _start_again(self, task: Launched) -> None:
        """Start a task by another launcher. Raises OSError."""
        task.again = True
        self._forget(task)
        if task.launcher.group is not None and not task.launcher.gone:
            self._kill(task.launcher)  # otherwise it would be the one that is taken
        task.launcher = task.renew(task.entry, task.launcher)
        self._start(task)

    def _forget(self, task: Launched) -> None:
        self._tasks.pop(task.entry.task_id, None)
        self.starting.pop(task.entry.task_id, None)
        task.launcher.tasks.pop(task.entry.task_id, None)

    def _failed(self, task: Launched, text: str, *, machine: bool) -> None:
        if machine and not task.again:
            # A task of the same user may have lowered the limits of this launcher, but not those of a new one.
            try:
                self._start_again(task)
                return
            except OSError as error:
                text = error.strerror or text
        self._forget(task)
        self._on_failed(task.entry, f"cannot start {task.request[0][0]!r}: {text}", machine)

    def spare(self, entry: Entry) -> None:
        """Leave the end of a task's process group to this process: the task is being killed."""
        task = self._tasks.get(entry.task_id)
        if task is not None and task.launcher.group is None:
            task.launcher.spare(entry.pid)
            self._watch(task.launcher)

    # -- launchers ---------------------------------------------------------------------------------------

    def _created(self, launcher: Launcher) -> None:
        self._by_fd[launcher.fileno()] = self._by_pid[launcher.pid] = launcher
        self._epoll.register(launcher.fileno(), select.EPOLLIN)

    def _closed(self, launcher: Launcher) -> None:
        """Called before a launcher is killed."""
        fd = launcher.fileno()
        if self._by_fd.get(fd) is launcher:
            del self._by_fd[fd]
            self._waiting.discard(fd)
            self._epoll.unregister(fd)

    def _watch(self, launcher: Launcher) -> None:
        """Have the loop report when a launcher takes the rest of its requests."""
        fd = launcher.fileno()
        if fd in self._by_fd and launcher.unsent != (fd in self._waiting):
            self._waiting ^= {fd}
            self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if launcher.unsent else 0))

    def receive(self, fd: int) -> None:
        """Handle the messages of a launcher, and send it what it had no room for."""
        launcher = self._by_fd.get(fd)
        if launcher is None:
            return
        self._read(launcher)
        if not launcher.dead and launcher.unsent:
            try:
                launcher.flush()
            except OSError:
                pass  # it is dead
            self._watch(launcher)
        if launcher.dead:
            self._kill(launcher)

    def _read(self, launcher: Launcher) -> None:
        for event in launcher.receive():
            if (task := self._tasks.get(event.task_id)) is not None and task.launcher is launcher:
                self._apply(task, event)

    def _apply(self, task: Launched, event: LauncherEvent) -> None:
        if isinstance(event, Started):
            self.starting.pop(event.task_id, None)
            self._on_started(task.entry, event.pid, task.kill)
        elif isinstance(event, Exit):
            self._forget(task)
            self._on_main_ended(task.entry, event.code, event.signal, event.used)
        else:
            self._failed(task, event.text, machine=event.machine)

    def _kill(self, launcher: Launcher) -> None:
        """Kill a launcher; what becomes of its tasks is seen when it was waited for."""
        self._closed(launcher)
        launcher.kill()

    def ended(self, pid: int) -> bool:
        """Wait for a child of this process that has ended, if it is a launcher; returns whether it was one."""
        launcher = self._by_pid.get(pid)
        if launcher is None:
            return False
        self._closed(launcher)
        os.waitpid(pid, 0)  # only then its children are ours
        del self._by_pid[pid]
        self._read(launcher)
        self.pool.ended(launcher)
        for task in [each for each in self._tasks.values() if each.launcher is launcher]:
            self._orphaned(task)
        return True

    def _orphaned(self, task: Launched) -> None:
        """The launcher of a task is gone: its main process, if there is one, is a child of this process."""
        entry = task.entry
        if entry.task_id in self.starting:
            if main := self._main_of(task):
                self._forget(task)
                self._on_started(entry, main, task.kill)
            elif task.launcher.refused:
                self._forget(task)
                self._on_failed(entry, task.launcher.refused, True)
            else:
                # If its process begins only now, a sweep finds a process of no known task.
                self._failed(task, ENDED, machine=False)
            return
        self._forget(task)
        process = proctree.look(entry.pid)
        if process is None or process.parent != os.getpid():
            self._on_main_ended(entry, None, None, None)  # the launcher has waited for it, and told nobody

    def _main_of(self, task: Launched) -> int:
        """The main process of a task whose launcher has ended before it reported one; 0 if there is none. It may have
        ended as well, and waits for us, if the task has a cgroup: v2 shows that of those, too."""
        group = task.launcher.group
        for pid in proctree.children(os.getpid()) or ():
            process = proctree.look(pid)
            if process is None or process.session != pid:
                continue
            try:
                if group is not None:
                    found = group.shows(pid)
                else:
                    found = process.alive and proctree.marker(pid, self._prefix) == task.entry.task_id
            except OSError:
                continue
            if found:
                return pid
        return 0

    def check(self) -> None:
        """Kill launchers that are stopped or do not answer, and those that were replaced and have no task any more."""
        late = time.monotonic() - ANSWER_SECONDS
        silent = {each.launcher for each in self.starting.values() if each.since < late}
        for launcher in list(self._by_pid.values()):
            process = proctree.look(launcher.pid)
            if launcher in silent or (process is not None and process.state in "Tt"):
                self._read(launcher)
                self._kill(launcher)
            elif launcher.group is None and not launcher.tasks and not self.pool.shares(launcher):
                self._kill(launcher)

    def settle(self) -> None:
        """Wait until no task is being started, at most ANSWER_SECONDS and the time of a second attempt."""
        while self.starting:
            poll = select.poll()
            for fd in self._by_fd:
                poll.register(fd, select.POLLIN | (select.POLLOUT if fd in self._waiting else 0))
            for fd, _ in poll.poll(100):
                self.receive(fd)
            for pid in [pid for pid in self._by_pid if (found := proctree.look(pid)) is None or not found.alive]:
                self.ended(pid)
            self.check()
