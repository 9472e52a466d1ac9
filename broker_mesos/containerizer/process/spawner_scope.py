"""Starts the spawner in a scope of systemd, outside of the control group of its agent's unit.

A unit whose control group has cgroups of tasks in it cannot be restarted on cgroup v2 (status 219/CGROUP), and systemd
may end or move what is in it. A scope with ``Delegate=yes`` belongs to the spawner, whatever becomes of the agent.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from broker_mesos.containerizer.cgroups.limits import cpu_weight

SYSTEMD = "/run/systemd/system"
"""A folder that exists if systemd is the service manager of this machine."""
_BUS_VARIABLES = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
"""The variables by which a user's service manager is found."""

_numbers = itertools.count(1)


class SpawnerScope:
    """The scope of the spawner of one work folder, whose tasks have the share of so many CPUs together when CPUs are
    scarce. ``warn`` is called, once, if there can be none."""

    def __init__(
        self, work_dir: Path, warn: Callable[[str], None], cpus: float = 1.0, *, systemd: str = SYSTEMD
    ) -> None:
        self._work_dir = work_dir
        self._cpus = cpus
        self._warn = warn
        self._systemd = systemd
        self.failed = False
        """Whether no scope could be made: from then on the spawner is started without one."""

    def command(self, command: Sequence[str], path: str) -> list[str] | None:
        """The command that runs another one in a scope; None if it is to run without one. ``path`` is that in which
        programs are searched."""
        # An agent that is itself a task of another one stays with all of its own in the cgroup of that task.
        if self.failed or "BMESOS_SANDBOX" in os.environ or not os.path.isdir(self._systemd):
            return None
        by_user = os.geteuid() != 0
        if by_user and not any(name in os.environ for name in _BUS_VARIABLES):
            self.fail("this user has no service manager (loginctl enable-linger USER starts one)")
            return None
        program = shutil.which("systemd-run", path=path)
        if program is None:
            self.fail("there is no systemd-run")
            return None
        # An earlier spawner's scope lasts as long as its tasks do, so that each one needs a name of its own.
        name = f"bmesos-tasks-{os.stat(self._work_dir).st_ino:x}-{os.getpid()}-{next(_numbers)}"
        # Else it would have the share of one CPU against other units, and by default 15% of the machine's processes.
        properties = ("Delegate=yes", f"CPUWeight={cpu_weight(self._cpus)}", "TasksMax=infinity")
        options = ["--scope", "--collect", "--quiet", *(f"--property={each}" for each in properties), f"--unit={name}"]
        return [program, *(["--user"] if by_user else []), *options, "--", *command]

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment of such a command, from that of the spawner."""
        found = {name: os.environ[name] for name in _BUS_VARIABLES if name in os.environ}
        return {**found, **env} if os.geteuid() != 0 else dict(env)

    def fail(self, reason: str) -> None:
        """Note that no scope can be made, and why."""
        self.failed = True
        self._warn(
            f"the process that starts tasks is not in a systemd scope of its own: {reason}; a restart of the agent's"
            " unit may fail while tasks with limits run"
        )
