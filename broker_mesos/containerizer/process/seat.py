"""A seat: a process that has become one user of the machine, and starts the tasks of that user.

The spawner forks it, and keeps it: to fork for each task would take three times as long as to ask a seat. Both write
JSON arrays, one on each line::

    ["launch", task_id, argv, env, options]   → ["started", task_id, pid] or ["failed", task_id, reason, machine],
                                                and later ["exited", task_id, pid, code, signal]
    ["spare", pid]                            leave the group of this process alone when the process ends: it is killed

The seat ends when the spawner closes the connection. If a seat ends before that, its tasks become children of the
spawner, which waits for them itself: each end is reported before the process is waited for, so that none gets lost.
A task may signal its seat, since both have the same user; it cannot read or trace it. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import socket
from typing import Any

from broker_mesos.containerizer.credentials import Ids, become
from broker_mesos.containerizer.process import launching

_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
MAX_MESSAGE = 65536
"""The largest part of a message that is read at once, in bytes."""


def run(connection: socket.socket, user: Ids, sandboxes: str) -> None:
    """Serve in this process, which was forked from the spawner, until the connection is closed. Raises OSError if it
    cannot become the user."""
    # Whatever else is open belongs to the spawner: its lock, its journal, the agent's connection, those of other seats.
    fd = os.dup2(connection.fileno(), 3, inheritable=False)
    os.closerange(fd + 1, 2**31 - 1)
    os.chdir("/")
    launching.lower_file_limit()
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    become(user)
    _Seat(socket.socket(fileno=fd), woken, sandboxes).serve()


def _limits() -> list[tuple[int, int]]:
    """The resource limits of this process, which its tasks inherit."""
    return [resource.getrlimit(each) for each in _LIMITS]


class _Seat:
    def __init__(self, connection: socket.socket, woken: int, sandboxes: str) -> None:
        self._connection = connection
        self._woken = woken
        self._sandboxes = sandboxes
        self._tasks: dict[int, str] = {}
        self._spared: set[int] = set()
        self._rest = b""
        self._limits = _limits()

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            poll.poll()
            try:
                os.read(self._woken, MAX_MESSAGE)
            except BlockingIOError:
                pass
            # Requests first: a process that is killed is spared before it is waited for.
            if not self._receive():
                return
            self._reap()

    def _receive(self) -> bool:
        """Handle all requests that are there. Returns False at the end of the connection."""
        while True:
            try:
                data = self._connection.recv(MAX_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if request[0] == "launch":
                    self._launch(*request[1:5])
                elif request[1] in self._tasks:
                    self._spared.add(request[1])

    def _launch(self, task_id: str, argv: list[str], env: dict[str, str], options: dict[str, Any]) -> None:
        try:
            if _limits() != self._limits:
                raise OSError(errno.EPERM, "a task of its user has changed the limits of tasks")
            pid = launching.spawn(self._sandboxes + task_id, argv, env, **options)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._send(["failed", task_id, reason, launching.is_machine_fault(error) or _limits() != self._limits])
        else:
            self._tasks[pid] = task_id
            self._send(["started", task_id, pid])
        os.chdir("/")

    def _reap(self) -> None:
        while True:
            try:
                child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if child is None:
                return
            pid = child.si_pid
            if (task_id := self._tasks.pop(pid, None)) is not None:
                if pid in self._spared:
                    self._spared.discard(pid)
                else:
                    # The zombie keeps the pid from being used again.
                    try:
                        os.killpg(pid, signal.SIGKILL)
                    except OSError:
                        pass
                ended = [child.si_status, None] if child.si_code == os.CLD_EXITED else [None, child.si_status]
                self._send(["exited", task_id, pid, *ended])
            os.waitpid(pid, 0)

    def _send(self, record: list[Any]) -> None:
        try:
            self._connection.sendall(json.dumps(record).encode() + b"\n")
        except OSError:
            os._exit(0)  # the spawner has gone, and nobody else waits for this
