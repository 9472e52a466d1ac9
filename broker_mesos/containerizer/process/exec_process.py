"""The process of an exec session: it starts a command beside a task, and passes its input and output on.

The spawner forks it into the task's cgroup; it is never another program. It keeps the rights of the spawner, and gives
the task's processes nothing to ask it for; only its child takes on the task's view and user. It is the reaper of what
its command leaves behind, and kills all of that when the command has ended or the agent has closed the connection.
Standard library only.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import time
from collections import deque
from typing import Any

from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.exec_child import NotStarted, await_command, become_command, window
from broker_mesos.containerizer.process.exec_protocol import (
    BEGUN,
    END,
    ERR,
    INPUT,
    INPUT_WINDOW,
    OUT,
    PACKET,
    QUIT,
    REFUSED,
    SIGNAL,
    TAKEN,
    WINDOW,
    send_waiting,
)
from broker_mesos.containerizer.process.exec_target import Box, user_of

_LINK_FD = 3
_MAX_FD = 1 << 30
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_END_OF_FILE = b"\x04"  # what a person types
HANGUP_SECONDS = 1.0
"""Time between SIGHUP and SIGKILL for the processes of a command whose client has gone."""
DRAIN_SECONDS = 1.0
"""Time for which a pipe that something still has open is read after the end of the command."""
_KILL_ROUNDS = 50


def run(link: socket.socket, joined: int, box: Box, request: dict[str, Any]) -> None:
    """Serve a session until its end. The process is a fresh fork in the task's cgroup, and must end when this returns
    or raises. A byte is written to ``joined`` when it shares nothing with the spawner any more."""
    gc.disable()  # objects of the spawner that went away now would close descriptors by numbers that are ours
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in _IGNORED:  # they are for the task, and go to all processes of its cgroup
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.write(joined, b"j")
    os.dup2(link.fileno(), _LINK_FD, inheritable=False)
    os.closerange(_LINK_FD + 1, _MAX_FD)
    proctree.become_subreaper()
    link = socket.socket(fileno=_LINK_FD)
    try:
        session = _start(link, box, request)
    except (OSError, ValueError, LookupError, TypeError) as error:
        _refuse(link, "unavailable", _words(error))
    else:
        if session is not None:
            session.serve()


def _words(error: Exception) -> str:
    if isinstance(error, BlockingIOError):
        return "its task has as many processes as it may have"
    return (error.strerror or str(error)) if isinstance(error, OSError) else repr(error)


def _refuse(link: socket.socket, code: str, text: str) -> None:
    link.send(REFUSED + json.dumps({"code": code, "text": text}).encode())


def _start(link: socket.socket, box: Box, request: dict[str, Any]) -> _Session | None:
    """Start the command. Raises OSError; returns None if it was refused otherwise."""
    user = user_of(box)
    allowed = request.get("uids")
    uid = os.geteuid() if user is None else user.uid
    if allowed is not None and uid not in allowed:
        _refuse(link, "denied", str(uid))
        return None
    ours: list[int] = []  # stdin, stdout, stderr
    theirs: list[int] = []
    if not request.get("tty"):
        source, sink = os.pipe2(os.O_CLOEXEC) if request.get("stdin") else (os.open(os.devnull, os.O_RDONLY), -1)
        (out, out_end), (err, err_end) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        ours, theirs = [sink, out, err], [source, out_end, err_end]
    mine, report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        become_command(report, box, user, request, theirs)
    report.close()
    for fd in theirs:
        os.close(fd)
    try:
        pid, terminal = await_command(mine, pid)
    except NotStarted as error:
        if error.entered:
            _refuse(link, "invalid", f"cannot start {request['argv'][0]!r}: {error}")
        else:
            _refuse(link, "unavailable", str(error))
        return None
    mine.close()
    if terminal >= 0:
        ours = [terminal, terminal, -1]
    return _Session(link, pid, *ours)


def below(pid: int) -> list[proctree.Process]:
    """All living processes that descend from a process."""
    first = proctree.children(pid)
    if first is None:  # this kernel does not list them
        processes = proctree.scan()
        found = [pid]
        for each in found:
            found.extend(process.pid for process in processes.values() if process.parent == each)
        return [processes[each] for each in found[1:] if processes[each].alive]
    for each in first:
        first.extend(proctree.children(each) or ())
    return [process for each in first if (process := proctree.look(each)) is not None and process.alive]


class _Session:
    """A command that runs. ``source`` and ``sink`` are the same for a terminal."""

    def __init__(self, link: socket.socket, pid: int, sink: int, out: int, err: int) -> None:
        self._link = link
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._sink = sink
        self._tty = sink >= 0 and sink == out
        self._sources = {out: OUT, **({err: ERR} if err >= 0 else {})}
        self._out = out
        self._input = bytearray()
        self._input_ends = False
        self._outgoing: deque[bytes] = deque([BEGUN])
        self._reported = False
        self._status: int | None = None
        self._drained_at = 0.0
        link.setblocking(False)
        for fd in {sink, out, err} - {-1}:
            os.set_blocking(fd, False)

    def serve(self) -> None:
        """Pass input and output on until the command has ended, or the agent has closed the connection."""
        while True:
            if not send_waiting(self._link, self._outgoing):
                self._hang_up()
                return
            if self._status is not None and not self._sources and not self._outgoing:
                return
            events = self._poll()
            if self._link.fileno() in events and not self._receive():
                self._hang_up()
                return
            for fd in list(self._sources):
                if fd in events:
                    self._read(fd)
            if self._sink in events:
                self._write()
            if self._pidfd in events and self._status is None:
                self._reap()
            self._finish()

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        # Output is read only when the last one is away: then a signal is never behind it.
        link = self._link.fileno()
        poll.register(link, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        wanted: dict[int, int] = {} if self._outgoing else dict.fromkeys(self._sources, select.POLLIN)
        if self._input and self._sink >= 0:
            wanted[self._sink] = wanted.get(self._sink, 0) | select.POLLOUT
        for fd, mask in wanted.items():
            poll.register(fd, mask)
        if self._status is None:
            poll.register(self._pidfd, select.POLLIN)
        timeout = None if self._status is None else max(0.0, self._drained_at - time.monotonic()) * 1000
        return dict(poll.poll(timeout if self._sources else None))

    def _receive(self) -> bool:
        """Handle all packets of the agent. Returns False if it has closed the connection, or breaks the rules."""
        while True:
            try:
                data = self._link.recv(2 * PACKET)
            except BlockingIOError:
                return True
            except OSError:
                return False
            kind, rest = data[:1], data[1:]
            if not data or len(self._input) + len(rest) > INPUT_WINDOW:
                return False
            try:
                if kind == INPUT:
                    self._take(rest)
                elif kind == END:
                    self._input_ends = True
                    self._end_input()
                elif kind == WINDOW and self._tty:
                    rows, columns = json.loads(rest)
                    window(self._out, int(rows), int(columns))
                elif kind == SIGNAL and self._status is None:
                    os.killpg(self._pid, int(rest))
            except (OSError, ValueError, TypeError):
                pass  # the process group or the terminal has gone

    def _take(self, data: bytes) -> None:
        if self._sink < 0:  # nobody reads it any more
            self._outgoing.append(TAKEN + str(len(data)).encode())
            return
        self._input += data
        self._write()

    def _write(self) -> None:
        """Write input to the command, and report what it has taken."""
        while self._input and self._sink >= 0:
            try:
                written = os.write(self._sink, self._input[:PACKET])
            except BlockingIOError:
                break
            except OSError:  # the command has closed its end
                written = len(self._input)
                self._close_sink()
            del self._input[:written]
            self._outgoing.append(TAKEN + str(written).encode())
        self._end_input()

    def _end_input(self) -> None:
        if not self._input_ends or self._input or self._sink < 0:
            return
        if not self._tty:
            self._close_sink()
            return
        self._input_ends = False
        try:
            os.write(self._sink, _END_OF_FILE)
        except OSError:
            pass

    def _close_sink(self) -> None:
        if not self._tty:
            os.close(self._sink)
        self._sink = -1

    def _read(self, fd: int) -> None:
        """Read output, for the agent to be sent."""
        if self._outgoing and self._status is None:
            return
        try:
            data = os.read(fd, PACKET)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if not data:
            self._close_source(fd)
            return
        self._drained_at = time.monotonic() + DRAIN_SECONDS
        self._outgoing.append(self._sources[fd] + data)

    def _close_source(self, fd: int) -> None:
        del self._sources[fd]
        if fd == self._sink:
            self._sink = -1
        os.close(fd)

    def _reap(self) -> None:
        """Note how the command has ended, and end what it has left behind: output of that would never end."""
        _, self._status = os.waitpid(self._pid, 0)
        self._kill_all()
        self._drained_at = time.monotonic() + DRAIN_SECONDS

    def _finish(self) -> None:
        if self._status is None:
            self._wait_for_orphans()
            return
        if self._sources and not self._outgoing and time.monotonic() >= self._drained_at:
            for fd in list(self._sources):
                self._close_source(fd)
        if not self._sources and not self._reported:
            self._reported = True
            signaled = os.WIFSIGNALED(self._status)
            end = [None, os.WTERMSIG(self._status)] if signaled else [os.WEXITSTATUS(self._status), None]
            self._outgoing.append(QUIT + json.dumps(end).encode())

    def _wait_for_orphans(self) -> None:
        """Wait for what the command has left behind so far, of which this process is the parent."""
        while True:
            try:
                child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if child is None or child.si_pid == self._pid:
                return
            os.waitpid(child.si_pid, 0)

    def _hang_up(self) -> None:
        """End all processes of the command: those that handle SIGHUP have a moment for it."""
        self._link.close()
        if self._status is None:
            for process in self._descendants():
                proctree.send(process, signal.SIGHUP)
                proctree.send(process, signal.SIGCONT)
            for fd in list(self._sources):
                self._close_source(fd)
            select.select([self._pidfd], [], [], HANGUP_SECONDS)
        self._kill_all()

    def _kill_all(self) -> None:
        for _ in range(_KILL_ROUNDS):
            left = self._descendants()
            for process in left:
                proctree.send(process, signal.SIGKILL)
            self._wait_for_all()
            if not left:
                return
            time.sleep(0.002)

    def _wait_for_all(self) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def _descendants(self) -> list[proctree.Process]:
        return below(os.getpid())
