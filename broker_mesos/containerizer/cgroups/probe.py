"""Finds out whether the kernel can hold tasks in cgroups here, by trying it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection

from broker_mesos.containerizer.cgroups.driver import Driver, enable, prepare_cpuset
from broker_mesos.containerizer.cgroups.files import CgroupFiles, optional
from broker_mesos.containerizer.cgroups.forking import fork_into
from broker_mesos.containerizer.cgroups.layout import Layout, Place, base_name, lay_out
from broker_mesos.containerizer.cgroups.limits import Limits
from broker_mesos.containerizer.cgroups.mounts import PROC, SERVICE, Hierarchy, hierarchies
from broker_mesos.containerizer.cgroups.pins import cpus_of
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup

BASES_FILE = "cgroups"
"""The file in ``meta`` of the work folder with the folders that its task cgroups are in, one on each line."""
PROBE_NAME = "probe"
_MAX_BASES = 200
_DENIED = {errno.EACCES, errno.EPERM}


def probe(
    work_dir: str,
    *,
    movable: Collection[int] = (),
    log: Callable[[str], None] = lambda text: None,
    files: CgroupFiles | None = None,
    proc: str = PROC,
    root: str = "/",
) -> Driver | str:
    """The cgroup driver of this work folder, or the reason why there is none, as one line.

    It makes a cgroup, sets limits, forks a process into it, reads them back, and removes it. ``movable`` are the pids
    that may be moved on v2 besides this process: the agent's. The caller must have no other thread. On v1 and v2 at
    once, v2 is used as well, if that works; and the controller that pins tasks to CPUs, if that does.
    """
    files = files or CgroupFiles()
    try:
        name = base_name(work_dir)
    except OSError as error:
        return f"cannot look at {work_dir}: {error.strerror}"
    found = hierarchies(proc, root)
    driver = _try(found, name, work_dir, movable, log, files)
    old = [each for each in found if each.version == 1]
    if isinstance(driver, str) and old and len(old) < len(found):
        driver_of_old = _try(old, name, work_dir, movable, log, files)
        return driver if isinstance(driver_of_old, str) else driver_of_old
    return driver


def _try(
    found: list[Hierarchy],
    name: str,
    work_dir: str,
    movable: Collection[int],
    log: Callable[[str], None],
    files: CgroupFiles,
) -> Driver | str:
    layout = lay_out(found, name)
    if isinstance(layout, str):
        return layout
    made: list[str] = []
    place = layout.places[0]
    try:
        old_bases = _remember(work_dir, layout.bases())
        for place in layout.places:
            if reason := _open(files, place, movable, made):
                _undo(files, made)
                return reason
        result = _park(files, layout)
    except OSError as error:
        _undo(files, made)
        return _text(place, error)
    if isinstance(result, str):
        _undo(files, made)
        return result
    kernel_files, reusable = result
    pinned = _pinned(found, name, work_dir, files, log)
    if pinned is not None:
        kernel_files |= {"cpuset.cpus"}
    return Driver(files, layout, kernel_files, reusable=reusable, old_bases=old_bases, pinned=pinned, log=log)


def _pinned(
    found: list[Hierarchy], name: str, work_dir: str, files: CgroupFiles, log: Callable[[str], None]
) -> Layout | None:
    """The layout for tasks that are pinned to CPUs; None if none can be."""
    layout = lay_out(found, name, cpuset=True)
    place = None if isinstance(layout, str) else layout.place_of("cpuset")
    if isinstance(layout, str) or place is None:
        return None
    made: list[str] = []
    try:
        _remember(work_dir, layout.bases())
        if place.version == 2:
            enable(files, place.scope, ["cpuset"])
            enable(files, place.base, ["cpuset"])
        else:
            _make(files, place.base, made)
        prepare_cpuset(files, layout, "")
        folder = f"{place.base}/{PROBE_NAME}"
        _make(files, folder, made)
        prepare_cpuset(files, layout, PROBE_NAME)
        cpus = files.read(f"{place.base}/cpuset.cpus{'.effective' if place.version == 2 else ''}").strip()
        first = str(min(cpus_of(cpus)))
        files.write(f"{folder}/cpuset.cpus", first)
        held = files.read(f"{folder}/cpuset.cpus").strip() == first
        files.remove(folder)
        return layout if held else None
    except (OSError, ValueError) as error:
        log(f"tasks cannot be pinned to CPUs: {error}")
        _undo(files, made)
        return None


def _undo(files: CgroupFiles, made: list[str]) -> None:
    for path in reversed(made):
        try:
            files.remove(path)
        except OSError:
            pass


# -- the folders ---------------------------------------------------------------------------------------------


def _open(files: CgroupFiles, place: Place, movable: Collection[int], made: list[str]) -> str:
    """Make the base of a place, and let it use its controllers. Returns why that is not possible; raises OSError.
    Folders that it has made are added to ``made``."""
    controllers = [each for each in place.controllers if each != "core"]
    if place.version == 2 and controllers:
        if reason := _move_to_leaf(files, place, movable, made):
            return reason
        enable(files, place.scope, controllers)
    _make(files, place.base, made)
    if place.version == 2:
        enable(files, place.base, controllers)
    elif "memory" in controllers and optional(files, f"{place.base}/memory.use_hierarchy") == "0":
        files.write(f"{place.base}/memory.use_hierarchy", "1")  # else a limit of the base would count no task
    return ""


def _make(files: CgroupFiles, path: str, made: list[str]) -> None:
    try:
        files.make(path)
        made.append(path)
    except FileExistsError:
        pass


def _move_to_leaf(files: CgroupFiles, place: Place, movable: Collection[int], made: list[str]) -> str:
    """Move this process and the ``movable`` ones out of the scope, as v2 demands of every cgroup but the topmost one.
    Returns why that is not possible."""
    if not files.exists(f"{place.scope}/cgroup.type"):
        return ""  # the topmost one
    inside = [int(each) for each in files.read(f"{place.scope}/cgroup.procs").split()]
    others = [pid for pid in inside if pid != os.getpid() and pid not in movable]
    if others:
        return f"{_not_delegated(place)} (it has {len(others)} processes of others, such as {others[0]})"
    leaf = f"{place.scope}/{SERVICE}"
    if inside:
        _make(files, leaf, made)
    for pid in inside:
        files.write(f"{leaf}/cgroup.procs", str(pid))
    return ""


def remembered(meta: str) -> list[str]:
    """The bases in the folder ``meta`` of a work folder; empty if it has used no cgroups. Raises OSError."""
    try:
        with open(os.path.join(meta, BASES_FILE)) as file:
            return [line for line in file.read().splitlines() if line.startswith("/")]
    except FileNotFoundError:
        return []


def _remember(work_dir: str, bases: list[str]) -> list[str]:
    """Add the bases to those that the work folder remembers, and return the earlier ones. Raises OSError."""
    meta = os.path.join(work_dir, "meta")
    os.makedirs(meta, mode=0o700, exist_ok=True)
    path = os.path.join(meta, BASES_FILE)
    earlier = remembered(meta)
    earlier = [each for each in earlier if each in bases or os.path.isdir(each)][-_MAX_BASES:]
    if missing := [each for each in bases if each not in earlier]:
        with open(f"{path}.new", "w") as file:
            file.write("".join(f"{each}\n" for each in [*earlier, *missing]))
        os.replace(f"{path}.new", path)
    return [each for each in earlier if each not in bases]


# -- a process -----------------------------------------------------------------------------------------------


def _park(files: CgroupFiles, layout: Layout) -> tuple[frozenset[str], bool] | str:
    """Put a process into a cgroup with limits. Returns the files of a task cgroup here, and whether one can begin anew,
    or the reason why it does not work; raises OSError."""
    group = TaskCgroup(files, layout, PROBE_NAME, ())
    made: list[str] = []
    try:
        for path in group.paths:
            _make(files, path, made)
        kernel_files = frozenset(name for path in group.paths for name in files.listing(path))
        group = TaskCgroup(files, layout, PROBE_NAME, kernel_files)
        limits = Limits(cpus=1.0, memory=64 << 20, pids=16)
        group.set_limits(limits)
        if wrong := _not_held(files, layout, group, limits):
            return wrong
        if wrong := _visit(group):
            return wrong
        return kernel_files, group.reset()
    finally:
        group.close()
        _undo(files, group.paths)


def _not_held(files: CgroupFiles, layout: Layout, group: TaskCgroup, limits: Limits) -> str:
    """Why a limit that was written does not hold."""
    for controller, names in (("memory", ("memory.max", "memory.limit_in_bytes")), ("pids", ("pids.max",))):
        version = layout.versions[controller]
        name = names[0] if version == 2 else names[-1]
        expected = limits.memory_bytes if controller == "memory" else limits.pids + 1
        text = optional(files, f"{group.folders[controller]}/{name}")
        if text != str(expected):
            return f"{group.folders[controller]}/{name} is {text or 'missing'} after {expected} was written"
    return ""


def _visit(group: TaskCgroup) -> str:
    """Fork a process into the cgroup and see it there. Returns why that does not work; raises OSError."""
    joined, entered = os.pipe()
    ended, end = os.pipe()
    pid = 0
    try:
        pid = _child(group, joined, entered, ended, end)
        os.close(entered)
        entered = -1
        if word := os.read(joined, 1):
            if word != b"+":
                return f"a process cannot join {group.paths[0]}: {os.strerror(word[0])}"
            return "" if pid in group.members() else f"a process that joined {group.paths[0]} is not in it"
        return f"a process that joined {group.paths[0]} ended at once"
    finally:
        for fd in (joined, entered, ended, end):
            if fd >= 0:
                os.close(fd)
        if pid > 0:
            os.waitpid(pid, 0)


def _child(group: TaskCgroup, joined: int, entered: int, ended: int, end: int) -> int:
    """Fork a process that is in the cgroup until ``end`` is closed. It writes "+", or the number of its error."""
    before = os.getpid()
    try:
        pid = fork_into(group)
        if pid:
            return pid
        os.write(entered, b"+")
        os.close(entered)
        os.close(end)
        os.read(ended, 1)
        os._exit(0)
    except BaseException as error:
        if os.getpid() == before:
            raise
        os.write(entered, bytes([(getattr(error, "errno", 0) or errno.EIO) % 256]))
        os._exit(1)


# -- reasons -------------------------------------------------------------------------------------------------


def _text(place: Place, error: OSError) -> str:
    if error.errno == errno.EROFS:
        return f"{place.scope} is mounted read-only, as in most containers"
    if error.errno in _DENIED:
        return _not_delegated(place)
    where = error.filename or place.base
    return f"cannot use {where}: {error.strerror}"


def _not_delegated(place: Place) -> str:
    if place.version == 2:
        return f"cgroup2 {place.scope} is not delegated to us: run under systemd with a scope, or as root"
    return f"{place.scope} (cgroup v1) may only be changed by root: run the agent as root"
