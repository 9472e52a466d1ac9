"""The cgroup hierarchies that are mounted here, and the cgroup of this process in each of them.

A machine has cgroup v1 (one hierarchy for each controller, or for some together), v2 (one hierarchy for all), or both
at once ("hybrid"): then each controller is in one of them, and the v2 hierarchy may have none.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

PROC = "/proc/self"
SERVICE = "bmesos-service"
"""The leaf of v2 that the spawner and the agent move to; see ``layout.py``."""


class Hierarchy(NamedTuple):
    """A mounted hierarchy, as this process sees it."""

    version: int
    """1 or 2."""
    controllers: frozenset[str]
    """Those that can be used in the process' cgroup; in the one above, if it is SERVICE, which has only those that were
    passed on to it."""
    mounted: str
    """The folder at which it is mounted."""
    below: str
    """The path of the process' cgroup below that folder, without a slash at its ends; empty for the folder itself."""
    writable: bool
    """Whether it is mounted for writing; whether this process has the right to write is another question."""

    @property
    def own(self) -> str:
        """The folder of the process' cgroup."""
        return os.path.join(self.mounted, self.below) if self.below else self.mounted

    def upwards(self) -> list[str]:
        """The folders of the process' cgroup and of all above it, as far as they are mounted."""
        parts = self.below.split("/") if self.below else []
        return [os.path.join(self.mounted, *parts[:length]) for length in range(len(parts), -1, -1)]


def hierarchies(proc: str = PROC, root: str = "/") -> list[Hierarchy]:
    """All hierarchies that are mounted, each once: for writing, if one of its mounts is.

    ``proc`` is the folder of the process in /proc, ``root`` is put before the paths of mounts.
    """
    paths = _own_paths(proc)
    found: dict[frozenset[str] | None, Hierarchy] = {}
    for line in _read(f"{proc}/mountinfo").splitlines():
        fields = line.split()
        if "-" not in fields[6:]:
            continue
        kind, options = fields[fields.index("-", 6) + 1], fields[-1].split(",")
        if kind == "cgroup2":
            names: frozenset[str] | None = None
            path = paths.get("", "/")
        elif kind == "cgroup":
            # Other options, such as rw and xattr, are no names of controllers in /proc/self/cgroup.
            names = frozenset(each for each in options if each in paths)
            path = next((paths[each] for each in options if each in paths), "/")
        else:
            continue
        mounted = os.path.join(root, _unescaped(fields[4]).lstrip("/"))
        below = _below(path, _unescaped(fields[3]))
        if below and not os.path.isdir(os.path.join(mounted, below)):
            below = ""  # the path is that of another cgroup namespace
        writable = "ro" not in fields[5].split(",") and "ro" not in options
        earlier = found.get(names)
        if earlier is not None and (earlier.writable or not writable):
            continue
        controllers = names
        if controllers is None:
            controllers = frozenset(_read(os.path.join(mounted, scope_of(below), "cgroup.controllers")).split())
        found[names] = Hierarchy(1 if names is not None else 2, controllers, mounted, below, writable)
    return list(found.values())


def scope_of(path: str) -> str:
    """The cgroup that a spawner was started in: the one above SERVICE, if it has moved there, else its own."""
    return os.path.dirname(path) if os.path.basename(path) == SERVICE else path


def _own_paths(proc: str) -> dict[str, str]:
    """The path of the process' cgroup by controller; the one of v2 has the name ""."""
    paths = {}
    for line in _read(f"{proc}/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    return paths


def _below(path: str, top: str) -> str:
    """A cgroup's path below the top of a mount. In a container the process' cgroup may be the top of what is mounted,
    or may have its path on the host, which leads nowhere here."""
    if ".." in path.split("/"):
        return ""
    if top == "/":
        return path.strip("/")
    return path[len(top) :].strip("/") if f"{path}/".startswith(f"{top}/") else ""


def _unescaped(path: str) -> str:
    """A path of mountinfo, in which blanks and the like are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
