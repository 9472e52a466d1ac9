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
from broker_mesos.containerizer.descriptors import is_spare
from broker_mesos.containerizer.json_lines import JsonLines
from broker_mesos.containerizer.launchers.launcher_process import run
from broker_mesos.containerizer.launchers.profile import Profile
from broker_mesos.containerizer.namespaces.namespaces import first_flags, own_user_namespace
from broker_mesos.containerizer.namespaces.view import View
from broker_mesos.containerizer.process.waited_usage import Used

MAX_REQUEST_BYTES = 8 << 20
"""More than the kernel takes as arguments and environment of a program."""
MAX_REPLY_BYTES = 1 << 16

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Started(NamedTuple):
    """The main process of a task has been started."""

    task_id: str
    pid: int


class Exit(NamedTuple):
    """The main process of a task has ended, with an exit code or by a signal."""

    task_id: str
    code: int | None
    signal: int | None
    used: Used | None = None
    """What it has used, if it has no cgroup that counts that."""


class Failure(NamedTuple):
    """A task could not be started."""

    task_id: str
    text: str
    machine: bool
    """Whether the machine is the reason, and not the command."""


LauncherEvent = Started | Exit | Failure


class Launcher:
    """A launcher and its state, as far as the spawner knows it. With a cgroup it has one task at a time.

    ``dead`` becomes True when it has ended, or cannot be used any more. When the spawner has waited for it, it is
    ``gone``: then its tasks are children of the spawner, which waits for them; and one that was being started may run
    or may not.
    """

    def __init__(self, group: TaskCgroup | None = None, *, sandboxed: bool = False) -> None:
        """Fork a launcher, into a cgroup if one is given; with ``sandboxed``, one whose profiles are sandboxed. Raises
        OSError. This process must have no other thread."""
        self.group = group
        self.profile: Profile | None = None
        self.joined = False
        self.ready = False
        self.tasks: dict[str, int] = {}
        """The pid of the main process of each of its tasks, by id; 0 while it is being started."""
        self.refused = ""
        """Why it cannot be in its cgroup, or cannot be what its profile demands; it is dead then."""
        self.dead = False
        self.gone = False
        self._lines = JsonLines()
        self._output = bytearray()
        self._link, end = socket.socketpair()
        if is_spare(end.fileno()):
            self._link.close()
            end.close()
            raise OSError(errno.EMFILE, "no file descriptor is left for another task: raise the agent's limit of them")
        self._link.setblocking(False)
        spawner = os.getpid()
        try:
            ids = os.geteuid(), os.getegid()
            self.pid = os.fork() if group is None else fork_into(group, first_flags() if sandboxed else 0)
            if self.pid == 0:
                if sandboxed and ids[0]:
                    own_user_namespace(*ids)
                run(end, group)
        except OSError as error:
            if os.getpid() == spawner:
                self._link.close()
                raise
            where = "its cgroup" if group is None else group.paths[0]
            end.send(_dumps(["refused", f"cannot join {where}: {error.strerror}"]).encode() + b"\n")
        finally:
            if os.getpid() != spawner:
                os._exit(0)
            end.close()

    def fileno(self) -> int:
        """The descriptor that is readable when there is an event, or when it has ended."""
        return self._link.fileno()

    @property
    def idle(self) -> bool:
        """Whether it has no task and can start one now."""
        return self.ready and not self.dead and not self.tasks

    @property
    def unsent(self) -> bool:
        """Whether it has not taken all requests yet: ``flush`` when it is writable."""
        return bool(self._output)

    def become(self, profile: Profile) -> None:
        """Have it take on a profile, once; requests to start may follow at once. Raises OSError."""
        self._send(["become", profile])
        self.profile = profile

    def start(
        self,
        task_id: str,
        sandbox: str,
        argv: list[str],
        env: dict[str, str],
        directory: str = "",
        stdin: bool = False,
        view: View | None = None,
    ) -> None:
        """Have it start a task, as ``launching.spawn`` does, and with a view of its own if it is sandboxed. Raises
        OSError: EMSGSIZE if the command is too large to be passed, any other one if the launcher cannot be used any
        more."""
        self._send(["start", task_id, sandbox, argv, env, directory, stdin, view])
        self.tasks[task_id] = 0

    def spare(self, pid: int) -> None:
        """Have it leave the process group of a task alone when the main process ends: the spawner kills it."""
        try:
            self._send(["spare", pid])
        except OSError:
            pass  # it is dead, and the spawner waits for the process

    def _send(self, message: list[Any]) -> None:
        data = _dumps(message).encode()
        if len(data) > MAX_REQUEST_BYTES:
            raise OSError(errno.EMSGSIZE, "command and environment are too large")
        self._output += data + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send as much as it takes now. Raises OSError if it cannot be used any more."""
        try:
            while self._output:
                del self._output[: self._link.send(self._output)]
        except BlockingIOError:
            pass
        except OSError:
            self._output.clear()
            self.dead = True
            raise

    def receive(self) -> list[LauncherEvent]:
        """What has happened to its tasks, in the order of time; what it has sent before its end counts."""
        found: list[LauncherEvent] = []
        while self._link.fileno() >= 0:
            try:
                data = self._link.recv(MAX_REPLY_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.dead = True
                break
            try:
                for line in self._lines.feed(data):
                    self._apply(json.loads(line), found)
            except (ValueError, TypeError, LookupError):
                self.dead = True
                break
            self.dead = self.dead or self._lines.buffered > MAX_REPLY_BYTES
        return found

    def _apply(self, message: list[Any], found: list[LauncherEvent]) -> None:
        kind, *rest = message
        if kind == "joined":
            self.joined = True
        elif kind == "ready":
            self.ready = True
        elif kind == "refused":
            self.refused, self.dead = str(rest[0]), True
        elif kind == "started" and self.tasks.get(rest[0]) == 0:
            self.tasks[rest[0]] = int(rest[1])
            found.append(Started(rest[0], int(rest[1])))
        elif kind == "failed" and self.tasks.get(rest[0]) == 0:
            del self.tasks[rest[0]]
            found.append(Failure(rest[0], str(rest[1]), bool(rest[2])))
        elif kind == "exited" and self.tasks.get(rest[0]):
            del self.tasks[rest[0]]
            found.append(Exit(rest[0], rest[1], rest[2], *rest[3:4]))

    def kill(self) -> None:
        """End it at once. The spawner must not have waited for it yet; what it has sent can still be received."""
        self.dead = True
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        """Let it go: it ends if it has not ended already."""
        self._link.close()
        self.dead = True
