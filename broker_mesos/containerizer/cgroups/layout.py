"""Where the task cgroups of an agent are: in which hierarchies, in which folder, and under which names.

In each hierarchy the agent has one folder, its base, and in it a cgroup ``t<number>`` for each task. The base has the
identity of the work folder in its name, not its path: a work folder that was replaced is another agent's.

On v1 the base is in the cgroup of the spawner. On v2 a cgroup with processes has no cgroups with controllers below it,
so the spawner and the agent move from their cgroup into a leaf, SERVICE, beside the base.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from broker_mesos.containerizer.cgroups.mounts import Hierarchy, scope_of

NEEDED = ("cpu", "memory", "pids")
_NAME = re.compile(r"t[1-9][0-9]*")
_V1_NAMES = {"io": "blkio"}
_OPTIONAL = ("io", "cpuacct")
"""Controllers that are only read, for the usage of tasks."""


class Place(NamedTuple):
    """The part of a layout in one hierarchy."""

    version: int
    controllers: tuple[str, ...]
    """The controllers that are used there; "core" stands for v2 itself, which kills, lists and counts without any."""
    scope: str
    """The folder in which the base is."""
    base: str
    """The folder of the task cgroups."""


class Layout(NamedTuple):
    """The places of all controllers that are used."""

    places: tuple[Place, ...]

    @property
    def versions(self) -> dict[str, int]:
        """The version of cgroups that each controller is on."""
        return {controller: place.version for place in self.places for controller in place.controllers}

    def folders(self, name: str) -> dict[str, str]:
        """The folders of one task cgroup, by controller."""
        return {each: f"{place.base}/{name}" for place in self.places for each in place.controllers}

    def bases(self) -> list[str]:
        """The folders of the task cgroups in all hierarchies."""
        return [place.base for place in self.places]

    def place_of(self, controller: str) -> Place | None:
        """The place of a controller; None if it is not used."""
        return next((place for place in self.places if controller in place.controllers), None)


def base_name(work_dir: str) -> str:
    """The name of an agent's base: the identity of its work folder. Raises OSError."""
    found = os.stat(work_dir)
    return f"bmesos-{found.st_dev:x}-{found.st_ino:x}"


def task_number(name: str) -> int:
    """The number in the name of a task cgroup; 0 if it is no such name."""
    return int(name[1:]) if _NAME.fullmatch(name) else 0


def lay_out(found: Iterable[Hierarchy], name: str, *, cpuset: bool = False) -> Layout | str:
    """The layout on these hierarchies with bases of this name, or why there is none, as one line.

    Where a controller is on v1 it is used there, else on v2. With ``cpuset`` that controller is needed, too.
    """
    hierarchies = list(found)
    needed = (*NEEDED, "cpuset") if cpuset else NEEDED
    places: dict[str, list[str]] = {}
    chosen: dict[str, Hierarchy] = {}
    missing = []
    for controller in (*needed, *_OPTIONAL):
        hierarchy = _with(hierarchies, controller)
        if hierarchy is None or not (hierarchy.writable or controller in needed):
            if controller in needed:
                missing.append(controller)
            continue
        chosen[hierarchy.mounted] = hierarchy
        places.setdefault(hierarchy.mounted, []).append(controller)
    if missing:
        return _reason(hierarchies, missing)
    for hierarchy in hierarchies:
        if hierarchy.version == 2 and (hierarchy.writable or hierarchy.mounted in chosen):
            chosen[hierarchy.mounted] = hierarchy
            places.setdefault(hierarchy.mounted, []).append("core")
            # It counts the CPU time: one hierarchy less to join.
            if "cpuacct" in places.get(_mounted(hierarchies, "cpuacct"), ()):
                _leave(places, _mounted(hierarchies, "cpuacct"), "cpuacct")
    read_only = [mounted for mounted in places if not chosen[mounted].writable]
    if read_only:
        return f"{read_only[0]} is mounted read-only, as in most containers"
    return Layout(tuple(_place(chosen[mounted], names, name) for mounted, names in places.items() if names))


def _place(hierarchy: Hierarchy, controllers: list[str], name: str) -> Place:
    scope = scope_of(hierarchy.own) if hierarchy.version == 2 else hierarchy.own
    return Place(hierarchy.version, tuple(controllers), scope, f"{scope}/{name}")


def _with(hierarchies: list[Hierarchy], controller: str) -> Hierarchy | None:
    """The hierarchy to use a controller in."""
    old = _V1_NAMES.get(controller, controller)
    for each in hierarchies:
        if each.version == 1 and old in each.controllers:
            return each
    return next((each for each in hierarchies if each.version == 2 and controller in each.controllers), None)


def _mounted(hierarchies: list[Hierarchy], controller: str) -> str:
    found = _with(hierarchies, controller)
    return found.mounted if found else ""


def _leave(places: dict[str, list[str]], mounted: str, controller: str) -> None:
    if len(places[mounted]) == 1:
        places[mounted].remove(controller)


def _reason(hierarchies: list[Hierarchy], missing: list[str]) -> str:
    named = " and ".join(missing) if len(missing) < 3 else f"{', '.join(missing[:-1])} and {missing[-1]}"
    unified = next((each for each in hierarchies if each.version == 2), None)
    if not hierarchies:
        return "no cgroups are mounted"
    if unified is not None and all(each.version == 2 for each in hierarchies):
        path = f"/{scope_of(unified.below)}"
        return f"cgroup2 {path} has no controller {named}: run under systemd with a scope, or as root"
    return f"no cgroup hierarchy has the controller {named}"
