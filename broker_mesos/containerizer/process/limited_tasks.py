"""The tasks of the spawner that the kernel holds to limits: each is started by a launcher, in a cgroup.

A task has a cgroup before the journal has its ``intent``, so that a later spawner finds both. It has ended when nothing
is left in its cgroup, whatever its main process has started: daemons, too. Nothing here waits for a launcher, which the
tasks of its user may stop or end; one that is stopped or silent is killed. Standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from broker_mesos.containerizer.cgroups.driver import RETRY_SECONDS
from broker_mesos.containerizer.cgroups.limits import Limits
from broker_mesos.containerizer.cgroups.memory_end import memory_end
from broker_mesos.containerizer.cgroups.pins import NotFree
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.cgroups.usage import Usage
from broker_mesos.containerizer.launchers.launcher import Exit, Failure, Launcher
from broker_mesos.containerizer.launchers.launcher_pool import Key
from broker_mesos.containerizer.launchers.profile import Profile
from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.held_task import HeldTask, NotHeld
from broker_mesos.containerizer.process.isolation import Isolation
from broker_mesos.containerizer.process.journal import Entry, Record
from broker_mesos.containerizer.process.launching import make_sandbox
from broker_mesos.containerizer.process.oom_events import OomEvents
from broker_mesos.containerizer.process.seats import ANSWER_SECONDS, ENDED
from broker_mesos.containerizer.process.task_limits import TaskLimits, task_limits

LOOK_SECONDS = 0.001
"""Time between two looks at what is left of a task whose main process has ended; it grows to RETRY_SECONDS."""
STUCK_SECONDS = 10.0
"""Time after which it is logged that processes of a task outlive SIGKILL."""
NOTE_FACTOR = 10
"""A task that was refused a process is noted again when that has happened so many times as often."""
KILL_ROUNDS = 8
"""Times that SIGKILL is sent to all processes of a task without a pause, since they may fork meanwhile."""


class LimitedTasks:
    """All tasks in cgroups. ``started`` (with the pid, and the grace of a kill that was requested meanwhile),
    ``failed`` (with a reason, and whether the machine is to blame), ``main_ended`` (with an exit code or a signal) and
    ``ended`` (when nothing is left of it) are called with them, and ``noted`` with what is worth knowing about one.
    ``journal`` writes records at once, or raises OSError.
    """

    def __init__(
        self,
        epoll: select.epoll,
        sandboxes: str,
        started: Callable[[Entry, int, float | None], None],
        failed: Callable[[Entry, str, bool], None],
        main_ended: Callable[[Entry, int | None, int | None], None],
        ended: Callable[[Entry], None],
        noted: Callable[[Entry, str], None],
        journal: Callable[[list[Record]], None],
        log: Callable[[str], None],
    ) -> None:
        self._epoll = epoll
        self._sandboxes = sandboxes
        self._on_started = started
        self._on_failed = failed
        self._on_main_ended = main_ended
        self._on_ended = ended
        self._on_noted = noted
        self._journal = journal
        self._log = log
        self.isolation = Isolation(self._created, self._closed, log)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._host = socket.gethostname()
        self._by_fd: dict[int, Launcher] = {}
        self._by_pid: dict[int, Launcher] = {}
        self._oom = OomEvents(epoll, self._killed)
        self._held: dict[str, HeldTask] = {}
        self._by_launcher: dict[Launcher, HeldTask] = {}
        self._by_group: dict[str, HeldTask] = {}
        self._ending: dict[str, HeldTask] = {}
        self._not_held: dict[str, str] = {}
        self.starting: dict[str, HeldTask] = {}
        """The tasks that are being started, by id."""

    # -- beginning and end -------------------------------------------------------------------------------

    def close(self) -> None:
        """End all launchers and remove all cgroups, when no task runs."""
        if self.isolation.pool is not None:
            self.isolation.pool.close()
        for pid in list(self._by_pid):
            self.ended(pid)
        self.isolation.close()

    # -- adoption ----------------------------------------------------------------------------------------

    def adopt(self, entry: Entry) -> None:
        """Take over the cgroup of a task that an earlier spawner has started."""
        group = self.isolation.adopt(entry)
        if group is None:
            return
        held = HeldTask(entry, group)
        process = proctree.look(entry.pid)
        if process is not None and process.parent in group.members():
            held.old_launcher = process.parent  # it waits for the task, and ends with it
        self._enter(held)
        self._oom.look(group)

    def note_end(self, entry: Entry) -> None:
        """Find out whether a task that has ended while there was no spawner was killed for its memory."""
        if (group := self.isolation.adopt(entry)) is not None and self.isolation.driver is not None:
            self._note_usage(entry, group)
            self.isolation.driver.free(group)

    # -- starts ------------------------------------------------------------------------------------------

    def reserve(self, entry: Entry) -> None:
        """Get a task its cgroup, for the record of its ``intent``. If there is none, ``launch`` fails."""
        if self.isolation.pool is None:
            self._not_held[entry.task_id] = self.isolation.reason
            return
        wanted = task_limits(entry.held)
        try:
            limits = self._fitting(entry, wanted)
            key = Key(str(entry.held.get("group", "")), Profile(entry.owner, wanted.rlimits, umask=self._umask), limits)
            launcher = self.isolation.pool.take(key, time.monotonic())
        except (NotFree, OSError) as error:
            self.isolation.unpin(entry.task_id)
            self._not_held[entry.task_id] = str(error)
            self._log(f"no cgroup for task {entry.task_id}: {error}")
            return
        self._enter(HeldTask(entry, launcher.group, launcher, key))

    def _fitting(self, entry: Entry, wanted: TaskLimits) -> Limits:
        """The limits of a task's cgroup here, with the CPUs that it is pinned to. Raises NotFree, OSError."""
        limits = wanted.limits
        if wanted.pin:
            entry.held["cpuset"] = self.isolation.pin(entry.task_id, wanted.pin)
            limits = limits._replace(cpuset=entry.held["cpuset"])
        most = min(limits.quota, self.isolation.own_cpus)  # v1 refuses more than the cgroup above has
        return limits._replace(quota=most, burst=most)

    def reserved(self, task_id: str) -> Entry | None:
        """The task that has got its cgroup and is to be launched."""
        held = self._held.get(task_id)
        return None if held is None else held.entry

    def launch(self, entry: Entry, argv: list[str], env: dict[str, str], options: Mapping[str, Any]) -> None:
        """Ask its launcher to start a task. Raises OSError; otherwise ``started`` or ``failed`` follows, then
        ``main_ended`` and ``ended``."""
        held = self._held.get(entry.task_id)
        if held is None:
            raise NotHeld(self._not_held.pop(entry.task_id, "its cgroup cannot be made"))
        held.request = [argv, env, str(options.get("directory", "")), bool(options.get("stdin", False))]
        if entry.owner is not None:
            make_sandbox(self._sandboxes + entry.task_id, entry.owner)
        try:
            self._start(held)
        except NotHeld:
            raise
        except OSError:
            assert held.launcher is not None
            if not held.launcher.dead:
                raise
            self._start_again(held)

    def _start(self, held: HeldTask) -> None:
        assert held.launcher is not None
        try:
            held.launcher.start(self._sandboxes + held.entry.task_id, *held.request)
        except OSError:
            self._read(held.launcher)
            if held.launcher.refused:
                raise NotHeld(held.launcher.refused) from None
            raise
        held.since = time.monotonic()
        self.starting[held.entry.task_id] = held

    def _start_again(self, held: HeldTask) -> None:
        """Start a task by another launcher, in another cgroup. Raises OSError."""
        assert held.key is not None and self.isolation.pool is not None
        held.again = True
        if held.launcher is not None:
            self._end(held.launcher)  # otherwise it would be the one that is taken
        self._leave(held)
        held.launcher = self.isolation.pool.take(held.key, time.monotonic())
        held.group = held.launcher.group
        self._enter(held)
        self._journal([held.entry.intent_record()])
        self._start(held)

    def drop(self, entry: Entry) -> None:
        """Give back the cgroup of a task that is not started."""
        self._not_held.pop(entry.task_id, None)
        if (held := self._held.get(entry.task_id)) is not None:
            self._leave(held)

    def _enter(self, held: HeldTask) -> None:
        entry, group = held.entry, held.group
        entry.cgroup = list(group.record())
        self._held[entry.task_id] = self._by_group[group.name] = held
        self.isolation.hold_pins(entry.task_id, group.limits.cpuset)
        if held.launcher is not None:
            self._by_launcher[held.launcher] = held
        try:
            self._oom.watch(group)
        except OSError as error:  # the counters tell it in the end
            self._log(f"no watch for the memory of task {entry.task_id}: {error}")

    def _leave(self, held: HeldTask) -> None:
        """Take the cgroup of a task back, when nothing is left in it."""
        task_id = held.entry.task_id
        for each in (self._held, self._ending, self.starting):
            each.pop(task_id, None)
        self._by_group.pop(held.group.name, None)
        self._oom.drop(held.group)
        self.isolation.unpin(task_id)
        launcher, held.launcher = held.launcher, None
        if self.isolation.pool is None or self.isolation.driver is None:
            return
        if launcher is None:
            self.isolation.driver.free(held.group)
            return
        self._by_launcher.pop(launcher, None)
        if launcher.pid not in self._by_pid:
            self.isolation.pool.ended(launcher)
        elif held.key is not None:
            self.isolation.pool.put(launcher, held.key)

    # -- launchers ---------------------------------------------------------------------------------------

    def __contains__(self, fd: int) -> bool:
        """Whether this descriptor is that of a launcher, or of the watch of a cgroup."""
        return fd in self._by_fd or fd in self._oom

    def __bool__(self) -> bool:
        """Whether something is left of a task whose main process has ended."""
        return bool(self._ending)

    def has(self, entry: Entry) -> bool:
        """Whether a task has a cgroup."""
        return entry.task_id in self._held

    @property
    def pids(self) -> Collection[int]:
        """The processes of all launchers."""
        return self._by_pid.keys()

    def _created(self, launcher: Launcher) -> None:
        self._by_fd[launcher.fileno()] = self._by_pid[launcher.pid] = launcher
        self._epoll.register(launcher.fileno(), select.EPOLLIN)

    def _closed(self, launcher: Launcher) -> None:
        """Called before a launcher is killed."""
        fd = launcher.fileno()
        if self._by_fd.get(fd) is launcher:
            del self._by_fd[fd]
            self._epoll.unregister(fd)

    def receive(self, fd: int) -> None:
        """Handle the messages of a launcher, or an event of memory."""
        if fd in self._oom:
            self._oom.receive(fd)
        elif (launcher := self._by_fd.get(fd)) is not None:
            self._read(launcher)
            if launcher.dead:
                self._end(launcher)

    def _read(self, launcher: Launcher) -> None:
        for event in launcher.receive():
            if (held := self._by_launcher.get(launcher)) is not None:
                self._apply(held, event)

    def _end(self, launcher: Launcher) -> None:
        """Kill a launcher; what becomes of its task is seen when it was waited for."""
        self._closed(launcher)
        if launcher.pid in self._by_pid:
            self._read(launcher)
            launcher.kill()

    def _apply(self, held: HeldTask, event: Exit | Failure | int) -> None:
        entry = held.entry
        if isinstance(event, Exit):
            if os.WIFSIGNALED(event.status):
                self._on_main_ended(entry, None, os.WTERMSIG(event.status))
            else:
                self._on_main_ended(entry, os.WEXITSTATUS(event.status), None)
        elif isinstance(event, Failure):
            self._failed(held, event.text, event.machine)
        else:
            self.starting.pop(entry.task_id, None)
            self._on_started(entry, event, held.kill)

    def _failed(self, held: HeldTask, text: str, machine: bool, refused: str = "") -> None:
        if machine and not held.again and not refused:
            # A task of the same user may have lowered the limits of this launcher, but not those of a new one.
            try:
                self._start_again(held)
                return
            except OSError as error:
                text = error.strerror or str(error)
        self._leave(held)
        self._on_failed(held.entry, refused or f"cannot start {held.request[0][0]!r}: {text}", machine)

    def ended(self, pid: int) -> bool:
        """Wait for a child of this process that has ended, if it is a launcher; returns whether it was one."""
        launcher = self._by_pid.get(pid)
        if launcher is None:
            return False
        self._read(launcher)
        self._closed(launcher)
        os.waitpid(pid, 0)  # only then its children are ours
        del self._by_pid[pid]
        held = self._by_launcher.get(launcher)
        if held is None:
            if self.isolation.pool is not None:
                self.isolation.pool.ended(launcher)
            return True
        launcher.close()
        task_id = held.entry.task_id
        if task_id in self.starting:
            if main := self._main_of(held):
                del self.starting[task_id]
                self._on_started(held.entry, main, held.kill)
            else:
                self._failed(held, launcher.refused or ENDED, machine=bool(launcher.refused), refused=launcher.refused)
        elif task_id not in self._ending:
            main_process = proctree.look(held.entry.pid)
            if main_process is None or main_process.parent != os.getpid():
                self._on_main_ended(held.entry, None, None)  # the launcher has waited for it, and told nobody
        return True

    def _main_of(self, held: HeldTask) -> int:
        """The main process of a task whose launcher has ended before it reported one; 0 if there is none."""
        for pid in proctree.children(os.getpid()) or ():
            process = proctree.look(pid)
            if process is not None and process.session == pid and pid in held.group.members():
                return pid
        return 0

    def check(self) -> None:
        """Kill launchers that are stopped or do not answer."""
        late = time.monotonic() - ANSWER_SECONDS
        silent = {each.launcher for each in self.starting.values() if each.since < late}
        for launcher in list(self._by_pid.values()):
            process = proctree.look(launcher.pid)
            if launcher in silent or (process is not None and process.state in "Tt"):
                self._read(launcher)
                self._end(launcher)

    def settle(self) -> None:
        """Wait until no task is being started, at most ANSWER_SECONDS and the time of a second attempt."""
        while self.starting:
            poll = select.poll()
            for fd in self._by_fd:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(100):
                self.receive(fd)
            for pid in [pid for pid in self._by_pid if (found := proctree.look(pid)) is None or not found.alive]:
                self.ended(pid)
            self.check()

    # -- ends --------------------------------------------------------------------------------------------

    def main_ended(self, entry: Entry) -> None:
        """The main process of a task has ended: end what is left of it, at the time of its kill if it is being killed,
        else at once."""
        held = self._held[entry.task_id]
        held.since, held.pause, held.logged = time.monotonic(), LOOK_SECONDS, False
        self._ending[entry.task_id] = held
        self._try_to_finish(held, held.since)

    def look_again(self) -> None:
        """A process that is no main one was waited for: it may have been the last of its task."""
        for held in self._ending.values():
            held.due = 0.0

    def hurry(self, entry: Entry, grace: float) -> bool:
        """Bring the kill of what is left of a task forward. Returns whether its main process has ended."""
        held = self._ending.get(entry.task_id)
        if held is None:
            return False
        if entry.kill_at:
            entry.kill_at = min(entry.kill_at, time.monotonic() + max(0.0, grace))
            held.due = 0.0
        return True

    def _try_to_finish(self, held: HeldTask, now: float) -> None:
        entry, group = held.entry, held.group
        try:
            alive = held.launcher is not None and held.launcher.pid in self._by_pid
            # Those that ended and were not waited for count as well.
            if group.usage().pids > alive:
                if now >= entry.kill_at:
                    self._strike(held)
                held.due = now + held.pause
                held.pause = min(RETRY_SECONDS, held.pause * 1.5)
                if now - held.since > STUCK_SECONDS and now >= entry.kill_at and not held.logged:
                    held.logged = True
                    self._log(f"task {entry.task_id} {group.stuck(self._kept(held))}")
                return
            self._note_refusals(held, self._note_usage(entry, group))
        except OSError as error:  # somebody has removed the cgroup
            self._log(f"the cgroup of task {entry.task_id}: {error}")
        self._leave(held)
        self._on_ended(entry)

    def _note_usage(self, entry: Entry, group: TaskCgroup) -> Usage:
        used = group.usage(ended=True)
        entry.used = [round(used.counted.cpu_usec / 1e6, 3), used.memory_peak]
        end = memory_end(group.limits, used, group.memory_version, self._host)
        killed = entry.ended is not None and entry.ended[1] == signal.SIGKILL
        if end is not None and not entry.limit and (group.limits.ends_by_oom or killed):
            entry.limit, entry.limit_kind = end.text, "memory"
        return used

    def _note_refusals(self, held: HeldTask, used: Usage) -> None:
        """Note that a task was refused processes, at first and then rarely."""
        count = used.counted.fork_refusals
        if count >= max(1, held.refusals * NOTE_FACTOR) or (count > held.refusals and held.entry.ended is not None):
            held.refusals = count
            self._on_noted(held.entry, f"fork refused {count} times at pids.max {held.group.limits.pids}")

    def _kept(self, held: HeldTask) -> Collection[int]:
        return {held.old_launcher if held.launcher is None else held.launcher.pid}

    def _strike(self, held: HeldTask) -> None:
        """Send SIGKILL to all processes of a task, and in the end to its launcher as well, which is then born anew."""
        keep = self._kept(held) if time.monotonic() - held.since < STUCK_SECONDS / 10 else ()
        if held.launcher is None and held.entry.task_id in self._ending:
            keep = ()
        for _ in range(KILL_ROUNDS):
            if held.group.kill(keep) == 0:
                break

    def strike(self, entry: Entry) -> None:
        """Send SIGKILL to all processes of a running task."""
        held = self._held[entry.task_id]
        held.since = held.since if held.struck else time.monotonic()
        held.struck = True
        try:
            self._strike(held)
        except OSError as error:
            self._log(f"the cgroup of task {entry.task_id}: {error}")

    def members(self) -> dict[str, list[int]]:
        """The processes of each task, without the launcher, by task id."""
        found: dict[str, list[int]] = {}
        for task_id, held in self._held.items():
            keep = self._kept(held)
            try:
                found[task_id] = [pid for pid in held.group.members() if pid not in keep]
            except OSError:
                pass  # it is gone: what is left is found by the process tree
        return found

    def usage(self) -> dict[str, list[float]]:
        """CPU seconds so far and bytes of memory now of each task, by id."""
        found: dict[str, list[float]] = {}
        for task_id, held in self._held.items():
            try:
                used = held.group.usage()
            except OSError:
                continue
            found[task_id] = [round(used.counted.cpu_usec / 1e6, 2), used.memory]
            self._note_refusals(held, used)
        return found

    # -- timers --------------------------------------------------------------------

    def _killed(self, group_name: str) -> None:
        """The kernel has killed a process of a cgroup for memory: the others of its task are of no use, if the task
        does not say otherwise."""
        held = self._by_group.get(group_name)
        if held is not None and held.group.limits.ends_by_oom:
            self.strike(held.entry)

    def due(self) -> float | None:
        """Monotonic time of the next ``work``; None if there is nothing to do."""
        now = time.monotonic()
        times = [held.due for held in self._ending.values()]
        if self._oom:
            times.append(now + LOOK_SECONDS)
        times += self.isolation.due(now)
        return min(times, default=None)

    def work(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        for held in [each for each in self._ending.values() if each.due <= now]:
            self._try_to_finish(held, now)
        self._oom.work()
        self.isolation.work(now)
