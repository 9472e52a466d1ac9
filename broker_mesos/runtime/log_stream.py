"""A stream for log lines that may not be writable: on a full disk, or into a broken pipe."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable

from broker_mesos.runtime.secrets import masked


class LogStream(io.TextIOBase):
    """Writes lines to a file descriptor, without the passwords that this process knows. A line that cannot be written
    is counted and dropped, and the number of dropped lines is written before the next line that can be."""

    def __init__(self, descriptor: int, note: Callable[[int], str]) -> None:
        """``note`` returns the line about a number of dropped lines."""
        self._descriptor = descriptor
        self._note = note
        self._lock = threading.Lock()
        self._unfinished = ""
        self._torn = False
        """Whether the last line was written only in part."""
        self.dropped = 0

    def write(self, text: str) -> int:
        """Write the lines that are complete by now; the rest waits for its end. Never raises."""
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            for line in lines:
                self._write_line(line)
        return len(text)

    def flush(self) -> None:
        """Write the part of a line whose end has not arrived. Never raises."""
        with self._lock:
            if self._unfinished and not self.dropped and self._written(self._unfinished, end=""):
                self._unfinished = ""

    def writable(self) -> bool:
        """Always True."""
        return True

    def fileno(self) -> int:
        """The file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def _write_line(self, line: str) -> None:
        if self.dropped and self._written(self._note(self.dropped)):
            self.dropped = 0
        if self.dropped or not self._written(line):
            self.dropped += 1

    def _written(self, line: str, end: str = "\n") -> bool:
        data = (("\n" if self._torn else "") + masked(line) + end).encode(errors="backslashreplace")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < len(data):
                sent += os.write(self._descriptor, data[sent:])
            self._torn = False
            return True
        self._torn = self._torn or sent > 0
        return False
