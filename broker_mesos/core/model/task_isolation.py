"""What a task demands of the isolation on its agent, and the words that the agent must have for it."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from broker_mesos.core.model.amounts import amount_text, shown
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.resources import Resources

RLIMITS: Final = (
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)
"""The resource limits of setrlimit(2) that a task may set, without ``RLIMIT_``."""
MAX_RLIMIT: Final = 2**63 - 1
MAX_PIDS: Final = 4_194_304
"""The largest number of processes that Linux can have."""
MAX_PATH: Final = 1_024
NOT_IN_CONTAINERS: Final = "as"
"""The resource limit that container engines cannot set."""
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}")

Level = Literal["", "limits", "sandboxed"]
LEVEL_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "": (),
    "limits": ("mem", "pids", "kill"),
    "sandboxed": ("mem", "pids", "kill", "fs", "pid"),
}
"""The words of ``AgentInfo.isolation`` that each level needs."""
IMAGES: Final = "images"
"""The word of agents that run tasks in containers."""
LIMITED: Final = ("cpus", "mem")
"""The resources that ``TaskInfo.limits`` may name."""


class TaskIsolation(Part):
    """What a task demands of its agent's isolation at least. A field with its default value demands nothing."""

    level: Level = ""
    """``limits``: the kernel holds it to its memory and number of processes, and ends all of its processes with it.
    ``sandboxed``: it has its own view of files and processes as well."""
    pids: int = Field(default=0, ge=0, le=MAX_PIDS)
    """The largest number of its processes and threads; 0 for the number that the agent allows each task."""
    rlimits: dict[str, int] = Field(default_factory=dict)
    """Resource limits (``RLIMITS``), soft and hard ones alike; -1 is no limit."""
    pin: bool = False
    """Whether its CPUs, a whole number, are its own: no other pinned task runs on them."""
    network: Literal["", "host", "none"] = ""
    """``none``: it has no network but its own loopback. ``host``, and by default: that of the agent's machine."""
    rootfs: str = ""
    """Path on the agent's machine of a folder or tar archive that is its root file system; empty for the machine's."""
    image: str = ""
    """Reference of a container image, in a container of which it runs by the engine of its agent; empty for none."""
    oom: Literal["kill", "ignore"] = "kill"
    """What the kill of one of its processes for memory means: ``kill``, the task is ended and has failed; ``ignore``,
    only the end of its main process counts."""

    @field_validator("pids", mode="before")
    @classmethod
    def _pids(cls, pids: object) -> object:
        if isinstance(pids, int) and not 0 <= pids <= MAX_PIDS:
            raise ValueError(f"pids {shown(pids)}: write a number of processes from 1 to {MAX_PIDS}")
        return pids

    @field_validator("rlimits")
    @classmethod
    def _rlimits(cls, rlimits: dict[str, int]) -> dict[str, int]:
        for name, value in rlimits.items():
            check_rlimit(name, value)
        return rlimits

    @field_validator("rootfs")
    @classmethod
    def _rootfs(cls, path: str) -> str:
        if path and (not path.startswith("/") or len(path) > MAX_PATH or "\0" in path or ".." in path.split("/")):
            raise ValueError(f"rootfs {shown(path)}: write an absolute path on the agents' machines, without '..'")
        return path

    @field_validator("image")
    @classmethod
    def _image(cls, reference: str) -> str:
        if reference and not _IMAGE.fullmatch(reference):
            raise ValueError(f"image {shown(reference)}: write the reference of an image, as in python:3.13")
        return reference

    @model_validator(mode="after")
    def _possible_with_image(self) -> TaskIsolation:
        if self.image:
            if self.rootfs:
                raise ValueError("rootfs and image are both root file systems: drop one of them")
            if self.pin:
                raise ValueError("pin is not possible with an image: container engines do not know which CPUs are free")
            if NOT_IN_CONTAINERS in self.rlimits:
                raise ValueError(f"rlimit {NOT_IN_CONTAINERS} is not possible with an image: state its memory instead")
        return self

    @property
    def needed_level(self) -> Level:
        """The level that the demands need together: a network or root file system of its own needs a
        sandbox."""
        return "sandboxed" if self.network == "none" or self.rootfs else self.level


NO_DEMANDS: Final = TaskIsolation()


def check_rlimit(name: str, value: int) -> None:
    """Check a resource limit. Raises ValueError."""
    if name not in RLIMITS:
        raise ValueError(f"rlimit {shown(name)} is not known: use {', '.join(RLIMITS)}")
    if not -1 <= value <= MAX_RLIMIT:
        raise ValueError(f"rlimit {name}={shown(value)}: write a number of at least 0, or -1 for no limit")


def check_limits(limits: Resources | None, resources: Resources, isolation: TaskIsolation | None) -> None:
    """Check limits against the resources that a task requests. Raises ValueError."""
    for name in () if limits is None else limits.names():
        if name not in LIMITED or name not in limits.scalars:  # type: ignore[union-attr]
            raise ValueError(f"limits: {name} cannot be limited, only {' and '.join(LIMITED)}")
        if (limit := limits.get(name)) < (requested := resources.get(name)):  # type: ignore[union-attr]
            raise ValueError(f"limits.{name} {amount_text(limit)} is below {name} {amount_text(requested)}")
    if isolation is not None and isolation.pin and (cpus := resources.get("cpus")) % 1000 + (cpus == 0):
        raise ValueError(f"pin is for whole CPUs: cpus {amount_text(cpus)} is not a whole number")


def demanded_words(isolation: TaskIsolation | None, limits: Resources | None) -> tuple[str, ...]:
    """The words of ``AgentInfo.isolation`` that an agent must have to run a task, sorted; none if it demands
    nothing. Memory that is stated is held where it can be, and demands nothing. A container holds its task to all that
    the task may demand, whatever the agent holds its other tasks to."""
    if isolation is not None and isolation.image:
        return (IMAGES,)
    found: set[str] = set()
    if limits is not None and limits.get("cpus"):
        found.add("quota")
    if isolation is not None:
        found.update(LEVEL_WORDS[isolation.needed_level])
        demands = {
            "pids": isolation.pids,
            "rlimits": isolation.rlimits,
            "cpuset": isolation.pin,
            "net": isolation.network == "none",
            "rootfs": isolation.rootfs,
        }
        found.update(word for word, demanded in demands.items() if demanded)
    return tuple(sorted(found))
