"""What the sandboxed tasks of an agent see of its machine, and the ports that its tasks may listen on, by its
settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_mesos.containerizer.namespaces.view import READ_WRITE
from broker_mesos.containerizer.root_archives import NO_ROOTS
from broker_mesos.core.model.host_path import HostPath
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import Isolation, LaunchSpec

SANDBOXED = "sandboxed"


@dataclass(frozen=True)
class TaskViews:
    """The settings of an agent; its work folder is ``folder``, an absolute path."""

    folder: Path
    always: bool = False
    """Whether all tasks are sandboxed, and not those alone that demand it."""
    host_paths: Sequence[HostPath] = ()
    hidden: Sequence[str] = ()
    """Files and folders of the agent that no sandboxed task sees, besides the work folder."""
    rootfs_roots: tuple[str, ...] = ()
    """The folders of the machine below which root file systems of tasks are taken from."""
    enforce_ports: bool | None = None
    """Whether tasks may listen only on the TCP ports that they hold; None: those that are sandboxed."""

    def is_sandboxed(self, spec: LaunchSpec) -> bool:
        """Whether a task gets a view of its own."""
        return self.always or spec.level == SANDBOXED

    def allowed(self, found: Isolation) -> Isolation:
        """What tasks are held to, of what they can be held to here."""
        off = {
            "ports": "enforce_ports is false in its settings" if self.enforce_ports is False else "",
            "rootfs": "" if self.rootfs_roots else NO_ROOTS,
        }
        off = {word: text for word, text in off.items() if text and word in found.words}
        words = tuple(word for word in found.words if word not in off)
        return found._replace(words=words, missing={**found.missing, **off}) if off else found

    def demands(self, spec: LaunchSpec, rootfs: str) -> dict[str, Any]:
        """What the launch request of a task says of its view and its ports, among its limits. ``rootfs`` is the folder
        of its root file system; empty for that of the machine."""
        found: dict[str, Any] = {}
        sandboxed = self.is_sandboxed(spec)
        if sandboxed:
            volumes = [[str(self.folder / "volumes" / volume)] * 2 + [READ_WRITE] for _, volume in spec.volumes]
            found["sandbox"] = {
                "network": spec.network or "host",
                "rootfs": rootfs,
                "mounts": [*map(list, self.host_paths), *volumes],
                "hidden": [str(self.folder), *self.hidden],
            }
        if (sandboxed if self.enforce_ports is None else self.enforce_ports) and spec.network != "none":
            found["ports"] = [list(each) for each in spec.ports]
        return found


def check_host_paths(paths: Sequence[HostPath], folder: Path) -> None:
    """Check that what sandboxed tasks are to see is there, and shows them nothing of the agent. Raises InvalidInput, in
    one line."""
    for source, target, _ in paths:
        if not os.path.exists(source):
            raise InvalidInput(f"host_paths: there is no {source} on this machine: make it, or drop it")
        for reserved in ("/proc", "/dev", "/tmp", str(folder)):
            if target == "/" or target == reserved or (target + "/").startswith(reserved + "/"):
                raise InvalidInput(
                    f"host_paths: sandboxed tasks have a {reserved} of their own: give {source} another target"
                )
