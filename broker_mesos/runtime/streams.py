"""The standard streams of a process that nobody may be reading: closed, on a full disk, or a broken pipe."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable


def open_standard_streams() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed, before any other file takes their numbers:
    stdin is empty then, and what is written to stdout or stderr is an error as on a full disk."""
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, "/dev/full", os.O_WRONLY),
        (2, "/dev/full", os.O_WRONLY),
    ):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(path, flags)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    # Python has none for a descriptor that was closed when it started.
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115


class LogStream(io.TextIOBase):
    """Lines to a file descriptor. A line that cannot be written is counted and dropped, and the number of
    dropped lines is written before the next line that can be."""

    def __init__(self, descriptor: int, note: Callable[[int], str]) -> None:
        """``note`` words the line about so many dropped ones."""
        self._descriptor = descriptor
        self._note = note
        self._lock = threading.Lock()
        self._unfinished = ""
        self._torn = False
        """The last line was written in part."""
        self.dropped = 0

    def write(self, text: str) -> int:
        """Write the lines that are complete by now; the rest waits for its end. Never raises."""
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            for line in lines:
                self._write_line(line)
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a terminal shows the lines."""
        return os.isatty(self._descriptor)

    def _write_line(self, line: str) -> None:
        if self.dropped and self._written(self._note(self.dropped)):
            self.dropped = 0
        if self.dropped or not self._written(line):
            self.dropped += 1

    def _written(self, line: str) -> bool:
        data = (("\n" if self._torn else "") + line + "\n").encode(errors="backslashreplace")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < len(data):
                sent += os.write(self._descriptor, data[sent:])
            self._torn = False
            return True
        self._torn = self._torn or sent > 0
        return False
