"""The GPUs that tasks have: each is given to one task at a time, by its spawner. Standard library only.

The agent tells the GPUs of its machine with each launch. Which of them a task has got is in the journal, so that no
later spawner gives one to another task while it may still run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

CUDA, NVIDIA = "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"
NONE_VISIBLE = {CUDA: "", NVIDIA: "void"}
"""The variables of a task without a GPU: an empty one would mean all to the tools of NVIDIA's containers."""
PATHS = "BMESOS_GPU_PATHS"
"""For the process that runs a container: the device files that it passes on, with colons between them."""
MAX_GPUS = 256


class GpusNotFree(Exception):
    """Fewer GPUs are free than a task wants."""


class GpuWish(NamedTuple):
    """What a task wants, and the GPUs of its machine."""

    number: int
    known: tuple[tuple[str, str], ...]
    """Pairs of an id and a device file."""
    shared: tuple[str, ...]
    """Device files that a task with any GPU needs, such as /dev/nvidiactl."""

    def paths(self, idents: Iterable[str]) -> list[str]:
        """The device files that a task with these GPUs may use."""
        held = set(idents)
        return [*(path for ident, path in self.known if ident in held), *(self.shared if held else ())]


def gpu_wish(value: Mapping[str, Any]) -> GpuWish:
    """The wish in a launch request. Raises LookupError, TypeError, ValueError if it is none."""
    known = tuple((str(ident), str(path)) for ident, path in value["known"])
    wish = GpuWish(int(value["count"]), known, tuple(map(str, value.get("shared") or ())))
    if not 0 <= wish.number <= MAX_GPUS or len(known) > MAX_GPUS:
        raise ValueError(f"a task has at most {MAX_GPUS} GPUs")
    return wish


def visible(idents: Iterable[str]) -> dict[str, str]:
    """The variables that tell a task its GPUs."""
    text = ",".join(idents)
    return {CUDA: text, NVIDIA: text} if text else NONE_VISIBLE


class Gpus:
    """The ids of the GPUs that tasks have."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[str, ...]] = {}

    def take(self, task_id: str, wish: GpuWish) -> list[str]:
        """Give GPUs to a task, which keeps those that it has. Returns their ids. Raises GpusNotFree."""
        if task_id not in self._taken:
            taken = {ident for idents in self._taken.values() for ident in idents}
            free = [ident for ident, _ in wish.known if ident not in taken]
            if len(free) < wish.number:
                raise GpusNotFree(f"gpus: {len(free)} are free here, the task wants {wish.number}")
            self._taken[task_id] = tuple(free[: wish.number])
        return list(self._taken[task_id])

    def hold(self, task_id: str, idents: Iterable[str]) -> None:
        """Note what a task has that an earlier spawner has started."""
        self._taken[task_id] = tuple(idents)

    def release(self, task_id: str) -> None:
        """Take back what a task has, of which nothing runs any more."""
        self._taken.pop(task_id, None)
