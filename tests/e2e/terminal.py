"""A program on a terminal of its own, as a person at a keyboard uses it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

TIMEOUT = 60.0


class Terminal:
    """Starts the program at once; ended with the ``with`` block."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], rows: int = 24, columns: int = 80) -> None:
        self.shown = b""
        self._seen = 0
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                os.execvpe(argv[0], list(argv), dict(env))
            finally:
                os._exit(127)
        self.modes = termios.tcgetattr(self._fd)
        """The modes of the terminal before the program has changed them."""
        self._status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def type(self, text: str) -> None:
        """Type a text; Enter is ``\\r``."""
        os.write(self._fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: str) -> None:
        """Wait until a text is shown, after the one that was waited for before."""
        wanted = text.encode()
        deadline = time.monotonic() + TIMEOUT
        while (at := self.shown.find(wanted, self._seen)) < 0:
            assert self._more(deadline), f"{text!r} is not shown:\n{self.shown.decode(errors='replace')}"
        self._seen = at + len(wanted)

    def wait(self) -> int:
        """The exit code of the program, as a shell would show it."""
        deadline = time.monotonic() + TIMEOUT
        while self._more(deadline):
            pass
        _, status = os.waitpid(self.pid, 0)
        self._status = status
        return os.waitstatus_to_exitcode(status)

    def attributes(self) -> list[Any]:
        """The modes of the terminal now."""
        return termios.tcgetattr(self._fd)

    def _more(self, deadline: float) -> bool:
        """Read what is shown next. Returns False at its end; fails at the monotonic deadline."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing more is shown:\n{self.shown.decode(errors='replace')}"
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.shown += data
        return bool(data)
