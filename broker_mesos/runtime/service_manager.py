"""Reports the state of a daemon to the service manager that started it (systemd), as sd_notify(3) describes.

The event loop itself sends the watchdog's messages, so that the manager ends and restarts a daemon whose loop is stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, MutableMapping

REPORT_SECONDS = 10.0
"""Interval of reports to a manager without a watchdog, in seconds."""
REPORTS_PER_WATCHDOG = 3
"""Reports within the manager's time limit: one may be late, or lost while the manager is busy."""


class ServiceManager:
    """The manager that gave this process the socket ``NOTIFY_SOCKET``. Without one nothing is sent."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes the manager's variables out of ``environment``: no child may report in this process' name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        limit, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        self.status: Callable[[], str] = lambda: "connecting to its servers"
        """One line about what the daemon does now."""
        self.watchdog = int(limit) if limit.isdecimal() and pid in ("", str(os.getpid())) else 0
        """Time without a report after which the manager restarts this process, in microseconds; 0 for none."""
        # A name that begins with @ is in the abstract name space of Linux.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address[:1] in ("/", "@") else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self.working = asyncio.Event()
        """Set once the daemon works."""
        self._ready_reported = False
        self._status = ""

    @property
    def interval(self) -> float:
        """Interval of reports, in seconds."""
        return self.watchdog / 1_000_000 / REPORTS_PER_WATCHDOG if self.watchdog else REPORT_SECONDS

    async def report(self) -> None:
        """Report in every interval, until cancelled. A report that cannot be sent is made up for by the next one."""
        while self._socket is not None:
            self._report()
            await asyncio.sleep(self.interval)

    def ready(self) -> None:
        """Report that the daemon works. Idempotent."""
        self.working.set()
        self._report()

    def stopping(self) -> None:
        """Report that the daemon has begun to end."""
        self._send("STOPPING=1", "STATUS=stopping")

    def close(self) -> None:
        """Report nothing any more. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _report(self) -> None:
        status = " ".join(self.status().split())
        lines = ["WATCHDOG=1"] if self.watchdog else []
        if status != self._status:
            lines.append(f"STATUS={status}")
        if self.working.is_set() and not self._ready_reported:
            lines.append("READY=1")
        elif self.watchdog and not self.working.is_set():
            # The watchdog begins with READY=1; until then the time limit for the start takes its place.
            lines.append(f"EXTEND_TIMEOUT_USEC={self.watchdog}")
        if lines and self._send(*lines):
            self._status, self._ready_reported = status, self.working.is_set()

    def _send(self, *lines: str) -> bool:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the manager is busy, or is being replaced
                self._socket.sendto("\n".join(lines).encode(errors="replace"), self._address)
                return True
        return False
