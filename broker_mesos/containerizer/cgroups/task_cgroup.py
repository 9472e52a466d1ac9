"""The cgroup of one task: one folder in each hierarchy, which a task's processes are born in."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Collection
from typing import Any, NamedTuple

from broker_mesos.containerizer.cgroups.files import CgroupFiles, number, table
from broker_mesos.containerizer.cgroups.layout import Layout
from broker_mesos.containerizer.cgroups.limits import ALL_CPUS, Limits, Setting, in_order, settings
from broker_mesos.containerizer.cgroups.members import members, send
from broker_mesos.containerizer.cgroups.oom import OomWatch
from broker_mesos.containerizer.cgroups.usage import (
    Counters,
    Usage,
    memory_in_use,
    memory_peak,
    read_counters,
)
from broker_mesos.containerizer.descriptors import is_spare

MAX_REST_BYTES = 2 << 20
"""Memory that may stay charged to a cgroup that gets another task. The kernel charges in batches of 256 kB on each CPU,
so that less than this is left of a program that did nothing, and taking it back costs more than starting one."""


class Record(NamedTuple):
    """What a journal keeps of a task cgroup, so that a later spawner finds it again."""

    name: str
    before: list[int]
    """Its counters when it got this task, in the order of ``Counters``."""


class TaskCgroup:
    """A cgroup with one task at a time; the driver makes it and takes it back.

    Methods raise OSError if the cgroup is gone, or as described.
    """

    def __init__(self, files: CgroupFiles, layout: Layout, name: str, kernel_files: Collection[str]) -> None:
        self._files = files
        self._kernel_files = kernel_files
        self._versions = layout.versions
        self._written: dict[str, str] = {}
        self._peak_fd = -1
        self.name = name
        self.folders = layout.folders(name)
        """By controller; "core" is the folder on v2, if there is one."""
        self.paths = list(dict.fromkeys(self.folders.values()))
        """One for each hierarchy."""
        self.limits = Limits()
        self.before = Counters()
        """The counters when it got its task."""
        self._last: Counters | None = None
        self.oom: OomWatch | None = None

    @property
    def memory_version(self) -> int:
        """The version of cgroups that the memory controller is on."""
        return self._versions["memory"]

    @property
    def counts_io(self) -> bool:
        """Whether the kernel counts what its processes read from and write to disks."""
        return "io" in self.folders

    # -- limits ------------------------------------------------------------------------------------------

    def set_limits(self, limits: Limits, *, fresh: bool = False) -> None:
        """Hold the task to these limits from now on. ``fresh``: the cgroup was just made, and has the kernel's values.

        Raises OSError: EBUSY if the memory in use cannot be brought below the limit, ERANGE or EINVAL for a cpuset
        that the agent does not have.
        """
        if fresh:
            self._written = {"cpu.cfs_burst_us": "0", "cpu.max.burst": "0", "cpu.idle": "0", "cpuset.cpus": ALL_CPUS}
        wanted = []
        for controller, version in self._versions.items():
            wanted.extend(settings(limits, controller, version))
        wanted = [self._with_cpus(each) for each in wanted if each.file in self._kernel_files]
        for each in in_order(wanted, self._written):
            self._written.pop(each.file, None)
            self._files.write(f"{self.folders[each.controller]}/{each.file}", each.text)
            self._written[each.file] = each.text
        self.limits = limits

    def _with_cpus(self, setting: Setting) -> Setting:
        if setting.text != ALL_CPUS or self._versions["cpuset"] == 2:
            return setting
        above = os.path.dirname(self.folders["cpuset"])
        return setting._replace(text=self._files.read(f"{above}/cpuset.cpus").strip())

    # -- processes ---------------------------------------------------------------------------------------

    def join(self) -> None:
        """Move this process into the cgroup, one hierarchy after the other. The kernel may take 10 ms for each on v1,
        so this is for a process that is forked ahead."""
        for path in self.paths:
            self._files.write(f"{path}/cgroup.procs", "0")

    def vanished(self) -> bool:
        """Whether somebody else has removed it, in one hierarchy or in all; the processes that were in it are then in
        other ones, without its limits. See ``Driver.restore``."""
        return not all(self._files.exists(path) for path in self.paths)

    def place_outside(self, pid: int) -> str:
        """Where a process is, if it is not in this cgroup or below it in every hierarchy; else "". Raises OSError if
        there is no such process."""
        inside, outside = self._places(pid)
        if len(inside) >= len(self.paths):
            return ""
        first = next((line for line in outside if "memory" in line or line.startswith("0::")), outside[0])
        return first.split(":", 2)[2][:100]

    def shows(self, pid: int) -> bool:
        """Whether a process is in this cgroup, or below it, in a hierarchy. One that has ended and was not waited for
        is shown in that of v2, and not in those of v1. Raises OSError if there is no such process."""
        return bool(self._places(pid)[0])

    def _places(self, pid: int) -> tuple[list[str], list[str]]:
        """The lines of a process in /proc that are of this cgroup, and the others."""
        base, name = self.paths[0].rsplit("/", 2)[1:]
        with open(f"/proc/{pid}/cgroup") as file:
            lines = file.read().splitlines()
        inside = [line for line in lines if f"/{base}/{name}/" in f"{line}/"]
        return inside, [line for line in lines if line not in inside]

    def members(self) -> list[int]:
        """The pids of all processes in it, daemons included; zombies are not among them."""
        return members(self._files, self.paths)

    def send(self, signal_number: int, keep: Collection[int] = ()) -> int:
        """Signal all members but ``keep``, and no process that is no member. Returns how many there were."""
        return send(self._files, self.paths, signal_number, keep)

    def kill(self, keep: Collection[int] = ()) -> int:
        """Send SIGKILL to all members but ``keep``, which the kernel does at once where it can. Returns how many there
        were: call it again, with a pause, until that is 0, since members may fork meanwhile."""
        core = self.folders.get("core")
        if not keep and core is not None and "cgroup.kill" in self._kernel_files:
            if not (members := self.members()):
                return 0
            self._files.write(f"{core}/cgroup.kill", "1")
            if len(set(self.paths)) == 1:
                return len(members)
        return self.send(signal.SIGKILL, keep)

    def stuck(self, keep: Collection[int] = ()) -> str:
        """Why members outlive SIGKILL, as one line; empty if there are none."""
        left = [pid for pid in self.members() if pid not in keep]
        waiting = [text for pid in left if (text := _uninterruptible(pid))]
        if waiting:
            shown = ", ".join(waiting[:3]) + (", …" if len(waiting) > 3 else "")
            return f"cannot be killed: {len(waiting)} processes in uninterruptible sleep ({shown})"
        return f"cannot be killed: {len(left)} processes are still there" if left else ""

    # -- usage -------------------------------------------------------------------------------------------

    def usage(self, *, ended: bool = False) -> Usage:
        """What the task has used since the cgroup got it; parts that cannot be read are 0.

        When the task has ``ended``, with all that it has started, ``memory`` is not worth its cost and is 0; and these
        are the counters that the next task of the cgroup begins with.
        """
        counters = self._counters()
        if ended:
            self._last = counters
        folder, version = self.folders["memory"], self._versions["memory"]
        memory = 0 if ended else memory_in_use(self._files, folder, version)
        if self._peak_fd >= 0:
            peak = int(os.pread(self._peak_fd, 32, 0))
        else:
            peak = memory_peak(self._files, folder, version)
        return Usage(counters.since(self.before), memory, peak, self.pids())

    def pids(self) -> int:
        """Processes and threads now, with those that were not waited for: much cheaper than ``usage``."""
        return number(self._files, f"{self.folders['pids']}/pids.current", often=True)

    def _counters(self) -> Counters:
        return read_counters(self._files, self.folders, self._versions)

    # -- one task after another --------------------------------------------------------------------------

    def watch_oom(self) -> OomWatch:
        """The watch for processes that the kernel kills; made when it is first asked for. Raises OSError."""
        if self.oom is None:
            folder, version = self.folders["memory"], self._versions["memory"]
            self.oom = OomWatch(self._files, folder, version, self.before.oom_kills)
        return self.oom

    def reset(self, keep: Collection[int] = ()) -> bool:
        """Begin anew for another task, when no member but ``keep``, of one thread each, is left, and those that have
        ended were waited for. Returns False if the cgroup cannot: then it is to be removed, and another one made."""
        try:
            if self.pids() > len(keep):
                return False  # those that ended and were not waited for count as well
            if any(self._files.has_groups(path) for path in self.paths):
                return False  # cgroups that the task has made
            if not self._drop_rest():
                return False
            self._reset_peak()
        except OSError:
            return False
        self.before = self._last or self._counters()
        self._last = None
        if self.oom is not None:
            self.oom.restart(self.before.oom_kills)
        return True

    def _drop_rest(self) -> bool:
        """Have the kernel drop what the last task has left in the page cache. Returns whether little enough is left."""
        if self._rest() <= MAX_REST_BYTES:
            return True
        folder = self.folders["memory"]
        if self._versions["memory"] == 1:
            self._files.write(f"{folder}/memory.force_empty", "0")
        elif "memory.reclaim" in self._kernel_files:
            try:
                self._files.write(f"{folder}/memory.reclaim", str(self._rest()))
            except BlockingIOError:
                pass  # not all of it could be dropped
        return self._rest() <= MAX_REST_BYTES

    def _rest(self) -> int:
        """The memory in use, in bytes, without that of the processes: of a launcher that stays."""
        folder, version = self.folders["memory"], self._versions["memory"]
        name = "memory.current" if version == 2 else "memory.usage_in_bytes"
        used = number(self._files, f"{folder}/{name}", often=True)
        if used <= MAX_REST_BYTES:
            return used
        stat = table(self._files, f"{folder}/memory.stat")
        return used - stat.get("anon", stat.get("total_rss", 0))

    def _reset_peak(self) -> None:
        """Have the kernel measure the peak of memory from here on. Raises OSError: on v2 before Linux 6.12, and since
        then it is the peak for the descriptor that is written to only."""
        if self._peak_fd < 0:
            name = "memory.peak" if self.memory_version == 2 else "memory.max_usage_in_bytes"
            fd = self._files.open(f"{self.folders['memory']}/{name}")
            if is_spare(fd):
                os.close(fd)
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._peak_fd = fd
        os.pwrite(self._peak_fd, b"0", 0)

    def record(self) -> Record:
        """What the journal keeps, before the task starts."""
        return Record(self.name, list(self.before))

    def close(self) -> None:
        """Close its descriptors."""
        if self.oom is not None:
            self.oom.close()
            self.oom = None
        if self._peak_fd >= 0:
            os.close(self._peak_fd)
            self._peak_fd = -1
        for path in self.paths:
            self._files.forget(path)


def record_of(value: Any) -> Record | None:
    """A record as it comes back from a journal, in JSON; None if it is none."""
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not isinstance(value[0], str)
        or not isinstance(value[1], list)
    ):
        return None
    counts = [each for each in value[1] if isinstance(each, int)][: len(Counters._fields)]
    return Record(value[0], counts + [0] * (len(Counters._fields) - len(counts)))


def _uninterruptible(pid: int) -> str:
    """A process that SIGKILL does not reach, as "PID in KERNEL_FUNCTION"; empty for all others."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
        if stat[stat.rindex(b")") + 2 :][:1] != b"D":
            return ""
        with open(f"/proc/{pid}/wchan") as waiting:
            return f"{pid} in {waiting.read() or '?'}"
    except (OSError, ValueError):
        return ""
