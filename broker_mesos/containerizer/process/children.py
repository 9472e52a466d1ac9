"""The ends of this process' children, with an event for the loop. Standard library only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any


class Children:
    """``fd`` becomes readable when a child ends. There is one of these in a process, in its only thread."""

    def __init__(self) -> None:
        self.fd, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def clear(self) -> None:
        """Take the events that are there."""
        try:
            os.read(self.fd, 65536)
        except BlockingIOError:
            pass

    @staticmethod
    def ended() -> Iterator[Any]:
        """The children that have ended, as ``os.waitid`` describes them. Each keeps its pid until the caller has waited
        for it, which it must do before the next one."""
        while True:
            try:
                child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if child is None:
                return
            yield child


def outcome(child: Any) -> tuple[int | None, int | None]:
    """The exit code of a child that has ended, or else the signal that has ended it."""
    return (child.si_status, None) if child.si_code == os.CLD_EXITED else (None, child.si_status)
