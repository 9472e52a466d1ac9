"""The exec sessions of the spawner: it forks a process for each, into the task's cgroup, and ends it with the task.

The agent connects for each session (``exec_protocol.py``). The spawner reads the request, and waits for some
milliseconds until the new process is in the cgroup: otherwise that could be another task's by then. All the rest is
between the agent and that process. Standard library only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from typing import Any

from broker_mesos.containerizer.cgroups import devices
from broker_mesos.containerizer.cgroups.forking import fork_into
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.namespaces.view import ports_of
from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.exec_process import below, run
from broker_mesos.containerizer.process.exec_protocol import MAX_REQUEST, REFUSED, connect_address
from broker_mesos.containerizer.process.exec_target import Box
from broker_mesos.containerizer.process.journal import Entry

MAX_CALLERS = 16
"""Connections that have sent no request yet; the oldest is closed for another one."""
MAX_SESSIONS = 64
"""More than any agent allows; it bounds what a faulty one can do."""
JOIN_SECONDS = 2.0
_KILL_ROUNDS = 4


class ExecSessions:
    """Listens in the folder ``meta``. ``tasks`` are those of the spawner, and ``group_of`` returns the cgroup of one;
    None if it has none."""

    def __init__(
        self,
        meta: str,
        sandboxes: str,
        epoll: select.epoll,
        tasks: Mapping[str, Entry],
        group_of: Callable[[Entry], TaskCgroup | None],
        log: Callable[[str], None],
    ) -> None:
        self._sandboxes = sandboxes
        self._epoll = epoll
        self._tasks = tasks
        self._group_of = group_of
        self._log = log
        self._callers: dict[int, socket.socket] = {}
        self._sessions: dict[int, str] = {}
        """The tasks by the pid of the process of a session."""
        umask = os.umask(0o077)
        os.umask(umask)
        self._umask = umask
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        fd, address = connect_address(meta)
        try:
            try:
                os.unlink(address)
            except FileNotFoundError:
                pass
            self._listener.bind(address)
        finally:
            os.close(fd)
        self._listener.listen(MAX_CALLERS)
        epoll.register(self._listener, select.EPOLLIN)

    def __contains__(self, fd: int) -> bool:
        """Whether this descriptor is that of the listener, or of a caller."""
        return fd == self._listener.fileno() or fd in self._callers

    @property
    def pids(self) -> Collection[int]:
        """The processes of all sessions."""
        return self._sessions.keys()

    def receive(self, fd: int) -> None:
        """Accept a caller, or read its request."""
        if fd == self._listener.fileno():
            self._accept()
            return
        caller = self._callers[fd]
        try:
            data = caller.recv(MAX_REQUEST + 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._forget(fd)
        with caller:
            if not data:
                return
            try:
                self._start(caller, json.loads(data))
            except _Refused as error:
                self._refuse(caller, *error.args)
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                reason = (error.strerror or str(error)) if isinstance(error, OSError) else f"bad request: {error!r}"
                self._refuse(caller, "unavailable", reason[:500])

    def ended(self, pid: int) -> bool:
        """Wait for a child of this process that has ended, if it is that of a session; returns whether it was one."""
        if self._sessions.pop(pid, None) is None:
            return False
        os.waitpid(pid, 0)
        return True

    def end(self, entry: Entry) -> None:
        """Kill the sessions of a task whose main process has ended. What a command forks meanwhile becomes a child of
        this process, as an orphan of the task."""
        for pid in [pid for pid, task_id in self._sessions.items() if task_id == entry.task_id]:
            os.kill(pid, signal.SIGSTOP)  # or it would report the end of its command, and not that of the task
            for _ in range(_KILL_ROUNDS):
                if not (left := below(pid)):
                    break
                for process in left:
                    proctree.send(process, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)  # a child that nobody has waited for
            for process in below(pid):
                proctree.send(process, signal.SIGKILL)

    def _accept(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except OSError:
            return
        uid = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (0, os.getuid()):
            caller.close()
            return
        if len(self._callers) >= MAX_CALLERS:
            oldest = next(iter(self._callers))
            self._callers[oldest].close()
            self._forget(oldest)
        caller.setblocking(False)
        self._callers[caller.fileno()] = caller
        self._epoll.register(caller.fileno(), select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        caller = self._callers.pop(fd)
        if caller.fileno() >= 0:
            self._epoll.unregister(fd)

    def _refuse(self, caller: socket.socket, code: str, text: str) -> None:
        try:
            caller.send(REFUSED + json.dumps({"code": code, "text": text}).encode())
        except OSError:
            pass

    def _start(self, caller: socket.socket, request: dict[str, Any]) -> None:
        """Fork the process of a session. Raises OSError, _Refused."""
        task_id = str(request["task_id"])
        entry = self._tasks.get(task_id)
        if entry is None or not entry.pid or entry.ended is not None or entry.failed is not None:
            raise _Refused("conflict", "")
        if len(self._sessions) >= MAX_SESSIONS:
            raise _Refused("unavailable", f"this machine has {MAX_SESSIONS} sessions already")
        box = Box(
            task_id,
            entry.pid,
            self._sandboxes + task_id,
            entry.owner,
            bool(entry.held),
            sandboxed="sandbox" in entry.held,
            ports=ports_of(entry.held),
            umask=self._umask,
        )
        group = self._group_of(entry)
        if entry.held and group is None:
            raise _Refused("unavailable", "the cgroup of its task is gone")
        joined, end = os.pipe2(os.O_CLOEXEC)
        spawner = os.getpid()
        try:
            pid = os.fork() if group is None else fork_into(group)
            if pid == 0:
                if folder := devices.folder_of(entry.pid):
                    devices.join(folder)
                run(caller, end, box, request)
        except OSError:
            if os.getpid() == spawner:
                os.close(joined)
                raise
        finally:
            if os.getpid() != spawner:
                os._exit(0)
            os.close(end)
        self._sessions[pid] = task_id
        try:
            poll = select.poll()
            poll.register(joined, select.POLLIN)
            if not poll.poll(JOIN_SECONDS * 1000) or os.read(joined, 1) != b"j":
                os.kill(pid, signal.SIGKILL)
                raise _Refused("unavailable", "its process could not join the cgroup of the task")
        finally:
            os.close(joined)


class _Refused(Exception):
    """A request that is refused: the code of an error, and the reason."""
