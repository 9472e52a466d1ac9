"""What holds tasks to limits on this machine, for the spawner: the cgroup driver. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from broker_mesos.containerizer.cgroups import own_limits
from broker_mesos.containerizer.cgroups.devices import DeviceCgroups
from broker_mesos.containerizer.cgroups.devices import probe as probe_devices
from broker_mesos.containerizer.cgroups.driver import RETRY_SECONDS, Driver
from broker_mesos.containerizer.cgroups.limits import Limits
from broker_mesos.containerizer.cgroups.pins import NotFree, cpus_of
from broker_mesos.containerizer.cgroups.probe import probe, remembered
from broker_mesos.containerizer.cgroups.rejoin import rejoin
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup, record_of
from broker_mesos.containerizer.credentials import missing_capabilities
from broker_mesos.containerizer.launchers.launcher_pool import LauncherPool
from broker_mesos.containerizer.namespaces.probe import Found
from broker_mesos.containerizer.namespaces.probe import probe as probe_views
from broker_mesos.containerizer.process.journal import Entry, Record
from broker_mesos.containerizer.process.problems import Problems
from broker_mesos.containerizer.process.task_limits import limits_of

CLOSE_SECONDS = 5.0
FORK_AGAIN_SECONDS = 5.0
NOTE_SECONDS = 5.0
"""Time between two looks for problems."""
UNASKED = "the agent has not asked for it"
NEVER = float("inf")


class Isolation:
    """``driver`` is None until it was asked for, and where cgroups do not work: ``reason`` says why, in one line. The
    ``pool`` gets it as well."""

    def __init__(self, pool: LauncherPool, log: Callable[[str], None]) -> None:
        self._pool = pool
        self._log = log
        self._retry_at = 0.0
        self._note_at = 0.0
        self.problems = Problems(log)
        self._ahead_at = NEVER  # monotonic time from which launchers are forked ahead
        self.driver: Driver | None = None
        self.reason = UNASKED
        self.views = Found()
        """What sandboxed tasks can have of their own."""
        self.devices: DeviceCgroups | None = None
        """What keeps tasks from GPUs that they do not have; None where nothing does."""
        self.own_cpus = NEVER
        """The quota of this process itself, in CPUs: that of a task must not be above."""

    def open(self, work_dir: str, movable: Collection[int] = ()) -> None:
        """Find out whether cgroups work here, unless that is known to be so. ``movable`` are processes that may be
        moved to another cgroup: the agent's."""
        if self.driver is not None:
            return
        found = probe(work_dir, movable=(*movable, *self._pool.shared_pids()), log=self._log)
        if isinstance(found, str):
            self.reason = found
            return
        self.reason = ""
        self.own_cpus = own_limits.cpus()
        self.driver = self._pool.driver = found
        self.views = probe_views(work_dir)

    def open_if_used(self, work_dir: str, meta: str, movable: Collection[int] = ()) -> None:
        """Do that only if an earlier spawner of the work folder has used cgroups, and go to where its tasks are."""
        try:
            bases = remembered(meta)
        except OSError as error:
            self._log(f"cannot read where the cgroups of tasks are: {error}")
            return
        if bases:
            rejoin(work_dir, bases, self._log)
            self.open(work_dir, movable)

    def expect(self, cpus: float, memory: int) -> None:
        """Hold all tasks together to what the agent lends, in CPUs and bytes, and expect tasks."""
        if self.driver is None:
            return
        self._ahead_at = time.monotonic()
        try:
            self.driver.limit_all(cpus, memory)
        except OSError as error:
            self._log(f"all tasks together are not held to {cpus} CPUs and {memory} bytes: {error}")

    def open_devices(self, work_dir: str) -> None:
        """Find out whether tasks can be kept from the GPUs of others here, unless that is known to be so."""
        if self.devices is None and self.driver is not None:
            found = probe_devices(work_dir)
            if isinstance(found, DeviceCgroups):
                self.devices = found
            else:
                self._log(f"tasks are not kept from the GPUs of others: {found}")

    def devices_for(self, entry: Entry) -> str:
        """The cgroup that keeps a task from the GPUs that it does not have; empty if nothing does. Raises OSError."""
        wish = entry.gpu_wish
        if self.devices is None or wish is None:
            return ""
        return self.devices.folder([path for _, path in wish.known], wish.paths(entry.gpus))

    def rest(self) -> None:
        """Fork no more launchers ahead: no agent is there."""
        self._ahead_at = NEVER

    @property
    def capabilities(self) -> list[str]:
        """What tasks are held to; empty if they are not."""
        if self.driver is None:
            return []
        return [
            *self.driver.capabilities,
            *([] if missing_capabilities() else ["users"]),
            *self.views.words,
            *([] if self.devices is None else ["gpus"]),
        ]

    def answer(self) -> Record:
        """What the agent is told of it."""
        return ["isolation", self.capabilities, self.reason, dict(self.views.missing)]

    def adopt(self, entry: Entry) -> TaskCgroup | None:
        """The cgroup that an earlier spawner has given to a task; None if there is none."""
        record = record_of(entry.cgroup)
        if record is None or self.driver is None:
            return None
        try:
            limits = limits_of(entry.held)
            cpus_of(limits.cpuset)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self._log(f"the limits of task {entry.task_id} are not readable: {error}")
            limits = Limits()
        try:
            return self.driver.adopt(record, limits)
        except OSError as error:
            self._log(f"the cgroup of task {entry.task_id}: {error}")
            return None

    def pin(self, task_id: str, count: int) -> str:
        """Take so many CPUs for a task alone; as a cpuset. Raises NotFree, OSError."""
        if self.driver is None or self.driver.pins is None:
            raise NotFree("cpuset: tasks cannot be pinned to CPUs here")
        return self.driver.pins.take(task_id, count)

    def hold_pins(self, task_id: str, cpuset: str) -> None:
        """Note the CPUs that a task has."""
        if cpuset and self.driver is not None and self.driver.pins is not None:
            self.driver.pins.hold(task_id, cpuset)

    def unpin(self, task_id: str) -> None:
        """Give back the CPUs of a task."""
        if self.driver is not None and self.driver.pins is not None:
            self.driver.pins.release(task_id)

    def sweep(self, running: Iterable[Entry]) -> None:
        """Remove the cgroups that none of the running tasks has, with the processes in them."""
        if self.driver is not None:
            self.driver.sweep(keep=[str(entry.cgroup[0]) for entry in running if entry.cgroup])

    def due(self, now: float) -> list[float]:
        """Monotonic times at which to ``work``."""
        times = []
        if self.driver is not None and self.driver.counts().removing:
            times.append(self._retry_at)
        if self.driver is not None and now >= self._ahead_at:
            times.extend([now] if self._pool.lacking(now) else [])
        elif self._ahead_at != NEVER:
            times.append(self._ahead_at)
        return times

    def work(self, now: float) -> None:
        """Remove cgroups that could not be removed before, and fork a launcher ahead."""
        if self.driver is None:
            return
        if now >= self._retry_at and self.driver.counts().removing:
            self.driver.retry()
            self._retry_at = now + RETRY_SECONDS
            # Their number may change at each try.
            if now >= self._note_at or not self.driver.counts().removing:
                self._note_at = now + NOTE_SECONDS
                self.problems.note("leak", self.driver.problems())
        if now >= self._ahead_at:
            try:
                self._pool.fork_ahead(now)
            except OSError as error:
                self._ahead_at = now + FORK_AGAIN_SECONDS
                self._log(f"no launcher can be forked ahead: {error}")

    def close(self) -> None:
        """Remove all cgroups, when the launchers have ended."""
        deadline = time.monotonic() + CLOSE_SECONDS
        for each in (self.driver, self.devices):
            while each is not None and not each.close() and time.monotonic() < deadline:
                time.sleep(0.01)
