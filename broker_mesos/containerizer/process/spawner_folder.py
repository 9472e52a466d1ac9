"""The folder ``meta`` of a work folder, which one spawner at a time has. Standard library only."""

from __future__ import annotations

import fcntl
import os


class Locked(Exception):
    """Another spawner serves this folder."""


def open_folder(work_dir: str) -> str:
    """Make the folders of a spawner, and take the lock, for as long as this process lives. Returns the path of
    ``meta``: by its descriptor, since the work folder may be replaced, and its path then belongs to another spawner.
    Raises Locked, OSError."""
    meta = os.path.join(work_dir, "meta")
    os.makedirs(meta, mode=0o700, exist_ok=True)
    os.makedirs(os.path.join(work_dir, "sandboxes"), mode=0o700, exist_ok=True)
    folder = os.open(meta, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lock = os.open("spawner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked(meta) from None
    return f"/proc/self/fd/{folder}"
