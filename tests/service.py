"""A service manager (systemd) as a daemon sees it: the socket to which it reports."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class Manager:
    """The receiving side: a socket at a path, or at a name in the abstract name space."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(60)

    def lines(self) -> list[str]:
        """The lines of the next message."""
        return self.socket.recv(4096).decode().splitlines()

    def until(self, line: str) -> list[str]:
        """All lines up to the first message that contains this one."""
        found: list[str] = []
        while line not in found:
            found += self.lines()
        return found

    def received(self) -> list[str]:
        """What has arrived so far."""
        found: list[str] = []
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found += self.lines()
        self.socket.settimeout(60)
        return found


class Service:
    """A daemon as systemd starts it, and its manager."""

    def __init__(self, folder: Path, name: str, words: Sequence[str], env: Mapping[str, str]) -> None:
        self.manager = Manager(str(folder / f"{name}.notify"))
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "broker_mesos", *words],
                cwd=folder,
                env={**env, "NOTIFY_SOCKET": self.manager.address, "WATCHDOG_USEC": "20000000"},
                stdin=subprocess.DEVNULL,
                stderr=log,
                process_group=0,
            )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.manager.socket.close()
