"""The seats of the spawner, one for each user that tasks run as, and the tasks that they are starting; see ``seat.py``.

A seat has the user of its tasks, which may stop, end or limit it. So nothing here waits for one: a seat that is
stopped, or does not answer, is killed, and the next launch makes another. Standard library only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection
from typing import Any

from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.process import proctree, seat
from broker_mesos.containerizer.process.journal import Entry

ANSWER_SECONDS = 5.0
"""Time within which a seat must have started a task, in seconds."""
ENDED = "the process that starts tasks of its user has ended"

OnStarted = Callable[[Entry, int, float | None], None]
OnFailed = Callable[[Entry, str, bool], None]
OnExited = Callable[[Entry, int | None, int | None], None]


class Seat:
    """The spawner's end of the connection to one seat."""

    def __init__(self, user: Ids, pid: int, connection: socket.socket) -> None:
        self.user = user
        self.pid = pid
        self.connection = connection
        self.fd = connection.fileno()
        self.input = b""
        self.output = bytearray()


class Starting:
    """A task that a seat has been asked to start."""

    def __init__(self, entry: Entry, seat: Seat, request: list[Any]) -> None:
        self.entry = entry
        self.seat = seat
        self.request = request
        self.since = time.monotonic()
        self.kill: float | None = None
        """The grace, in seconds, of a kill that was requested meanwhile."""
        self.again = False
        """Whether this is the second attempt, with another seat."""


