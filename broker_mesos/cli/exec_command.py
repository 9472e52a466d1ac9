"""``bmesos exec``: runs a command beside a task, with this terminal as its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.escape import Escape
from broker_mesos.cli.options import Call
from broker_mesos.client.exec_session import MAX_INPUT, ExecSession
from broker_mesos.errors import BrokerMesosError, InvalidInput, Unavailable

SHELL = ("/bin/sh", "-c", "command -v bash > /dev/null && exec bash; exec sh")
"""The command of an interactive session that names none."""
_INTERRUPT, _WINDOW, _STOP = b"i", b"w", b"s"


def exec_command(
    call: Call,
    task: Annotated[str, Argument(metavar="TASK", help="A task: JOB.INDEX, or JOB if one task of it runs.")],
    stdin: Annotated[bool, Option("--stdin", "-i", help="Pass the input of this command on.")] = False,
    terminal: Annotated[
        bool, Option("--tty", "-t", help="Run it on a terminal, which is this one; includes -i.")
    ] = False,
) -> int:
    """Run a command, or a shell, beside a task that runs.

    It has the user, environment, sandbox and limits of the task, and ends with it. Without a command, -t runs a shell.

    Ctrl-C goes to the command; without -t, a second one leaves, which ends it. With -t, Enter ~ . leaves. The exit code
    is that of the command, or 128 + N for signal N.
    """
    if call.json:
        raise InvalidInput("exec passes the output on as it comes: leave out -o json")
    if call.command is None and not terminal:
        raise InvalidInput(f"give a command after --, or -t for a shell: bmesos exec -it {task}")
    if call.command is not None and not call.command:
        raise InvalidInput("there is no command after --")
    if terminal and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidInput("-t needs a terminal for input and output: leave it out, or use -i alone")
    size = _size() if terminal else None
    argv = call.command or SHELL
    session = ExecSession(
        call.jobs(), task, argv, stdin=stdin or terminal, tty=size, term=os.environ.get("TERM", "") if terminal else ""
    )
    with ExitStack() as stack:
        stack.enter_context(session)
        sender = _Sender(session, sys.stdin.fileno() if stdin or terminal else -1, terminal)
        stack.callback(sender.stop)
        stack.enter_context(_handled(sender.on_signal, terminal))
        if terminal:
            stack.enter_context(_raw(sys.stdin.fileno()))
        sender.start()
        try:
            _copy(session)
        except _Left:
            pass
    if session.end is None:
        show.note("bmesos: left the session, which ends the command")
        return 1
    if session.end.message:
        raise Unavailable(session.end.message)
    return session.end.code


def _copy(session: ExecSession) -> None:
    for stream, data in session.output():
        sink = sys.stderr.buffer if stream == "stderr" else sys.stdout.buffer
        sink.write(data)
        sink.flush()


_LEAVE = signal.SIGUSR1
"""Interrupts the main thread. It is no signal that whoever has started this process may have had ignored, as SIGHUP."""


class _Left(BaseException):
    """The user leaves the session."""


def _size() -> tuple[int, int]:
    found = shutil.get_terminal_size()
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        pass
    return found.lines, found.columns


class _Sender(threading.Thread):
    """Sends what is typed, signals and the size of the window, in their order."""

    def __init__(self, session: ExecSession, source: int, terminal: bool) -> None:
        super().__init__(name="exec input", daemon=True)
        self._session = session
        self._source = source
        self._escape = Escape() if terminal else None
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._stopped = False
        self._interrupts = 0
        self.left = False
        """Whether the user has typed the escape that leaves the session."""

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal of this process, in its main thread."""
        if self.left:
            raise _Left
        if number == signal.SIGWINCH:
            self._notify(_WINDOW)
        elif number == signal.SIGINT and not self._interrupts:
            self._interrupts += 1
            self._notify(_INTERRUPT)
        else:
            raise SystemExit(128 + number)

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._notify(_STOP)

    def _notify(self, event: bytes) -> None:
        try:
            os.write(self._wake, event)
        except BlockingIOError:
            pass  # so many wait already that another one changes nothing

    def run(self) -> None:
        try:
            while not self._stopped:
                sources = [self._woken, *([self._source] if self._source >= 0 else [])]
                ready, _, _ = select.select(sources, [], [])
                if self._woken in ready:
                    self._control()
                elif self._source in ready:
                    self._pass_on()
        except BrokerMesosError:
            pass  # the reader of the output finds out the same

    def _control(self, seconds: float = 0.0) -> bool:
        """Send signals and the size of the window, after waiting for some for a time in seconds. Returns whether to
        stop."""
        if seconds and not select.select([self._woken], [], [], seconds)[0]:
            return self._stopped
        events = os.read(self._woken, 4096)
        if _INTERRUPT in events and not self._stopped:
            self._session.signal("INT")
        if _WINDOW in events and not self._stopped:
            self._session.resize(*_size())
        return self._stopped

    def _pass_on(self) -> None:
        try:
            data = os.read(self._source, MAX_INPUT)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self._source = -1
            self._session.write(b"", end=True, wait=self._control)
            return
        if self._escape is not None:
            data, self.left = self._escape.filter(data)
        if self.left:
            self._source = -1
            # The main thread may wait for an answer that does not come, and so might this one.
            signal.pthread_kill(threading.main_thread().ident or 0, _LEAVE)
            return
        self._session.write(data, wait=self._control)


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Have a terminal pass on everything that is typed, and restore it afterwards."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # what was typed already is not lost
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], Any], terminal: bool) -> Iterator[None]:
    """Handle signals with this function."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, *([signal.SIGWINCH] if terminal else [])]
    before = {each: signal.signal(each, handler) for each in numbers if signal.getsignal(each) is not signal.SIG_IGN}
    before[_LEAVE] = signal.signal(_LEAVE, handler)
    try:
        yield
    finally:
        for each, earlier in before.items():
            signal.signal(each, earlier)
