"""The CPUs that tasks are pinned to: each is given to one task at a time, and those of a task are near to each other.

Tasks that are not pinned may run on all CPUs, those of pinned ones included, by their shares.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

NODES = "/sys/devices/system/node"
MAX_CPUS = 8192
"""More than any machine has: a list of CPUs that names a higher one is not read."""


class NotFree(Exception):
    """Fewer CPUs are free than a task wants."""


class Pins:
    """The CPUs that are taken, by the name of the task. ``available`` returns those that tasks may be pinned to;
    ``node_of`` has the memory node of a CPU, where the machine has several."""

    def __init__(self, available: Callable[[], Collection[int]], node_of: Mapping[int, int]) -> None:
        self._available = available
        self._node_of = node_of
        self._taken: dict[str, frozenset[int]] = {}

    def take(self, task: str, count: int) -> str:
        """Take so many CPUs for a task, of one memory node if one has as many free, else of few. Returns them as a
        cpuset. Raises NotFree, OSError."""
        taken = frozenset[int]().union(*self._taken.values())
        by_node: dict[int, list[int]] = {}
        for cpu in sorted(set(self._available()) - taken):
            by_node.setdefault(self._node_of.get(cpu, 0), []).append(cpu)
        free = sum(map(len, by_node.values()))
        if not 0 < count <= free:
            raise NotFree(f"cpuset: {free} CPUs are free to pin here, the task wants {count}")
        # The fullest node that has room for all of them keeps the others free for larger tasks.
        fitting = [cpus for cpus in by_node.values() if len(cpus) >= count]
        if fitting:
            chosen = min(fitting, key=len)[:count]
        else:
            chosen = [cpu for cpus in sorted(by_node.values(), key=len, reverse=True) for cpu in cpus][:count]
        self._taken[task] = frozenset(chosen)
        return text_of(chosen)

    def hold(self, task: str, cpuset: str) -> None:
        """Note what a task has that an earlier spawner has started. Raises ValueError."""
        self._taken[task] = frozenset(cpus_of(cpuset))

    def release(self, task: str) -> None:
        """Give back what a task has, if it has any."""
        self._taken.pop(task, None)


def cpus_of(text: str) -> set[int]:
    """The CPUs of a list as the kernel writes it, such as "0-2,5". Raises ValueError."""
    found: set[int] = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            low, high = int(first), int(last or first)
            if not 0 <= low <= high < MAX_CPUS:
                raise ValueError(f"{part} is no range of CPUs")
            found.update(range(low, high + 1))
    return found


def text_of(cpus: Collection[int]) -> str:
    """A list of CPUs as the kernel reads it."""
    return ",".join(map(str, sorted(cpus)))


def nodes(folder: str = NODES) -> dict[int, int]:
    """The memory node of each CPU; empty if that is not known."""
    found: dict[int, int] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        if name.startswith("node") and name[4:].isdigit():
            try:
                with open(f"{folder}/{name}/cpulist") as file:
                    found.update(dict.fromkeys(cpus_of(file.read()), int(name[4:])))
            except (OSError, ValueError):
                pass
    return found
