"""Keeps tasks from device files by the devices controller of cgroup v1. Standard library only.

One cgroup for each set of devices that a task may use, apart from the cgroups of tasks: whoever starts tasks joins it
before it gives up its rights. It is the same for all tasks with the same devices. v2 has no such controller.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable

from broker_mesos.containerizer.cgroups.layout import base_name
from broker_mesos.containerizer.cgroups.mounts import PROC, hierarchies

CONTROLLER = "devices"
_TRIED = "/dev/full"
_OPENED, _DENIED, _FAILED = 0, 1, 2


class DeviceCgroups:
    """The cgroups in the folder ``base``. Methods raise OSError."""

    def __init__(self, base: str) -> None:
        self.base = base
        os.makedirs(base, exist_ok=True)

    def folder(self, known: Collection[str], allowed: Collection[str]) -> str:
        """The cgroup for those who may use, of the ``known`` device files, the ``allowed`` ones."""
        denied = {number for path in known if path not in allowed if (number := device_number(path))}
        kept = {number for path in known if path in allowed if (number := device_number(path))}
        folder = f"{self.base}/{'_'.join(sorted(kept)).replace(':', '.') or 'none'}"
        os.makedirs(folder, exist_ok=True)
        # What an earlier agent did not know is denied as well: the others stay denied or allowed as they are.
        for number in sorted(denied):
            _write(f"{folder}/devices.deny", f"c {number} rwm")
        return folder

    def close(self) -> bool:
        """Remove the cgroups that nobody is in. Returns whether all are gone."""
        try:
            for name in os.listdir(self.base):
                if os.path.isdir(f"{self.base}/{name}"):
                    _remove(f"{self.base}/{name}")
            os.rmdir(self.base)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def join(folder: str) -> None:
    """Move this process into a cgroup. Raises OSError."""
    _write(f"{folder}/cgroup.procs", "0")


def device_number(path: str) -> str:
    """The number of a character device, as "MAJOR:MINOR"; empty if the file is none. Raises OSError."""
    found = os.stat(path)
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISCHR(found.st_mode) else ""


def folder_of(pid: int) -> str:
    """The cgroup of this kind that a process is in; empty if it is in none."""
    mounted = _mounted()
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return ""
    path = next((path for _, names, path in lines if CONTROLLER in names.split(",")), "")
    return f"{mounted}{path}" if mounted and "-gpus/" in path else ""


def probe(work_dir: str) -> DeviceCgroups | str:
    """The cgroups of the agent with this work folder, or why devices cannot be denied, in one line. A child of this
    process, which must have no other thread, tries it."""
    place = next((each for each in hierarchies(PROC) if each.version == 1 and CONTROLLER in each.controllers), None)
    if place is None:
        return "no cgroup v1 hierarchy has the controller devices"
    try:
        made = DeviceCgroups(f"{place.own}/{base_name(work_dir)}-gpus")
        found = _tried(made.folder([_TRIED], ()))
    except OSError as error:
        return f"{place.own}: {error.strerror}"
    finally:
        _remove(f"{place.own}/{base_name(work_dir)}-gpus/none")
    return made if found == _DENIED else f"{place.own} does not deny devices"


def _tried(folder: str) -> int:
    pid = os.fork()
    if pid == 0:
        found = _FAILED
        try:
            join(folder)
            try:
                os.open(_TRIED, os.O_RDONLY)
                found = _OPENED
            except PermissionError:
                found = _DENIED
        finally:
            os._exit(found)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _mounted() -> str:
    found: Iterable[str] = (
        each.mounted for each in hierarchies(PROC) if each.version == 1 and CONTROLLER in each.controllers
    )
    return next(iter(found), "")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _remove(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass
