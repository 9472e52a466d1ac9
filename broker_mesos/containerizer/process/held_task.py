"""A task in a cgroup, as the spawner knows it. Standard library only."""

from __future__ import annotations

import errno

from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.launchers.launcher import Launcher
from broker_mesos.containerizer.launchers.launcher_pool import Key
from broker_mesos.containerizer.process.journal import Entry


class NotHeld(OSError):
    """A task cannot be held to what it demands on this machine now, for a reason in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.ENOSPC, reason)  # the machine is to blame


class HeldTask:
    """A task and its cgroup; without ``launcher`` and ``key`` if an earlier spawner has started it. Times are monotonic
    seconds."""

    def __init__(
        self, entry: Entry, group: TaskCgroup, launcher: Launcher | None = None, key: Key | None = None
    ) -> None:
        self.entry = entry
        self.group = group
        self.launcher = launcher
        self.key = key
        self.since = 0.0
        """When its main process ended, or SIGKILL was sent first."""
        self.struck = False
        """Whether SIGKILL was sent to it."""
        self.due = 0.0
        """When to look again whether something is left of it."""
        self.pause = 0.0
        self.logged = False
        """Whether it was logged that processes of it cannot be killed."""
        self.refusals = 0
        """How often it was refused a process when that was noted last."""
