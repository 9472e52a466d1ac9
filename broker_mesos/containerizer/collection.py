"""Decides which sandboxes of ended tasks are deleted, oldest first: by age, by the fullness of the disk, by count."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Container, Generator
from pathlib import Path

from broker_mesos.containerizer.credentials import acting_as, owner_of
from broker_mesos.containerizer.disk_space import DiskSpace, measure
from broker_mesos.containerizer.folder_removal import Removal
from broker_mesos.ports.containerizer import Collected, Retention

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.05
"""Time of one step, in seconds."""
RELAXED_PERCENT = 75.0
"""How full the disk may be, in per cent, before sandboxes are kept for less than their whole time."""
FULL_PERCENT = 95.0
"""Fullness from which no sandbox of an ended task is kept, in per cent; in between the time shrinks linearly."""


class InUse:
    """The ids of the tasks whose sandboxes are kept: those that any of several collections contains now."""

    def __init__(self, *parts: Container[str]) -> None:
        self._parts = parts

    def __contains__(self, task_id: object) -> bool:
        return any(task_id in part for part in self._parts)


def kept_for(retention: Retention, percent: float) -> float:
    """Time since the last write for which a sandbox is kept on a disk that is ``percent`` full, in seconds."""
    share = (FULL_PERCENT - percent) / (FULL_PERCENT - RELAXED_PERCENT)
    return retention.seconds * min(1.0, max(0.0, share))


class Collector:
    """Collects the sandboxes in one folder; ``failed`` is the folder of the marks of failed tasks. All methods
    block."""

    def __init__(
        self,
        sandboxes: Path,
        removal: Removal,
        failed: Path,
        space: Callable[[str], DiskSpace | None] = measure,
    ) -> None:
        self._sandboxes = sandboxes
        self._failed = failed
        self._removal = removal
        self._space = space
        self._pass: Generator[None, None, None] | None = None
        self._removed: list[str] = []
        self._why = ""
        self._stepping = threading.Lock()
        self._retention, self._now = Retention(), 0.0
        self._in_use: Container[str] = ()
        self.launching = threading.Lock()
        """Held while a task with the name of an old sandbox is taken into use, or that sandbox is moved away."""

    def mark_failed(self, task_id: str) -> None:
        """Note durably that a task has failed, before its outcome is stored. Raises OSError."""
        self._failed.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._failed / task_id).touch(mode=0o600)

    def step(
        self, retention: Retention, now: float, in_use: Container[str], seconds: float = SLICE_SECONDS
    ) -> Collected:
        """Delete for about ``seconds``, going on where the last call ended.

        ``now`` is in seconds since the epoch, as file times are. The sandboxes of the tasks in ``in_use`` are kept: a
        running task may write nothing for long, and an outcome that nobody has acknowledged may still be asked about.
        The next sandbox is chosen once the last one is gone, since that decides how full the disk is.
        """
        deadline = time.monotonic() + seconds
        with self._stepping:
            self._retention, self._now, self._in_use = retention, now, in_use
            if self._pass is None:
                self._pass = self._collect()
            more = False
            for _ in self._pass:
                if time.monotonic() >= deadline:
                    more = True
                    break
            else:
                self._pass = None
            removed, self._removed = self._removed, []
            return Collected(tuple(removed), self._why, more)

    def close(self) -> None:
        """Close what is open, after the step that is under way; the next one begins again."""
        with self._stepping:
            if self._pass is not None:
                self._pass.close()
                self._pass = None
            self._removal.close()

    def _collect(self) -> Generator[None, None, None]:
        """One pass: list all sandboxes, then delete the oldest one as long as it is due."""
        while self._removal.work(0.0):  # what an earlier process has left
            yield
        found: list[tuple[float, str]] = []
        try:
            entries = os.scandir(self._sandboxes)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append((_last_write(entry.path), entry.name))
                    yield
        found.sort(reverse=True)
        count = len(found)
        while found:
            last_write, task_id = found.pop()
            why = self._due(task_id, last_write, count)
            if why is None:
                return
            if why and self._remove(task_id):
                count -= 1
                self._removed.append(task_id)
                self._why = why
                while self._removal.work(0.0):
                    yield
            yield

    def _due(self, task_id: str, last_write: float, count: int) -> str | None:
        """Why a sandbox is deleted, when it is the oldest one left and there are ``count``: empty if it is kept, None
        if all younger ones are kept as well."""
        retention, age = self._retention, self._now - last_write
        if age >= retention.seconds:
            return f"nothing was written to it for {age / 3600:.1f} h"
        space = self._space(str(self._sandboxes))
        percent = 0.0 if space is None else space.percent
        if age >= kept_for(retention, percent):
            why = f"the disk is {percent:.0f}% full"
        elif count > retention.max_count:
            why = f"there are more than {retention.max_count:,}"
        else:
            return None
        return "" if retention.keep_failed and (self._failed / task_id).exists() else why

    def _remove(self, task_id: str) -> bool:
        """Move a sandbox to what is being deleted, unless its task is in use. Returns whether it was moved."""
        try:
            with self.launching:
                if task_id in self._in_use or not self._removal.put(self._sandboxes / task_id):
                    return False
            (self._failed / task_id).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("cannot delete the sandbox of %s: %s", task_id, error.strerror)
            return False
        return True


def _last_write(sandbox: str) -> float:
    last = 0.0
    with contextlib.suppress(PermissionError), acting_as(owner_of(sandbox)):
        for path in (sandbox, f"{sandbox}/stdout", f"{sandbox}/stderr"):
            try:
                last = max(last, os.stat(path, follow_symlinks=False).st_mtime)
            except OSError:
                pass
    return last
