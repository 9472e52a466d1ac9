"""The spawner's end of the socket: one agent at a time, one JSON array on each line, never blocking.

The socket is ``<work_dir>/meta/spawner.sock``. Both sides write JSON arrays, one on each
line, many at once::

    ["launch", task_id, argv, env]     → ["started", task_id, pid, ticks, at] or ["failed", task_id, message],
                                         and later ["exited", task_id, code, signal, at]
    [... env, line, width]             the same; queued while ``width`` tasks of that queue run (0: any number)
    [... line, width, options]         the same; the options are ``directory``, in which the task runs, ``stdin``:
                                       whether it reads the file of that name in its sandbox, ``user``: the ids
                                       (uid, gid, list of groups) of another user, as which it runs, and the
                                       ``limits`` of the journal, without ``cgroup`` (see ``task_limits.py``
                                       and ``namespaces/view.py``)
    ["seat", 0, user]                  tasks of this user are to be expected
    ["protect", 0]                     be closed to other processes of the same user, and give tasks no way to gain
                                       rights
    ["hold", task_id, line]            this running task belongs to that queue
    ["withdraw", task_id]              → ["failed", task_id, message], if it is still queued
    ["kill", task_id, grace]           SIGTERM to the process tree, SIGKILL after grace seconds
    ["forget", task_id]                the outcome is stored elsewhere
    ["limits", output, free]           bytes of one output file at most, bytes of free disk at least
                                       a running task may have → ["note", task_id, text], for its status
    ["isolate", pid, cpus, memory]     hold tasks to limits, and all together to these CPUs and bytes; pid: the agent
                                       → ["isolation", words, reason, missing]: what they are held to, or
                                         why not; by word that is not there: why
                                       what an operator has to know → ["problems", [text, …]], when that changes
    ["usage", 0]                       → ["usage", {task_id: [cpu seconds, rss bytes]}]
    ["end", grace]                     kill everything, then → ["bye"] and exit

A connection begins with ``["hello", version, pid, boot id]`` and the records of all tasks that run or whose
outcome was not forgotten, then ``["ready"]``. A new connection replaces the old one, whose requests are
handled first; the new one must send its queued launches again. Without an agent and without a process the
spawner ends; the journal keeps the outcomes.

The spawner imports this file: standard library only.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from broker_mesos.containerizer.json_lines import JsonLines
from broker_mesos.containerizer.process.journal import Record, encode

SOCKET = "spawner.sock"
MAX_BUFFER = 64 * 1024 * 1024
"""Maximum size of one request, or of events that the agent has not read, in bytes; then the connection is closed."""


def address(folder_fd: int) -> str:
    """The socket's address by a descriptor of its folder, since a path may be longer than the 108 bytes of an
    address."""
    return f"/proc/self/fd/{folder_fd}/{SOCKET}"


class AgentLink:
    """Listens for the agent, reads its requests and writes events. At most one agent is connected."""

    def __init__(self, folder: str, epoll: select.epoll, log: Callable[[str], None]) -> None:
        self._epoll = epoll
        self._log = log
        self._agent: socket.socket | None = None
        self._lines = JsonLines()
        self._output = bytearray()
        self._waits_to_write = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                os.unlink(address(fd))
            except FileNotFoundError:
                pass
            self._listener.bind(address(fd))
        finally:
            os.close(fd)
        self._listener.listen(8)
        epoll.register(self._listener, select.EPOLLIN)

    @property
    def connected(self) -> bool:
        """Whether an agent is connected."""
        return self._agent is not None

    @property
    def unsent(self) -> bool:
        """Whether there are events that the agent has not read yet."""
        return bool(self._output)

    def listens_on(self, fd: int) -> bool:
        """Whether this descriptor is the listening one."""
        return fd == self._listener.fileno()

    def is_agent(self, fd: int) -> bool:
        """Whether this descriptor is that of the agent's connection."""
        return self._agent is not None and fd == self._agent.fileno()

    def answer(self) -> socket.socket | None:
        """Accept the next connection; None if it was closed already, or belongs to another user."""
        try:
            agent, _ = self._listener.accept()
        except OSError:
            return None
        uid = struct.unpack("3i", agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (0, os.getuid()):
            agent.close()
            return None
        return agent

    def connect(self, agent: socket.socket) -> None:
        """Use this connection as the agent's from now on."""
        self.drop()
        agent.setblocking(False)
        self._agent = agent
        self._epoll.register(agent, select.EPOLLIN)

    def drop(self) -> None:
        """Close the connection. The greeting of the next connection contains what was not sent."""
        if self._agent is not None:
            self._epoll.unregister(self._agent)
            self._agent.close()
            self._agent = None
        self._lines.clear()
        self._output.clear()
        self._waits_to_write = False

    def receive(self) -> list[list[Any]]:
        """All received requests in order, including the last ones of an agent that has closed its connection."""
        requests: list[list[Any]] = []
        while self._agent is not None:
            try:
                data = self._agent.recv(262144)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.drop()
                break
            for line in self._lines.feed(data):
                self._decode(line, requests)
            if self._lines.buffered > MAX_BUFFER:
                self._log("a request is too long; closing the connection")
                self.drop()
        return requests

    def _decode(self, line: bytes, requests: list[list[Any]]) -> None:
        try:
            request = json.loads(line)
            if not all(isinstance(request[i], kind) for i, kind in ((0, str), (1, (str, int, float)))):
                raise ValueError("not [name, argument, ...]")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            self._log(f"unreadable request: {error}")
            return
        requests.append(request)

    def send(self, records: Iterable[Record]) -> None:
        """Send as much as the agent takes now; the rest follows when the socket is writable again."""
        self._output += encode(records)
        if self._agent is None:
            self._output.clear()
            return
        try:
            while self._output:
                sent = self._agent.send(self._output)
                del self._output[:sent]
        except BlockingIOError:
            if len(self._output) > MAX_BUFFER:
                self._log("the agent does not read; closing the connection")
                self.drop()
                return
        except OSError:
            # The agent has gone; its last requests may still be unread.
            self._output.clear()
        if bool(self._output) != self._waits_to_write:
            self._waits_to_write = bool(self._output)
            self._epoll.modify(self._agent, select.EPOLLIN | (select.EPOLLOUT if self._output else 0))
