"""The kills of the spawner: which process trees are to end, and the sweeps that signal them. Standard library only.

A sweep cannot assign a process that left its task's session, lost its parent and started with an emptied environment.
Such a process is killed when no running task is as old as it is.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.adopted import AdoptedTasks
from broker_mesos.containerizer.process.exec_sessions import ExecSessions
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.launched_tasks import LaunchedTasks
from broker_mesos.containerizer.process.limited_tasks import LimitedTasks
from broker_mesos.containerizer.process.proctree import Process
from broker_mesos.containerizer.process.start_times import StartTimes

SWEEP_PAUSE_FACTOR = 10  # a scan of all processes that took t seconds is not repeated for 10 t
RECHECK_SECONDS = 0.1  # seconds between two checks of process trees that are being ended


class Kills:
    """The kills of tasks, until the last process of each tree has ended. ``running`` is by the pid of the main process;
    ``prefix`` precedes the task id in the environment of each process; ``ended`` is called with a task whose tree has
    ended after its main process."""

    def __init__(
        self,
        running: Mapping[int, Entry],
        adopted: AdoptedTasks,
        start_times: StartTimes,
        launched: LaunchedTasks,
        limited: LimitedTasks,
        execs: ExecSessions,
        prefix: bytes,
        ended: Callable[[Entry], None],
    ) -> None:
        self._running = running
        self._adopted = adopted
        self._start_times = start_times
        self._launched = launched
        self._limited = limited
        self._execs = execs
        self._prefix = prefix
        self._ended = ended
        self._pid = os.getpid()
        self._killing = 0  # running tasks with a kill_at
        self._ending: dict[str, Entry] = {}  # the main process ended during a kill, the tree not yet
        self._sweep_due = False
        self._sweep_not_before = 0.0
        self._everywhere = bool(adopted)  # there may be orphans that are not our children

    def __bool__(self) -> bool:
        """Whether the tree of a task whose main process has ended still runs."""
        return bool(self._ending)

    def kill(self, entry: Entry, grace: float) -> None:
        """Send SIGTERM to a task's tree at the next sweep, and SIGKILL ``grace`` seconds from now."""
        if entry.ended is not None and entry.reported:
            return
        self._start_times.read_all()
        self._launched.spare(entry)
        at = time.monotonic() + max(0.0, grace)
        if not entry.kill_at:
            self._killing += 1
            entry.kill_at = at
        elif at < entry.kill_at:
            entry.kill_at = at
        else:
            return
        entry.term = grace > 0
        self._sweep_due = True
        self._sweep_not_before = 0.0

    def main_ended(self, entry: Entry) -> bool:
        """Note that a task's main process has ended. Returns whether the task is being killed: then the other processes
        of the tree have the rest of the grace, and the task ends with the last of them."""
        self._sweep_due = True
        if not entry.kill_at:
            return False
        self._killing -= 1
        if self._limited.has(entry):
            return False  # its cgroup shows the others
        entry.reported = False
        self._ending[entry.task_id] = entry
        return True

    def orphan_ended(self) -> None:
        """Note that a process that is no main process has ended: it may have been the last one of a tree."""
        self._sweep_due = self._sweep_due or bool(self._ending)

    def due(self, now: float) -> float | None:
        """Monotonic time of the next sweep; None if none is needed."""
        times = []
        if self._killing or self._ending:
            strike = min(e.kill_at for e in [*self._running.values(), *self._ending.values()] if e.kill_at)
            if strike <= now:
                self._sweep_due = True
            else:
                times.append(strike)
        if self._sweep_due:
            times.append(self._sweep_not_before)
        return min(times, default=None)

    def owners(self, processes: dict[int, Process]) -> tuple[dict[str, list[Process]], dict[str, list[Process]]]:
        """The processes of each task that runs or is being ended, and those of other tasks; see ``proctree.owners``."""
        mains = {pid: entry.task_id for pid, entry in self._running.items()}
        for entry in self._ending.values():
            other = processes.get(entry.pid)
            if other is None or other.ticks == entry.ticks:  # otherwise the pid belongs to another process by now
                mains.setdefault(entry.pid, entry.task_id)
        ours, others = proctree.owners(
            processes,
            mains,
            self._prefix,
            reaper=self._pid,
            everywhere=self._everywhere,
            helpers=self._helpers(),
        )
        if members := self._limited.members():
            for task_id, pids in members.items():
                ours[task_id] = [each for pid in pids if (each := processes.get(pid)) is not None and each.alive]
            claimed = {pid for pids in members.values() for pid in pids}
            rest = {name: [each for each in group if each.pid not in claimed] for name, group in others.items()}
            others = {name: group for name, group in rest.items() if group}
        return ours, others

    def _helpers(self) -> set[int]:
        return {*self._launched.pids, *self._execs.pids}

    def sweep_if_due(self) -> None:
        """Signal process trees that are to end, and processes that outlived their task's main process, if it is time
        for that."""
        if self._sweep_due and time.monotonic() >= self._sweep_not_before:
            self._sweep()

    def _sweep(self) -> None:
        began = time.monotonic()
        self._sweep_due = False
        if not self._killing and not self._ending and not self._everywhere:
            children = proctree.children(self._pid)
            helpers = self._helpers()
            if children is not None and all(pid in self._running or pid in helpers for pid in children):
                self._sweep_not_before = began + SWEEP_PAUSE_FACTOR * (time.monotonic() - began)
                return
        self._start_times.read_all()
        ours, others = self.owners(proctree.scan())
        for entry in [*self._running.values(), *self._ending.values()]:
            if entry.kill_at:
                self._signal(entry, ours.get(entry.task_id, ()), began)
        oldest = min((entry.ticks for entry in self._running.values()), default=None)
        for task_id, group in others.items():
            if task_id in self._launched.starting:
                continue
            for process in group:
                # A process that cannot be assigned may belong to any task that is older than it.
                if task_id or oldest is None or process.ticks < oldest:
                    proctree.send(process, signal.SIGKILL)
                    self._sweep_due = True
        self._sweep_due = self._sweep_due or bool(self._ending)
        self._everywhere = self._everywhere and bool(self._adopted or self._sweep_due)
        now = time.monotonic()
        self._sweep_not_before = now + max(SWEEP_PAUSE_FACTOR * (now - began), RECHECK_SECONDS / 2)

    def _signal(self, entry: Entry, group: Sequence[Process], now: float) -> None:
        """Signal the processes of a task that is being killed; end the task if there are none left."""
        late = now >= entry.kill_at
        if late and self._limited.has(entry):
            self._limited.strike(entry)
        elif late or entry.term:
            for process in group:
                proctree.send(process, signal.SIGKILL if late else signal.SIGTERM)
                if not late:
                    proctree.send(process, signal.SIGCONT)  # a stopped process could not handle SIGTERM
            entry.term = False
        if late and group:
            entry.kill_at = now + RECHECK_SECONDS  # a process may have been forked meanwhile
        if entry.ended is not None and not group:
            del self._ending[entry.task_id]
            entry.reported = True
            self._ended(entry)
