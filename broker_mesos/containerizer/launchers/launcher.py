"""The spawner's end of a launcher: forks it, and exchanges messages with it; never blocks."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from typing import Any, NamedTuple

from broker_mesos.containerizer.cgroups.forking import fork_into
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.launchers.launcher_process import run
from broker_mesos.containerizer.launchers.profile import Profile

MAX_REQUEST_BYTES = 8 << 20
"""More than the kernel takes as arguments and environment of a program."""
_MAX_REPLY_BYTES = 1 << 16
_SO_SNDBUFFORCE = 32

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Exit(NamedTuple):
    """How the main process of a task ended."""

    status: int
    """As waitpid returns it."""
    cpu_seconds: float
    """Of the main process and of the children that it has waited for."""
    peak_rss: int
    """The largest resident set of one of them, in bytes."""
    blocks_read: int
    blocks_written: int
    """Blocks of 512 bytes."""


class Failure(NamedTuple):
    """A task that could not be started."""

    text: str
    machine: bool
    """Whether the machine is the reason, and not the command."""


class Launcher:
    """A launcher and its state, as far as the spawner knows it.

    ``dead`` becomes True when it has ended. Then its task, if ``task_pid`` is not 0, is a child of the spawner, which
    waits for it; and a task that was ``starting`` may run in the cgroup or may not.
    """

    def __init__(self, group: TaskCgroup) -> None:
        """Fork a launcher into a cgroup. Raises OSError. This process must have no other thread."""
        self.group = group
        self.profile: Profile | None = None
        self.joined = False
        self.ready = False
        self.starting = False
        self.task_pid = 0
        self.refused = ""
        """Why it cannot be in its cgroup, or cannot be what its profile demands; it is dead then."""
        self.dead = False
        self._link, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setblocking(False)
        spawner = os.getpid()
        try:
            self.pid = fork_into(group)
            if self.pid == 0:
                run(end, group)
        except OSError as error:
            if os.getpid() == spawner:
                self._link.close()
                raise
            end.send(_dumps(["refused", f"cannot join {group.paths[0]}: {error.strerror}"]).encode())
        finally:
            if os.getpid() != spawner:
                os._exit(0)
            end.close()
        try:
            self._link.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, MAX_REQUEST_BYTES)
        except PermissionError:
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_REQUEST_BYTES)  # as far as the system allows

    def fileno(self) -> int:
        """The descriptor that is readable when there is an event, or when it has ended."""
        return self._link.fileno()

    @property
    def idle(self) -> bool:
        """Whether it can start a task now."""
        return self.ready and not self.dead and not self.starting and not self.task_pid

    def become(self, profile: Profile) -> None:
        """Have it take on a profile, once; requests to start may follow at once. Raises OSError."""
        self._send(["become", profile])
        self.profile = profile

    def start(
        self, sandbox: str, argv: list[str], env: dict[str, str], directory: str = "", stdin: bool = False
    ) -> None:
        """Have it start a task, as ``launching.spawn`` does. Raises OSError: EMSGSIZE if the command is too large to be
        passed, any other one if the launcher cannot be used any more."""
        self._send(["start", sandbox, argv, env, directory, stdin])
        self.starting = True

    def _send(self, message: list[Any]) -> None:
        try:
            self._link.send(_dumps(message).encode())
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise OSError(errno.EMSGSIZE, "command and environment are too large") from None
            self.dead = True  # a task of the same user may stop it, so that it reads no more
            raise

    def receive(self) -> list[Exit | Failure | int]:
        """What has happened to its task: the pid of one that has started, an Exit, or a Failure; in their order. What a
        dead one has sent before counts."""
        found: list[Exit | Failure | int] = []
        while self._link.fileno() >= 0:
            try:
                data = self._link.recv(_MAX_REPLY_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.dead = True
                break
            try:
                self._apply(json.loads(data), found)
            except (ValueError, TypeError, IndexError, KeyError):
                self.dead = True
                break
        return found

    def _apply(self, message: list[Any], found: list[Exit | Failure | int]) -> None:
        kind = message[0]
        if kind == "joined":
            self.joined = True
        elif kind == "ready":
            self.ready = True
        elif kind == "refused":
            self.refused, self.dead = str(message[1]), True
        elif kind == "started" and self.starting:
            self.starting, self.task_pid = False, int(message[1])
            found.append(self.task_pid)
        elif kind == "failed" and self.starting:
            self.starting = False
            found.append(Failure(str(message[1]), bool(message[2])))
        elif kind == "exited" and self.task_pid:
            self.task_pid = 0
            cpu, rss, read, written = float(message[2]), int(message[3]), int(message[4]), int(message[5])
            found.append(Exit(int(message[1]), cpu, rss, read, written))

    def close(self) -> None:
        """Let it go: it ends at once if it has no task, else after that."""
        self._link.close()
        self.dead = True

    def kill(self) -> None:
        """End it at once. The spawner must not have waited for it yet."""
        self.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