class Seats:
    """All seats. ``started`` (with the pid, and the grace of a kill that was requested meanwhile), ``failed`` (with a
    reason, and whether the machine is to blame) and ``exited`` (with an exit code or a signal) are called with the
    tasks of their answers."""

    def __init__(
        self, epoll: select.epoll, sandboxes: str, started: OnStarted, failed: OnFailed, exited: OnExited
    ) -> None:
        self._epoll = epoll
        self._sandboxes = sandboxes
        self._prefix = b"BMESOS_SANDBOX=" + os.fsencode(sandboxes)
        self._on_started = started
        self._on_failed = failed
        self._on_exited = exited
        self._by_user: dict[Ids, Seat] = {}
        self._by_fd: dict[int, Seat] = {}
        self._running: dict[str, tuple[Entry, Seat]] = {}  # those whose seat waits for them
        self.starting: dict[str, Starting] = {}
        """The tasks that are being started, by id."""

    def __contains__(self, fd: int) -> bool:
        """Whether this descriptor is that of a seat."""
        return fd in self._by_fd

    @property
    def pids(self) -> Collection[int]:
        """The processes of all seats."""
        return [each.pid for each in self._by_fd.values()]

    def prepare(self, user: Ids) -> Seat:
        """Make the seat of a user, unless there is one. Raises OSError."""
        if (found := self._by_user.get(user)) is not None:
            return found
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                seat.run(theirs, user, self._sandboxes)
                os._exit(0)
            except BaseException as error:
                os.write(2, f"a seat of user {user.uid} ends: {error!r}\n".encode(errors="replace"))
            finally:
                os._exit(1)
        theirs.close()
        ours.setblocking(False)
        made = self._by_user[user] = self._by_fd[ours.fileno()] = Seat(user, pid, ours)
        self._epoll.register(made.fd, select.EPOLLIN)
        return made

    def launch(self, entry: Entry, user: Ids, argv: list[str], env: dict[str, str], options: dict[str, Any]) -> None:
        """Ask a seat of the user to start a task. ``started`` or ``failed`` follows, and then ``exited``, unless the
        seat has ended by then: then the task is a child of this process. Raises OSError."""
        made = self.prepare(user)
        request = ["launch", entry.task_id, argv, env, options]
        self.starting[entry.task_id] = Starting(entry, made, request)
        self._send(made, request)

    def spare(self, entry: Entry) -> None:
        """Leave the end of a task's process group to this process: the task is being killed."""
        if (found := self._running.get(entry.task_id)) is not None:
            self._send(found[1], ["spare", entry.pid])

    def receive(self, fd: int, writable: bool = False) -> None:
        """Handle the answers of a seat, and send it what it had no room for."""
        made = self._by_fd.get(fd)
        if made is None:
            return
        if writable:
            self._send(made)
        if not self._read(made):
            self.lose(made)

    def ended(self, pid: int) -> bool:
        """Handle the end of a child of this process, if it is a seat; returns whether it was one."""
        for made in self._by_fd.values():
            if made.pid == pid:
                self._read(made)
                self.lose(made)
                return True
        return False

    def check(self) -> None:
        """Kill seats that are stopped or do not answer, and those that were replaced and have no tasks any more."""
        late = time.monotonic() - ANSWER_SECONDS
        silent = {each.seat.pid for each in self.starting.values() if each.since < late}
        for made in list(self._by_fd.values()):
            process = proctree.look(made.pid)
            stuck = made.pid in silent or (process is not None and process.state in "Tt")
            if stuck or (self._by_user.get(made.user) is not made and not self._has_tasks(made)):
                self.lose(made)

    def settle(self) -> None:
        """Wait until no task is being started, at most ANSWER_SECONDS."""
        while self.starting:
            poll = select.poll()
            for made in self._by_fd.values():
                poll.register(made.fd, select.POLLIN | (select.POLLOUT if made.output else 0))
            for fd, what in poll.poll(100):
                self.receive(fd, bool(what & select.POLLOUT))
            self.check()

    def lose(self, made: Seat) -> None:
        """End a seat. Its tasks run on as children of this process; those that it had not started have failed."""
        if self._by_user.get(made.user) is made:
            del self._by_user[made.user]
        if self._by_fd.pop(made.fd, None) is None:
            return
        self._epoll.unregister(made.fd)
        try:
            os.kill(made.pid, signal.SIGKILL)
        except OSError:
            pass
        os.waitpid(made.pid, 0)  # only then its children are ours
        self._read(made)
        made.connection.close()
        for task_id in [task_id for task_id, (_, its) in self._running.items() if its is made]:
            del self._running[task_id]
        for task in [each for each in self.starting.values() if each.seat is made]:
            if pid := self._process_of(task.entry.task_id):
                del self.starting[task.entry.task_id]
                self._on_started(task.entry, pid, task.kill)
            else:
                # If its process begins only now, a sweep finds a process of no known task.
                self._failed(task, ENDED, machine=False)

    def close(self) -> None:
        """End all seats, when no task runs."""
        for made in list(self._by_fd.values()):
            self.lose(made)

    # -- messages ----------------------------------------------------------------------------------------

    def _send(self, made: Seat, *requests: list[Any]) -> None:
        waited = bool(made.output)
        for request in requests:
            made.output += json.dumps(request).encode() + b"\n"
        try:
            while made.output:
                del made.output[: made.connection.send(made.output)]
        except BlockingIOError:
            pass
        except OSError:
            made.output.clear()  # it has ended, which the epoll reports
        if bool(made.output) != waited and made.fd in self._by_fd:
            self._epoll.modify(made.fd, select.EPOLLIN | (select.EPOLLOUT if made.output else 0))

    def _read(self, made: Seat) -> bool:
        """Handle the answers that are there. Returns False at the end of the connection."""
        while True:
            try:
                data = made.connection.recv(262144)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            *lines, made.input = (made.input + data).split(b"\n")
            for line in lines:
                self._handle(made, json.loads(line))

    def _handle(self, made: Seat, record: list[Any]) -> None:
        kind, task_id = record[0], record[1]
        task = self.starting.get(task_id)
        if kind == "exited":
            found = self._running.get(task_id)
            if found is not None and found[1] is made and found[0].pid == record[2]:
                del self._running[task_id]
                self._on_exited(found[0], record[3], record[4])
        elif task is None or task.seat is not made:
            return
        elif kind == "started":
            del self.starting[task_id]
            self._running[task_id] = task.entry, made
            self._on_started(task.entry, record[2], task.kill)
        elif kind == "failed":
            self._failed(task, record[2], machine=bool(record[3]))

    def _failed(self, task: Starting, reason: str, *, machine: bool) -> None:
        del self.starting[task.entry.task_id]
        if machine and not task.again:
            # A task of the same user may have lowered the limits of this seat, but not those of a new one.
            user = task.seat.user
            if self._by_user.get(user) is task.seat:
                del self._by_user[user]
            try:
                again = Starting(task.entry, self.prepare(user), task.request)
            except OSError:
                pass  # the machine is to blame indeed
            else:
                again.again, again.kill = True, task.kill
                self.starting[task.entry.task_id] = again
                self._send(again.seat, task.request)
                return
        self._on_failed(task.entry, f"cannot start {task.request[2][0]!r}: {reason}", machine)

    def _process_of(self, task_id: str) -> int:
        """The process of a task that a seat had started, but not reported, when it ended; 0 if there is none."""
        for pid in proctree.children(os.getpid()) or ():
            process = proctree.look(pid)
            leads = process is not None and process.alive and process.session == pid
            if leads and proctree.marker(pid, self._prefix) == task_id:
                return pid
        return 0

    def _has_tasks(self, made: Seat) -> bool:
        return any(each.seat is made for each in self.starting.values()) or any(
            its is made for _, its in self._running.values()
        )
