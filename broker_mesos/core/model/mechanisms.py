"""The mechanisms by which agents hold tasks: the words of ``AgentInfo.isolation``, and what each means and needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from broker_mesos.core.model.task_isolation import IMAGES, LEVEL_WORDS, Level

ATTRIBUTE: Final = "isolation"
"""The attribute of an agent that names its level, unless its operator has given it another value."""
NOT_WISHED: Final = "its setting `isolation` is none, or it is of an earlier release"

_LIMITS: Final = "cgroups: `bmesos agent --isolation limits`, as root or in a delegated cgroup"
_SANDBOX: Final = "namespaces of Linux 5.12: `bmesos agent --isolation sandboxed`"
_IMAGES: Final = (
    "a container engine that answers (Docker or Podman), its setting `container_engine`, and broker_mesos[images]"
)


class Mechanism(NamedTuple):
    """What tasks have where a mechanism holds, and what it needs, as phrases."""

    meaning: str
    needs: str


MECHANISMS: Final[Mapping[str, Mechanism]] = {
    "cpu": Mechanism("a share of the CPUs by their `cpus`, when CPUs are scarce", _LIMITS),
    "quota": Mechanism("no more CPU time than `--limit cpus=N`", "CFS bandwidth of the kernel, and " + _LIMITS),
    "cpuset": Mechanism("CPUs of their own with `--pin`", "the controller cpuset, and " + _LIMITS),
    "mem": Mechanism("no more memory than is stated", _LIMITS),
    "pids": Mechanism("no more processes than `--pids`, or 4096", _LIMITS),
    "oom": Mechanism("the reason in their status when they are killed for memory", _LIMITS),
    "kill": Mechanism("no process left after their end", _LIMITS),
    "rlimits": Mechanism("the resource limits of `--rlimit`", _LIMITS),
    "users": Mechanism("a user other than the agent's, and no capabilities", "capabilities, or root, and " + _LIMITS),
    "fs": Mechanism("a read-only system, and no other sandbox in sight", _SANDBOX),
    "pid": Mechanism("only their own processes in sight", _SANDBOX),
    "ipc": Mechanism("no shared memory of others", _SANDBOX),
    "net": Mechanism("no network with `--network none`", "network namespaces, and " + _SANDBOX),
    "ports": Mechanism("no ports but those that they hold", "Landlock of Linux 6.7, and " + _SANDBOX),
    "rootfs": Mechanism("their own root file system with `--rootfs`", "its setting `rootfs_roots`, and " + _SANDBOX),
    "gpus": Mechanism("no GPUs but those that they hold", "GPUs, the controller devices of cgroup v1, and " + _LIMITS),
    IMAGES: Mechanism("a container with `--image`", _IMAGES),
}
"""By word, in the order in which people read them."""


def limiting(words: Collection[str]) -> tuple[str, ...]:
    """The words of an agent that are about all of its tasks, and not about those in containers alone."""
    return tuple(word for word in words if word != IMAGES)


def level_of(words: Collection[str]) -> Level:
    """The highest level that an agent with these words has."""
    for level in ("sandboxed", "limits"):
        if set(LEVEL_WORDS[level]) <= set(words):
            return level
    return ""


def why_missing(word: str, words: Collection[str], reason: str, missing: Mapping[str, str]) -> str:
    """Why an agent does not have a mechanism, in one line: what it has found itself, or else what the mechanism needs.
    ``reason`` is why it has none at all."""
    if word in missing:
        return missing[word]
    if not limiting(words) and word != IMAGES:
        return reason or NOT_WISHED
    mechanism = MECHANISMS.get(word)
    return "not known to this release" if mechanism is None else f"it needs {mechanism.needs}"
