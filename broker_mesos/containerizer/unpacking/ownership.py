"""Gives all that is in a folder to a user. Standard library only."""

from __future__ import annotations

import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def give(folder: str, uid: int, gid: int) -> None:
    """Give a folder, and all in it, to a user. Nobody may change it meanwhile; links are not followed. Raises OSError.

    Any depth takes one descriptor at a time: the way back up is the folder's own "..".
    """
    fd = os.open(folder, _FOLDER)
    above: list[list[str]] = []
    try:
        names = _give_entries(fd, uid, gid)
        while True:
            if names:
                inner = os.open(names.pop(), _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
                above.append(names)
                names = _give_entries(fd, uid, gid)
            elif above:
                outer = os.open("..", _FOLDER, dir_fd=fd)
                os.close(fd)
                fd, names = outer, above.pop()
            else:
                return
    finally:
        os.close(fd)


def _give_entries(fd: int, uid: int, gid: int) -> list[str]:
    """Give an open folder and its entries; the names of those that are folders."""
    os.fchown(fd, uid, gid)
    folders = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.chown(entry.name, uid, gid, dir_fd=fd, follow_symlinks=False)
    return folders
