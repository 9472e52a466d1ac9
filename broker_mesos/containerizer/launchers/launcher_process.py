"""What a launcher does, from its fork to its end; it is never another program.

It shares nothing with the spawner but a socket, on which each message is one JSON array::

                                         → ["joined"], once it is in its cgroup
    ["become", profile]                  → ["ready"] or ["refused", text], and it ends
    ["start", sandbox, argv, env, directory, stdin]
                                         → ["started", pid], and later ["exited", status, cpu seconds, peak rss bytes,
                                           blocks read, blocks written], or ["failed", message, machine]

It starts one task at a time, and takes no other request meanwhile: kills go to the cgroup. If the spawner ends, it
waits for its task and ends, too; what a task leaves behind goes to the spawner, which is its reaper.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
from typing import Any

from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.launchers.privileges import Refused, become, resource_limits
from broker_mesos.containerizer.launchers.profile import profile_of
from broker_mesos.containerizer.process.launching import is_machine_fault, lower_file_limit, spawn

_SOCKET_FD = 3
_FIRST_FREE_FD = 4
_MAX_FD = 1 << 30
_EMPTY = bytearray(1)

_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def run(end: socket.socket, group: TaskCgroup) -> None:
    """Serve requests from ``end`` until the spawner closes its own. The process is a fresh fork in the cgroup; it must
    end when this returns or raises."""
    _separate(end.fileno())
    link = socket.socket(fileno=_SOCKET_FD)
    _send(link, ["joined"])
    limits: list[tuple[int, int]] = []
    while (request := _receive(link)) is not None:
        if request[0] == "become":
            try:
                lower_file_limit()
                become(profile_of(request[1]))
            except Refused as error:
                _send(link, ["refused", error.strerror])
                return
            except (TypeError, ValueError) as error:
                _send(link, ["refused", str(error)])
                return
            limits = resource_limits()
            _send(link, ["ready"])
        elif resource_limits() != limits:
            _send(link, ["failed", "a task of its user has changed the limits of tasks", True])
        elif request[0] == "start":
            _start(link, *request[1:])


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


def _start(
    link: socket.socket, sandbox: str, argv: list[str], env: dict[str, str], directory: str, stdin: bool
) -> None:
    try:
        pid = spawn(sandbox, argv, env, directory=directory, stdin=stdin)
    except (OSError, TypeError, ValueError) as error:
        text = (error.strerror if isinstance(error, OSError) else "") or str(error)
        _send(link, ["failed", text, is_machine_fault(error)])
        return
    finally:
        os.chdir("/")
    _send(link, ["started", pid])
    _, status, used = os.wait4(pid, 0)
    cpu = round(used.ru_utime + used.ru_stime, 6)
    _send(link, ["exited", status, cpu, used.ru_maxrss << 10, used.ru_inblock, used.ru_oublock])


def _send(link: socket.socket, message: list[Any]) -> None:
    try:
        link.send(_dumps(message).encode())
    except OSError:
        pass  # the spawner has ended; the next one finds the task by its journal, and the end of it by the cgroup


def _receive(link: socket.socket) -> list[Any] | None:
    """The next request; None if there will be none."""
    length = link.recv_into(_EMPTY, 1, socket.MSG_PEEK | socket.MSG_TRUNC)
    if length == 0:
        return None
    request: list[Any] = json.loads(link.recv(length))
    return request
