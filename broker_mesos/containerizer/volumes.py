"""Persistent volumes: ``<work_dir>/volumes/<id>/``, one folder for each, created when a task first uses it.

A task sees a volume as a symbolic link in its sandbox. A volume that is dropped is renamed at once, so that
its id is free for a new one, and is deleted in the background.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from broker_mesos.containerizer.credentials import Ids, acting_as, make_folder
from broker_mesos.containerizer.removal import remove_tree

logger = logging.getLogger(__name__)

_DROPPED = ".dropped-"


class Volumes:
    """The volumes in one folder. All methods block while they use the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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

    def drop(self, volume_ids: Iterable[str]) -> Sequence[Path]:
        """Rename volumes so that their ids are free. Returns the folders to delete, including those of earlier
        calls."""
        for volume_id in volume_ids:
            for number in range(1_000):
                try:
                    os.rename(self._folder / volume_id, self._folder / f"{_DROPPED}{number}-{volume_id}")
                except FileNotFoundError:
                    break
                except OSError:
                    continue  # a volume of that name is still being deleted
                break
        try:
            return [each for each in self._folder.iterdir() if each.name.startswith(_DROPPED)]
        except OSError:
            return []

    @staticmethod
    def sweep(dropped: Iterable[Path]) -> None:
        """Delete dropped volumes; those that cannot be deleted are tried again in the next call."""
        for path in dropped:
            if not remove_tree(str(path)):
                logger.warning("a dropped volume cannot be deleted: %s", path)
