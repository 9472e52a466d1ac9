"""The cgroup driver: gives out task cgroups, takes them back, and removes those that nobody needs any more.

Making and removing a cgroup costs more than giving it other limits, so some that are idle are kept. A cgroup that
cannot be removed at once is tried again, and never forgotten.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from typing import NamedTuple

from broker_mesos.containerizer.cgroups.files import CgroupFiles, optional
from broker_mesos.containerizer.cgroups.layout import Layout, task_number
from broker_mesos.containerizer.cgroups.limits import Limits, settings
from broker_mesos.containerizer.cgroups.members import send
from broker_mesos.containerizer.cgroups.pins import Pins, cpus_of, nodes
from broker_mesos.containerizer.cgroups.task_cgroup import Record, TaskCgroup
from broker_mesos.containerizer.cgroups.usage import Counters

MAX_IDLE = 64
MIN_LEAKS = 32
"""Number of cgroups that cannot be removed from which on that is reported."""
RETRY_SECONDS = 0.1
"""Time between two tries to remove what could not be removed."""
CAPABILITIES = ("cpu", "mem", "pids", "rlimits", "oom", "kill")
"""What a task is held to wherever cgroups work."""
MAX_PIDS_OF_ALL = 32_768


class Counts(NamedTuple):
    """The numbers of task cgroups."""

    used: int
    idle: int
    removing: int
    """Those that could not be removed yet."""
    made: int
    """Those that this driver has made so far."""


class Driver:
    """The cgroup driver of one work folder; ``probe`` makes it, when it has tried that it works.

    ``kernel_files`` are the names of the files that a task cgroup has on this kernel. ``reusable`` is False where a
    cgroup cannot begin anew for another task (v2 before Linux 6.12, which cannot reset the peak of memory): then each
    task gets a new one. ``old_bases`` are folders of earlier spawners of the work folder, which had other cgroups.
    ``pinned`` is the layout for tasks that are pinned to CPUs, with the controller for that; None where there is none.
    """

    def __init__(
        self,
        files: CgroupFiles,
        layout: Layout,
        kernel_files: Collection[str],
        *,
        reusable: bool,
        old_bases: Collection[str] = (),
        pinned: Layout | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._files = files
        self._layout = layout
        self._pinned = pinned
        self._bases = (pinned or layout).bases()
        self._kernel_files = kernel_files
        self._old_bases = [each for each in old_bases if each not in self._bases]
        self._log = log
        self.reusable = reusable
        self._used: dict[str, TaskCgroup] = {}
        self._idle: list[TaskCgroup] = []
        self._removing: dict[str, list[str]] = {}  # the folders that are left, by the first one
        self._made = 0
        self._last = max((task_number(name) for base in self._bases for name in self._groups(base)), default=0)
        self.pins = None if pinned is None else Pins(self._pinnable, nodes())
        """The CPUs that tasks are pinned to; None where they cannot be."""

    @property
    def capabilities(self) -> list[str]:
        """What tasks can be held to here, in words."""
        quota = {"cpu.max", "cpu.cfs_quota_us"} & set(self._kernel_files)
        return [*CAPABILITIES, *(["quota"] if quota else []), *(["cpuset"] if self.pins is not None else [])]

    def _pinnable(self) -> set[int]:
        """The CPUs that tasks may be pinned to: those that the kernel lets the base use now."""
        place = None if self._pinned is None else self._pinned.place_of("cpuset")
        if place is None:
            return set()
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
            if text := optional(self._files, f"{place.base}/{name}"):
                return cpus_of(text)
        return set()

    # -- giving out --------------------------------------------------------------------------------------

    def take(self, limits: Limits) -> TaskCgroup:
        """An empty cgroup with these limits: one that is idle, or a new one. Raises OSError."""
        while self._idle and not limits.cpuset:
            group = self._idle.pop()
            try:
                group.set_limits(limits)
            except OSError:
                self._remove(group)  # whatever is wrong with it, a new one shows whether the limits are
                continue
            self._used[group.name] = group
            return group
        group = self._make(limits)
        try:
            group.set_limits(limits, fresh=True)
        except OSError:
            self._remove(group)
            raise
        self._used[group.name] = group
        return group

    def _make_bases(self) -> None:
        """Make the folders of all task cgroups that somebody else has removed. Raises OSError."""
        layout = self._pinned or self._layout
        missing = [place for place in layout.places if not self._files.exists(place.base)]
        for place in missing:
            self._files.make(place.base)
            if place.version == 2:
                enable(self._files, place.base, place.controllers)
        if missing:
            prepare_cpuset(self._files, layout, "")

    def _make(self, limits: Limits) -> TaskCgroup:
        while True:
            self._last += 1
            group = self._group(f"t{self._last}", limits)
            try:
                self._make_folders(group, limits)
            except FileExistsError:
                continue  # it stays for the sweep
            except FileNotFoundError:
                self._make_bases()
                self._make_folders(group, limits)
            self._made += 1
            return group

    def _make_folders(self, group: TaskCgroup, limits: Limits) -> None:
        made: list[str] = []
        try:
            for path in group.paths:
                self._files.make(path)
                made.append(path)
            prepare_cpuset(self._files, self._layout_for(limits), group.name)
        except OSError:
            for path in made:
                self._files.remove(path)
            raise

    def _group(self, name: str, limits: Limits) -> TaskCgroup:
        return TaskCgroup(self._files, self._layout_for(limits), name, self._kernel_files)

    def _layout_for(self, limits: Limits) -> Layout:
        """On v1 only tasks that are pinned are in the hierarchy for that: to join one more would delay all others."""
        return self._pinned if limits.cpuset and self._pinned is not None else self._layout

    def adopt(self, record: Record, limits: Limits) -> TaskCgroup | None:
        """The cgroup that an earlier spawner has given to a task that may still run; None if it is gone."""
        if not task_number(record.name) or record.name in self._used:
            return None
        group = self._group(record.name, limits)
        if group.vanished():
            return None
        group.before = Counters(*record.before)
        group.limits = limits
        self._used[group.name] = group
        return group

    def restore(self, group: TaskCgroup, pids: Collection[int]) -> None:
        """Make a cgroup again that somebody else has removed, such as a service manager, with its limits, and move the
        processes of its task into it; those that have ended are left out. Its usage begins anew, if it was removed.
        Raises OSError."""
        if group.vanished():
            group.close()
            self._make_bases()
            for path in group.paths:
                if not self._files.exists(path):
                    self._files.make(path)
            prepare_cpuset(self._files, self._layout_for(group.limits), group.name)
            group.set_limits(group.limits, fresh=True)
            group.before = Counters()
        for path in group.paths:
            for pid in pids:
                try:
                    self._files.write(f"{path}/cgroup.procs", str(pid))
                except ProcessLookupError:
                    pass

    # -- taking back -------------------------------------------------------------------------------------

    def free(self, group: TaskCgroup) -> None:
        """Take back a cgroup whose task has ended, without its launcher. Members that are left are killed. Read its
        usage before."""
        if self._used.pop(group.name, None) is None:
            return
        if self.reusable and not group.limits.cpuset and len(self._idle) < MAX_IDLE and group.reset():
            self._idle.append(group)
        else:
            self._remove(group)

    def make_room(self) -> None:
        """Close the descriptors that are kept only to be faster."""
        while self._idle:
            self._remove(self._idle.pop())
        self._files.forget_all()

    def _remove(self, group: TaskCgroup) -> None:
        group.close()
        self._removing[group.paths[0]] = list(group.paths)
        self._try(group.paths[0])

    def retry(self) -> int:
        """Try again to remove what could not be removed; to be called each RETRY_SECONDS while ``removing`` is not 0.
        Returns how many are left."""
        for key in list(self._removing):
            self._try(key)
        return len(self._removing)

    def _try(self, key: str) -> None:
        left = [path for path in self._removing[key] if not self._removed(path)]
        if left:
            self._removing[key] = left
        else:
            del self._removing[key]

    def _removed(self, path: str) -> bool:
        """Kill what is in a cgroup and in those that it has made below, and remove them. Returns False if that has to
        be tried again."""
        try:
            for name in self._files.groups(path):
                self._removed(f"{path}/{name}")
            if send(self._files, [path], signal.SIGKILL, keep=(os.getpid(),)) == 0:
                self._files.remove(path)
                return True
        except FileNotFoundError:
            return True
        except OSError:
            pass
        return False

    def sweep(self, keep: Collection[str] = ()) -> list[str]:
        """Remove all task cgroups that this driver has not given out and whose names are not in ``keep``, and kill the
        processes in them: an earlier spawner has left them. Returns their folders."""
        known = {*self._used, *keep, *(group.name for group in self._idle)}
        pending = {path for paths in self._removing.values() for path in paths}
        found: list[str] = []
        for base in self._bases:
            strays = [name for name in self._groups(base) if task_number(name) and name not in known]
            found.extend(f"{base}/{name}" for name in strays)
        for base in self._old_bases:
            found.extend(f"{base}/{name}" for name in self._groups(base) if task_number(name) and name not in keep)
        found = [path for path in found if path not in pending]
        if found:
            self._log(f"removing {len(found)} cgroups that no task has, such as {found[0]}")
        for path in found:
            self._removing[path] = [path]
            self._try(path)
        return found

    def _groups(self, base: str) -> list[str]:
        try:
            return self._files.groups(base)
        except OSError:
            return []

    def close(self) -> bool:
        """Remove all that is idle, and the bases if nothing is left in them. Returns whether all is gone; tasks that
        run keep their cgroups."""
        while self._idle:
            self._remove(self._idle.pop())
        self.retry()
        if self._used or self._removing:
            return False
        for base in (*self._bases, *self._old_bases):
            try:
                self._files.remove(base)
            except OSError:
                pass
        return not any(self._files.exists(base) for base in self._bases)

    # -- all tasks together ------------------------------------------------------------------------------

    def limit_all(self, cpus: float = 1.0, memory: int = 0, pids: int = MAX_PIDS_OF_ALL) -> None:
        """Hold all tasks together to so many bytes of memory (0: not limited) and processes, so that no sum of tasks
        takes the machine, and give them the share of so many CPUs, when those are scarce, against what else runs on the
        machine: else all together would get that of one. Raises OSError: EBUSY if they use more now."""
        together = Limits(cpus, pids=pids)
        for place in self._layout.places:
            for controller in place.controllers:
                for each in settings(together, controller, place.version):
                    if each.file in ("cpu.shares", "cpu.weight"):
                        self._files.write(f"{place.base}/{each.file}", each.text)
                if controller == "pids":
                    self._files.write(f"{place.base}/pids.max", str(pids))
                elif controller == "memory" and place.version == 2:
                    self._files.write(f"{place.base}/memory.max", str(memory) if memory else "max")
                elif controller == "memory":
                    self._files.write(f"{place.base}/memory.limit_in_bytes", str(memory) if memory else "-1")

    # -- what operators see ------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """How many task cgroups there are."""
        return Counts(len(self._used), len(self._idle), len(self._removing), self._made)

    def problems(self) -> list[str]:
        """What an operator has to know, a line for each; empty if all is well."""
        if (leaks := len(self._removing)) < MIN_LEAKS:
            return []
        example = next(iter(self._removing.values()))[0]
        return [f"cgroup leak: {leaks} cgroups cannot be removed, such as {example}"]


def enable(files: CgroupFiles, path: str, controllers: Collection[str]) -> None:
    """Let the cgroups below one of v2 use controllers. Raises OSError."""
    enabled = files.read(f"{path}/cgroup.subtree_control").split()
    for each in controllers:
        if each != "core" and each not in enabled:
            files.write(f"{path}/cgroup.subtree_control", f"+{each}")


def prepare_cpuset(files: CgroupFiles, layout: Layout, name: str) -> None:
    """Give a new cgroup of v1 the CPUs and memory nodes of the one above: the kernel lets no process into one without.
    ``name`` is that of a task cgroup, or "" for the bases. Raises OSError."""
    for place in layout.places:
        if place.version == 1 and "cpuset" in place.controllers:
            above = place.base if name else place.scope
            folder = f"{place.base}/{name}" if name else place.base
            for file in ("cpuset.cpus", "cpuset.mems"):
                files.write(f"{folder}/{file}", files.read(f"{above}/{file}").strip())
