"""A file that a daemon touches as long as it works: a probe looks at its age, and starts no program of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from broker_mesos.errors import InvalidInput

TOUCH_SECONDS = 10.0
"""Interval at which the event loop writes the file, in seconds. One that is three times as old is a stuck daemon's."""


class HealthFile:
    """The health file of this process. It exists from the moment at which the daemon works until it begins to end."""

    def __init__(self, path: Path) -> None:
        """Removes what an earlier process has left. Raises InvalidInput for a path that cannot be written."""
        self._path = path
        self._closed = False
        try:
            path.unlink(missing_ok=True)
            path.touch()
            path.unlink()
        except OSError as error:
            raise InvalidInput(
                f"health_file {path}: {error.strerror}; name a file in a folder that this daemon may write to"
            ) from None

    async def touch(self, working: asyncio.Event, status: Callable[[], str]) -> None:
        """Write ``status``, one line, into the file in every interval from when ``working`` is set, until cancelled."""
        await working.wait()
        while not self._closed:
            # A disk that is full, or a folder that was removed, makes the probe fail, not the daemon.
            with contextlib.suppress(OSError):
                self._path.write_text(f"{status()}\n", encoding="utf-8", errors="replace")
            await asyncio.sleep(TOUCH_SECONDS)

    def close(self) -> None:
        """Remove the file. Idempotent."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
