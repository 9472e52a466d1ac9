"""Persistent volumes: ``<work_dir>/volumes/<id>/``, one folder for each, created when a task first uses it.

A task sees a volume as a symbolic link in its sandbox. A volume that is dropped is moved away at once, so that
its id is free for a new one, and is deleted in the background.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from broker_mesos.containerizer.credentials import Ids, acting_as, make_folder
from broker_mesos.containerizer.folder_removal import Removal

logger = logging.getLogger(__name__)

_DROPPED = ".dropped"
SLICE_SECONDS = 0.05


class Volumes:
    """The volumes in one folder. All methods block while they use the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._removal = Removal(folder / _DROPPED)
        self._sweeping = threading.Lock()

    def mount(self, sandbox: Path, mounts: Iterable[tuple[str, str]], user: Ids | None = None) -> None:
        """Link volumes, given as (path, id), at their paths in a sandbox; both are created if needed, for this user or
        our own. Raises OSError, also for a volume that belongs to another user."""
        for path, volume_id in mounts:
            volume = self._folder / volume_id
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sandbox.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_folder(volume, user)
            make_folder(sandbox, user)
            link = sandbox / path
            with acting_as(user):
                link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                try:
                    link.symlink_to(volume)
                except FileExistsError:
                    # The launch is a repeat; a link that leads elsewhere is never used.
                    if not link.is_symlink() or os.readlink(link) != str(volume):
                        raise

    def drop(self, volume_ids: Iterable[str]) -> None:
        """Move volumes away so that their ids are free; ``sweep`` deletes them. Ids of volumes that were never used are
        ignored."""
        for volume_id in volume_ids:
            self._put(self._folder / volume_id)
        for path in self._folder.glob(f"{_DROPPED}-*"):  # by an earlier release
            self._put(path)

    def sweep(self) -> None:
        """Delete dropped volumes, with those that an earlier process has left; what cannot be deleted stays, and is
        logged."""
        with self._sweeping:
            while self._removal.work(SLICE_SECONDS):
                pass

    def _put(self, path: Path) -> None:
        try:
            self._removal.put(path)
        except OSError as error:
            logger.warning("a dropped volume cannot be deleted: %s: %s", path, error.strerror)
