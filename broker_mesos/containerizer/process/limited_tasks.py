"""The tasks of the spawner that the kernel holds to limits: each is started by a launcher, in a cgroup.

A task has a cgroup before the journal has its ``intent``, so that a later spawner finds both. It has ended when nothing
is left in its cgroup, whatever its main process has started: daemons, too. Standard library only.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Callable, Collection
from typing import Any

from broker_mesos.containerizer.cgroups.driver import RETRY_SECONDS
from broker_mesos.containerizer.cgroups.files import NO_DESCRIPTOR
from broker_mesos.containerizer.cgroups.limits import Limits
from broker_mesos.containerizer.cgroups.memory_end import memory_end
from broker_mesos.containerizer.cgroups.pins import NotFree
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.cgroups.usage import Usage
from broker_mesos.containerizer.launchers.launcher import Launcher
from broker_mesos.containerizer.launchers.launcher_pool import Key
from broker_mesos.containerizer.namespaces.view import view_of
from broker_mesos.containerizer.process.held_task import HeldTask, NotHeld
from broker_mesos.containerizer.process.isolation import Isolation
from broker_mesos.containerizer.process.journal import Entry, Record
from broker_mesos.containerizer.process.launched_tasks import LaunchedTasks
from broker_mesos.containerizer.process.launching import make_sandbox
from broker_mesos.containerizer.process.oom_events import OomEvents
from broker_mesos.containerizer.process.stray_tasks import StrayTasks
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
    """All tasks in cgroups. ``ended`` is called with one when nothing is left of it, and ``noted`` with what is worth
    knowing about one; ``journal`` writes records at once, or raises OSError."""

    def __init__(
        self,
        epoll: select.epoll,
        sandboxes: str,
        launched: LaunchedTasks,
        ended: Callable[[Entry], None],
        noted: Callable[[Entry, str], None],
        journal: Callable[[list[Record]], None],
        log: Callable[[str], None],
    ) -> None:
        self._sandboxes = sandboxes
        self._launched = launched
        self._pool = launched.pool
        self._on_ended = ended
        self._on_noted = noted
        self._journal = journal
        self._log = log
        self.isolation = Isolation(launched.pool, log)
        self._host = socket.gethostname()
        self._oom = OomEvents(epoll, self._killed)
        self._held: dict[str, HeldTask] = {}
        self._by_group: dict[str, HeldTask] = {}
        self._ending: dict[str, HeldTask] = {}
        self._not_held: dict[str, str] = {}
        self._strays = StrayTasks(self.isolation, self._held, self._ending, self._watch, noted)

    # -- adoption ----------------------------------------------------------------------------------------

    def adopt(self, entry: Entry) -> None:
        """Take over the cgroup of a task that an earlier spawner has started."""
        group = self.isolation.adopt(entry)
        if group is None:
            return
        self._enter(HeldTask(entry, group))
        self._oom.look(group)

    def note_end(self, entry: Entry) -> None:
        """Find out whether a task that has ended while there was no spawner was killed for its memory."""
        if (group := self.isolation.adopt(entry)) is not None and self.isolation.driver is not None:
            try:
                self._note_usage(entry, group)
            except OSError as error:
                self._log(f"the cgroup of task {entry.task_id}: {error}")
            self.isolation.driver.free(group)

    # -- starts ------------------------------------------------------------------------------------------

    def reserve(self, entry: Entry) -> None:
        """Get a task its cgroup, for the record of its ``intent``. If there is none, ``launch`` fails."""
        if self.isolation.driver is None:
            self._not_held[entry.task_id] = self.isolation.reason
            return
        wanted = entry.limits or task_limits(entry.held)
        try:
            limits = self._fitting(entry, wanted)
            profile = self._launched.profile(entry.owner, wanted.rlimits)._replace(ports=wanted.ports)
            if wanted.view is not None:
                profile = profile._replace(sandboxed=True, network=wanted.view.network)
            profile = profile._replace(devices=self.isolation.devices_for(entry))
            key = Key(str(entry.held.get("group", "")), profile, limits)
            launcher = self._pool.take(key, time.monotonic())
            assert launcher.group is not None
        except (NotFree, OSError) as error:
            self.isolation.unpin(entry.task_id)
            self._not_held[entry.task_id] = (error.strerror if isinstance(error, OSError) else "") or str(error)
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

    def launch(self, entry: Entry, request: list[Any]) -> None:
        """Have its launcher start a task. Raises OSError; otherwise it is started, or fails, as all launched tasks."""
        held = self._held.get(entry.task_id)
        if held is None or held.launcher is None:
            raise NotHeld(self._not_held.pop(entry.task_id, "its cgroup cannot be made"))
        if entry.owner is not None:
            make_sandbox(self._sandboxes + entry.task_id, entry.owner)
        self._launched.launch(entry, held.launcher, [*request, view_of(entry.held)], self._renew)

    def _renew(self, entry: Entry, launcher: Launcher) -> Launcher:
        """Give a task another launcher, in another cgroup. Raises OSError."""
        held = self._held[entry.task_id]
        assert held.key is not None
        self._leave(held)
        held.launcher = self._pool.take(held.key, time.monotonic())
        assert held.launcher.group is not None
        held.group = held.launcher.group
        self._enter(held)
        self._journal([entry.intent_record()])
        return held.launcher

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
        self._watch(held)

    def _watch(self, held: HeldTask) -> None:
        try:
            self._oom.watch(held.group)
        except OSError as error:  # the counters tell it in the end
            self._log(f"no watch for the memory of task {held.entry.task_id}: {error}")

    def _leave(self, held: HeldTask) -> None:
        """Take the cgroup of a task back, when nothing is left in it."""
        task_id = held.entry.task_id
        self._held.pop(task_id, None)
        self._ending.pop(task_id, None)
        self._by_group.pop(held.group.name, None)
        self._oom.drop(held.group)
        self._strays.drop(task_id)
        self.isolation.unpin(task_id)
        launcher, held.launcher = held.launcher, None
        if launcher is not None and held.key is not None:
            self._pool.put(launcher, held.key)
        elif self.isolation.driver is not None:
            self.isolation.driver.free(held.group)

    def __contains__(self, fd: int) -> bool:
        """Whether this descriptor is that of the watch of a cgroup."""
        return fd in self._oom

    def __bool__(self) -> bool:
        """Whether something is left of a task whose main process has ended."""
        return bool(self._ending)

    def has(self, entry: Entry) -> bool:
        """Whether a task has a cgroup."""
        return entry.task_id in self._held

    def group_of(self, entry: Entry) -> TaskCgroup | None:
        """The cgroup of a task; None if it has none."""
        held = self._held.get(entry.task_id)
        return None if held is None else held.group

    def receive(self, fd: int) -> None:
        """Handle an event of memory."""
        self._oom.receive(fd)

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
            alive = held.launcher is not None and not held.launcher.gone
            # Those that ended and were not waited for count as well.
            if group.pids() > alive:
                if now >= entry.kill_at:
                    self._strike(held)
                held.due = now + held.pause
                held.pause = min(RETRY_SECONDS, held.pause * 1.5)
                if now - held.since > STUCK_SECONDS and now >= entry.kill_at and not held.logged:
                    held.logged = True
                    self._log(f"task {entry.task_id} {group.stuck(self._kept(held))}")
                return
            self._note_refusals(held, self._note_usage(entry, group))
        except OSError as error:
            if error.errno in NO_DESCRIPTOR:
                held.due = now + RETRY_SECONDS
                return
            # Somebody has removed the cgroup.
            self._log(f"the cgroup of task {entry.task_id}: {error}")
        self._leave(held)
        self._on_ended(entry)

    def _note_usage(self, entry: Entry, group: TaskCgroup) -> Usage:
        used = group.usage(ended=True)
        io = (used.counted.io_read, used.counted.io_written) if group.counts_io else (None, None)
        entry.used = [round(used.counted.cpu_usec / 1e6, 3), used.memory_peak or None, *io]
        entry.used_by = "cgroup"
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

    @staticmethod
    def _kept(held: HeldTask) -> Collection[int]:
        return () if held.launcher is None else {held.launcher.pid}

    def _strike(self, held: HeldTask) -> None:
        """Send SIGKILL to all processes of a task, and in the end to its launcher as well, which is then born anew."""
        keep = self._kept(held) if time.monotonic() - held.since < STUCK_SECONDS / 10 else ()
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

    def check(self) -> None:
        """Check what has no event."""
        self._oom.check()
        self._strays.check()

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
