"""What a launcher does, from its fork to its end; it is never another program.

It shares nothing with the spawner but a socket, to which both write JSON arrays, one on each line::

                                         → ["joined"], once it is in its cgroup, if it has one
    ["become", profile]                  → ["ready"] or ["refused", text], and it ends
    ["start", task_id, sandbox, argv, env, directory, stdin, view]
                                         → ["started", task_id, pid] or ["failed", task_id, message, machine],
                                           and later ["exited", task_id, code, signal]
    ["spare", pid]                       leave the group of this process alone when the process ends: it is killed

With a cgroup it has one task at a time; kills go to the cgroup. Without one it starts any number of tasks, and kills
the process group of each when its main process ends. It ends when the spawner closes the socket; its tasks run on. If
it ends before that, they become children of the spawner, which is its reaper and waits for them itself.

``view`` is null, or what a sandboxed task sees (``namespaces``). The launcher of such tasks ends after the last one,
when the spawner has closed the socket: nothing of them outlives it.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import select
import signal
import socket
from typing import Any

from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.json_lines import JsonLines
from broker_mesos.containerizer.launchers.privileges import become, resource_limits
from broker_mesos.containerizer.launchers.profile import profile_of
from broker_mesos.containerizer.launchers.sandboxed_starts import NoView, SandboxedStarts
from broker_mesos.containerizer.namespaces.view import view_from
from broker_mesos.containerizer.process.children import Children, outcome
from broker_mesos.containerizer.process.launching import is_machine_fault, lower_file_limit, spawn
from broker_mesos.containerizer.process.waited_usage import used_by_zombie

_SOCKET_FD = 3
_FIRST_FREE_FD = 4
_MAX_FD = 1 << 30
_CHUNK = 1 << 18
STARTED_MILLISECONDS = 2
"""Time for which the report of a start waits for the end of the task: both at once wake the spawner once. Nobody waits
for the start of a task that is over by then."""

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def run(end: socket.socket, group: TaskCgroup | None) -> None:
    """Serve requests from ``end`` until the spawner closes its own. The process is a fresh fork, in the cgroup if there
    is one; it must end when this returns or raises."""
    _separate(end.fileno())
    _Server(socket.socket(fileno=_SOCKET_FD), in_cgroup=group is not None).serve()


def _separate(fd: int) -> None:
    """Leave everything of the spawner but the socket, whose descriptor is above 2. An open descriptor of another
    launcher's socket would keep that one from seeing its end."""
    gc.disable()  # objects of the spawner that went away now would close descriptors by numbers that are ours
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if fd != _SOCKET_FD:
        os.dup2(fd, _SOCKET_FD, inheritable=False)
    os.closerange(_FIRST_FREE_FD, _MAX_FD)


class _Server:
    def __init__(self, link: socket.socket, *, in_cgroup: bool) -> None:
        self._link = link
        self._in_cgroup = in_cgroup
        self._children = Children()
        self._lines = JsonLines()
        self._tasks: dict[int, str] = {}
        self._spared: set[int] = set()
        self._limits: list[tuple[int, int]] = []
        self._sandboxed: SandboxedStarts | None = None
        self._unsent = b""

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._children.fd, select.POLLIN)
        if self._in_cgroup:
            self._send(["joined"])
        connected = True
        while connected or (self._sandboxed is not None and self._tasks):
            ready = poll.poll(STARTED_MILLISECONDS if self._unsent else None)
            if not ready:
                self._flush()
                continue
            fds = {fd for fd, _ in ready}
            if self._children.fd in fds:
                self._children.clear()
            # Requests first: a process that is killed is spared before it is waited for, if it has no cgroup.
            if connected and (not self._in_cgroup or _SOCKET_FD in fds) and not self._receive():
                connected = False
                poll.unregister(self._link)
            if self._children.fd in fds or not self._in_cgroup:
                self._reap()

    def _receive(self) -> bool:
        """Handle the requests that are there. Returns False when this process is to end."""
        try:
            data = self._link.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(data) and all(self._handle(json.loads(line)) for line in self._lines.feed(data))

    def _handle(self, request: list[Any]) -> bool:
        if request[0] == "start":
            self._start(*request[1:])
        elif request[0] == "become":
            return self._become(request[1])
        elif request[1] in self._tasks:
            self._spared.add(request[1])
        return True

    def _become(self, profile: Any) -> bool:
        try:
            lower_file_limit()
            wanted = profile_of(profile)
            if wanted.sandboxed:
                self._sandboxed = SandboxedStarts(wanted)
            become(wanted)
        except (OSError, TypeError, ValueError) as error:
            self._send(["refused", error.strerror if isinstance(error, OSError) else str(error)])
            return False
        self._limits = resource_limits()
        self._send(["ready"])
        return True

    def _start(
        self,
        task_id: str,
        sandbox: str,
        argv: list[str],
        env: dict[str, str],
        directory: str,
        stdin: bool,
        view: list[Any] | None,
    ) -> None:
        try:
            if resource_limits() != self._limits:
                raise OSError(errno.EPERM, "a task of its user has changed the limits of tasks")
            if self._sandboxed is None:
                pid = outer = spawn(sandbox, argv, env, directory=directory, stdin=stdin)
            else:
                started = self._sandboxed.start(view_from(view), sandbox, argv, env, directory=directory, stdin=stdin)
                pid, outer = started
        except (OSError, TypeError, ValueError) as error:
            text = (error.strerror if isinstance(error, OSError) else "") or str(error)
            machine = is_machine_fault(error) or isinstance(error, NoView) or resource_limits() != self._limits
            self._send(["failed", task_id, text, machine])
            self._leave()
        else:
            self._tasks[pid] = task_id
            self._send(["started", task_id, outer], now=not self._in_cgroup)
        finally:
            os.chdir("/")

    def _leave(self) -> None:
        """Go back to the files of the machine; if that is not possible, another launcher starts the next task."""
        if self._sandboxed is not None and not self._sandboxed.leave():
            os._exit(0)

    def _reap(self) -> None:
        for child in self._children.ended():
            pid = child.si_pid
            task_id = self._tasks.pop(pid, "")
            if task_id and not self._in_cgroup:
                if pid not in self._spared:
                    # The zombie keeps the pid from being used again.
                    try:
                        os.killpg(pid, signal.SIGKILL)
                    except OSError:
                        pass
                self._spared.discard(pid)
                # If this process ends now, the spawner waits for the other one itself.
                self._send(["exited", task_id, *outcome(child), used_by_zombie(pid)])
            os.waitpid(pid, 0)
            if task_id and self._in_cgroup:
                # The kernel counts a process in the cgroup until it was waited for.
                self._send(["exited", task_id, *outcome(child)])
                self._leave()

    def _send(self, message: list[Any], *, now: bool = True) -> None:
        self._unsent += _dumps(message).encode() + b"\n"
        if now:
            self._flush()

    def _flush(self) -> None:
        data, self._unsent = self._unsent, b""
        try:
            self._link.sendall(data)
        except OSError:
            # The spawner has ended; the next one finds the task by its journal.
            if self._sandboxed is None or not self._tasks:
                os._exit(0)
