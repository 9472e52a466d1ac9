"""The start of a sandboxed task by its launcher, and the way back."""

from __future__ import annotations

import os
import signal

from broker_mesos.containerizer import credentials
from broker_mesos.containerizer.launchers.profile import Profile
from broker_mesos.containerizer.namespaces.namespaces import Namespaces
from broker_mesos.containerizer.namespaces.view import View
from broker_mesos.containerizer.process.launching import make_own_sandbox, spawn


class NoView(OSError):
    """The view of a task cannot be made here; ``strerror`` is the reason, as one line."""


class SandboxedStarts:
    """Starts the sandboxed tasks of one profile, one after the other."""

    def __init__(self, profile: Profile) -> None:
        """To be made before this process gives up rights. Raises OSError."""
        self._namespaces = Namespaces(profile.network)
        self._user = profile.user

    def start(
        self,
        view: View,
        sandbox: str,
        argv: list[str],
        env: dict[str, str],
        *,
        directory: str = "",
        stdin: bool = False,
    ) -> tuple[int, int]:
        """Start a task as ``launching.spawn`` does. Returns its pid in the namespace of this process, and the one by
        which the spawner knows it. Raises NoView; OSError, ValueError or TypeError for the command. Before the next
        task ``leave`` is to be called, also if this raises."""
        make_own_sandbox(sandbox)
        try:
            self._namespaces.enter(view, sandbox, self._user)
        except OSError as error:
            raise NoView(error.errno, f"its view of files: {error.strerror}") from None
        with credentials.acting_as(self._user):
            pid = spawn(sandbox, argv, env, directory=directory, stdin=stdin, as_real_user=True)
        try:
            return pid, self._namespaces.outer_pid(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            raise NoView(error.errno, f"its process: {error.strerror}") from None

    def leave(self) -> bool:
        """Go back to the machine's view of files. Returns whether another task can be started."""
        try:
            self._namespaces.leave()
            os.chdir("/")
        except OSError:
            return False
        return True
