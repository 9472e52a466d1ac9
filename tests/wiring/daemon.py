"""``bmesos`` daemons that need no servers, as processes of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from broker_mesos.client import Client
from tests.e2e.waiting import until

BMESOS = str(Path(sys.executable).with_name("bmesos"))


def environment(folder: Path) -> dict[str, str]:
    """Without settings of whoever runs the tests; TMPDIR marks what belongs to a test. Claims are
    settled sooner than usual."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("BMESOS_")}
    return {**kept, "TMPDIR": str(folder), "BMESOS_OFFER_TIMEOUT": "2"}


class Local:
    """``bmesos local`` with a data folder."""

    def __init__(self, folder: Path, *words: str, env: Mapping[str, str] = MappingProxyType({})) -> None:
        self.log = folder / "local.log"
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BMESOS, "local", "--port", "0", *words],
                cwd=folder,
                env=environment(folder) | dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

        def address() -> str | None:
            assert self.process.poll() is None, self.log.read_text()
            found = re.search(r"at (http://\S+?)[;\n]", self.log.read_text()[before:])
            return found[1] if found else None

        self.url = until("bmesos local serves", address)
        self.client = Client(self.url)

    def kill(self) -> None:
        """As if its power was cut."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As Ctrl-C; returns its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def processes(folder: Path) -> list[int]:
    """Processes that a test has started in its folder, with all that those have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"TMPDIR={folder}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


@contextmanager
def cleaned(folder: Path) -> Iterator[Path]:
    """Ends what is left in a test's folder."""
    try:
        yield folder
    finally:
        while left := processes(folder):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            until("they are gone", lambda left=left: not set(left) & set(processes(folder)))  # type: ignore[misc]
