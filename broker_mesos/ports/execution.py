"""Commands that run beside a task: what a containerizer starts for an exec session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """A command to run beside a task."""

    task_id: str
    exec_id: str
    argv: tuple[str, ...]
    stdin: bool = False
    """Whether it reads input; else its stdin is empty."""
    tty: bool = False
    """Whether it runs on a terminal of its own, of ``rows`` and ``columns``."""
    rows: int = 0
    columns: int = 0
    term: str = ""
    """The type of that terminal."""
    task_users: tuple[str, ...] = ("*",)
    """The users as which it may run, besides the one that tasks run as which ask for none; ``*`` for any."""


class ExecEnd(NamedTuple):
    """How a session has ended: by an exit code, by a signal, or before its command was known to end (``lost``)."""

    exit_code: int | None
    signal: int | None
    lost: bool = False


class ExecRefused(Exception):
    """A command that was not started: the ``code`` of an error (``conflict`` if its task does not run, ``denied`` if it
    may not run as the user of the task), and its ``text``."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Output(Protocol):
    """The output of a command that has not been forgotten: its bytes from an offset on."""

    start: int
    data: bytearray


class Execution(Protocol):
    """A command that runs beside a task. It waits when nobody forgets its output."""

    @property
    def out(self) -> Output:
        """What it has written to stdout, or to its terminal."""
        ...

    @property
    def err(self) -> Output:
        """What it has written to stderr."""
        ...

    @property
    def ended(self) -> ExecEnd | None:
        """How it has ended; None while it runs."""
        ...

    def forget(self, out: int, err: int) -> None:
        """Forget output that has arrived, by its offsets. Raises InvalidInput for offsets that are not there yet."""
        ...

    def write(self, data: bytes) -> int:
        """Send input; returns how much of it was taken."""
        ...

    def end_input(self) -> None:
        """There is no more input."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to it and its group."""
        ...

    def close(self) -> None:
        """End it, with all of its processes. Idempotent."""
        ...


OnExecChange = Callable[[], None]
