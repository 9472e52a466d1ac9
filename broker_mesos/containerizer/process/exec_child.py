"""The child of an exec session, from its fork to the command that it becomes. Standard library only."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Sequence
from typing import Any, NoReturn

from broker_mesos.containerizer import credentials
from broker_mesos.containerizer.launchers import privileges
from broker_mesos.containerizer.launchers.profile import Profile
from broker_mesos.containerizer.namespaces import call_filter, landlock
from broker_mesos.containerizer.process.exec_target import (
    Box,
    CannotEnter,
    View,
    enter,
    environment,
    find_view,
    rlimits,
    take_rlimits,
)
from broker_mesos.containerizer.process.launching import find_program, lower_file_limit

_RESET = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_PROCESS = b"p"
_TERMINAL = b"t"
_FAILED, _NOT_ENTERED = b"x", b"n"


def window(fd: int, rows: int, columns: int) -> None:
    """Set the size of a terminal. Raises OSError."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def become_command(
    report: socket.socket, box: Box, user: credentials.Ids | None, request: dict[str, Any], fds: list[int]
) -> NoReturn:
    """Become the command of a session. ``fds`` are its stdin, stdout and stderr; none if it gets a terminal, whose
    other end is sent over ``report``. So is the reason if it cannot be started: this does not return."""
    try:
        env, inside = _take_view(box, user, request)
        # A namespace of processes is for the children of the one that enters it.
        if inside and (pid := os.fork()):
            report.send(_PROCESS + str(pid).encode())
            os._exit(0)
        os.setsid()
        if request.get("tty"):
            fds = [_open_terminal(report, int(request["rows"]), int(request["columns"]))] * 3
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        _enter_folder(env)
        argv: list[str] = request["argv"]
        path = env.get(b"PATH", os.fsencode(os.defpath)).decode("utf-8", "surrogateescape")
        program = find_program(argv[0], path)
        landlock.restrict(box.ports, sockets=box.sandboxed)  # no process can enter that of another one
        if box.sandboxed:
            call_filter.install()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for each in _RESET:
            signal.signal(each, signal.SIG_DFL)
        os.execve(program, [os.fsencode(word) for word in argv], env)
    except (CannotEnter, privileges.Refused) as error:
        report.send(_NOT_ENTERED + (error.strerror or str(error)).encode("utf-8", "replace")[:2_000])
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        report.send(_FAILED + reason.encode("utf-8", "replace")[:2_000])
    finally:
        os._exit(127)


class NotStarted(Exception):
    """A command that was not started, for a reason in one line. ``entered`` is whether it is the command's fault, and
    not that the task could not be entered. The child has been waited for."""

    def __init__(self, reason: str, entered: bool) -> None:
        super().__init__(reason)
        self.entered = entered


def await_command(report: socket.socket, child: int) -> tuple[int, int]:
    """Wait until a child has become its command. Returns the pid of the command, and the other end of its terminal (-1:
    it has none). Raises NotStarted."""
    pid, terminal = child, -1
    failure: NotStarted | None = None
    while True:
        data, fds, _, _ = socket.recv_fds(report, 4096, 1)
        if not data:
            if pid != child:
                os.waitpid(child, 0)  # it has ended, and the command is a child of this process now
            if failure is not None:
                os.waitpid(pid, 0)
                raise failure
            return pid, terminal
        if data[:1] == _TERMINAL and fds:
            terminal = fds[0]
            os.set_inheritable(terminal, False)
        elif data[:1] == _PROCESS:
            pid = int(data[1:])
        elif data[:1] in (_FAILED, _NOT_ENTERED):
            failure = NotStarted(data[1:].decode("utf-8", "replace"), data[:1] == _FAILED)


def _environment(box: Box, view: View, request: dict[str, Any]) -> dict[bytes, bytes]:
    """The environment of the task with what the session adds, or that of the request if it cannot be read."""
    found = environment(view.pid)
    if b"BMESOS_TASK_ID" not in found and view.pid != box.pid:
        found = environment(box.pid)
    if b"BMESOS_TASK_ID" not in found:  # the task has overwritten it, or no other process may read it
        found = {os.fsencode(name): os.fsencode(value) for name, value in request["env"].items()}
    found.update({os.fsencode(name): os.fsencode(value) for name, value in request["set"].items()})
    return found


def _take_view(box: Box, user: credentials.Ids | None, request: dict[str, Any]) -> tuple[dict[bytes, bytes], bool]:
    """Take on the namespaces of the task, and give up what it does not have either. Returns the environment of the
    command, and whether a namespace of processes was entered. Raises OSError."""
    limits = rlimits(box.pid)
    view = _view(box)
    if view is not None and not view.of_user:
        env = _environment(box, view, request)
        enter(view)
        _confine(box, user, limits)
    else:
        _confine(box, user, limits)
        view = find_view(box)
        env = _environment(box, view, request)
        enter(view)
        privileges.drop_all_capabilities()
    return env, any(kind == "pid" for kind, _ in view.namespaces)


def _view(box: Box) -> View | None:
    """The view of a task, as far as this process may see it; None if its user may see more."""
    try:
        return find_view(box)
    except CannotEnter:
        return None


def _confine(box: Box, user: credentials.Ids | None, limits: Sequence[tuple[int, tuple[int, int]]]) -> None:
    """Give up what the task does not have either. Raises OSError."""
    lower_file_limit()
    take_rlimits(list(limits))
    if box.held:
        privileges.become(Profile(user, umask=box.umask))
    elif user is not None:
        credentials.become(user)


def _open_terminal(report: socket.socket, rows: int, columns: int) -> int:
    """A new terminal, which is that of this session, and belongs to the task's user. Raises OSError."""
    master, slave = os.openpty()
    window(slave, rows, columns)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    socket.send_fds(report, [_TERMINAL], [master])
    os.close(master)
    return slave


def _enter_folder(env: dict[bytes, bytes]) -> None:
    """Go to the task's sandbox, which has its name in the variable in its own view as well."""
    for folder in (env.get(b"BMESOS_SANDBOX", b""), b"/"):
        try:
            os.chdir(folder)
            return
        except OSError:
            continue
