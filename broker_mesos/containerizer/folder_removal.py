"""Deletes folders that tasks have filled, in short steps.

A folder is first moved to the folder of what is being deleted. So its name is free at once, nobody reads a half of it,
and what a killed process has left is found again. Nothing that a task can make there leads elsewhere or grows without
bound here: links are deleted and never followed, no other device is entered, and a folder deep within others is moved
to the top before it is emptied, so that no depth needs a deep stack, a long path or many open files.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Generator
from pathlib import Path

logger = logging.getLogger(__name__)

MAX_DEPTH = 6
"""Depth down to which folders are emptied where they are, with three open files for each."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Removal:
    """The folders that are being deleted, in ``folder``, which must be on the same file system. All methods block while
    they use the disk; one thread at a time may call them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._steps: Generator[None, None, None] | None = None
        self._kept: set[str] = set()
        self._found = True  # an earlier process may have left some

    @property
    def pending(self) -> bool:
        """Whether there may be something to delete."""
        return self._found

    def put(self, path: Path) -> bool:
        """Move a folder here, to be deleted by ``work``. Returns whether it was there. Raises OSError."""
        lighter = False
        while True:
            self._number += 1
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.rename(path, self._folder / f"{os.getpid()}-{self._number}")
            except FileNotFoundError:
                return False
            except PermissionError:
                # To move a folder is to change its "..", for which it must be ours.
                if not self._permit_at(path):
                    raise
                continue
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    continue  # the name is that of an earlier process
                if error.errno in (errno.ENOSPC, errno.EDQUOT) and not lighter:
                    lighter = True
                    self._lighten(path)  # on a full disk there is not even room for another name
                    continue
                raise
            self._found = True
            return True

    @staticmethod
    def _lighten(path: Path) -> None:
        """Delete the files of a folder where they are, and not its folders."""
        parent = os.open(path.parent, _FOLDER)
        try:
            folder = _open(parent, path.name)
        finally:
            os.close(parent)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=folder)
        finally:
            os.close(folder)

    @staticmethod
    def _permit_at(path: Path) -> bool:
        parent = os.open(path.parent, _FOLDER)
        try:
            return _permit(parent, path.name)
        finally:
            os.close(parent)

    def work(self, seconds: float) -> bool:
        """Delete for about ``seconds``. Returns whether there is more to delete."""
        if not self._found:
            return False
        deadline = time.monotonic() + seconds
        if self._steps is None:
            self._steps = self._delete_all()
        for _ in self._steps:
            if time.monotonic() >= deadline:
                return True
        self._steps = None
        return self._found

    def close(self) -> None:
        """Close what is open; the next call of ``work`` begins again."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def _delete_all(self) -> Generator[None, None, None]:
        try:
            top = os.open(self._folder, _FOLDER)
        except FileNotFoundError:
            self._found = False
            return
        try:
            while True:
                names = [name for name in os.listdir(top) if name not in self._kept]
                if not names:
                    self._found = False
                    return
                for name in names:
                    yield from self._delete(top, name)
                    yield
        finally:
            os.close(top)

    def _delete(self, top: int, name: str) -> Generator[None, None, None]:
        """Delete one entry of the top with all it contains."""
        try:
            yield from self._empty(top, name, top, 0)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return  # entries that were made meanwhile: the next round finds them
            self._kept.add(name)
            logger.warning("cannot delete %s/%s: %s", self._folder, name, error.strerror)

    def _empty(self, parent: int, name: str, top: int, depth: int) -> Generator[None, None, None]:
        """Delete an entry of a folder with all it contains; what lies MAX_DEPTH below is moved to the top."""
        if _gone(parent, name):
            return
        if depth == MAX_DEPTH:
            self._lift(parent, name, top)
            return
        inner = _open(parent, name)
        try:
            if os.fstat(inner).st_dev != os.fstat(top).st_dev:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            with os.scandir(inner) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._empty(inner, entry.name, top, depth + 1)
                    else:
                        os.unlink(entry.name, dir_fd=inner)
                    yield
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=parent)

    def _lift(self, inner: int, name: str, top: int) -> None:
        while True:
            self._number += 1
            try:
                os.rename(name, f"{os.getpid()}-{self._number}", src_dir_fd=inner, dst_dir_fd=top)
                return
            except PermissionError:
                if not _permit(inner, name):
                    raise
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def _gone(parent: int, name: str) -> bool:
    """Delete an empty folder, or something that is not a folder. Returns False for a folder with contents."""
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _open(parent: int, name: str) -> int:
    """Open a folder for reading and changing, whatever its mode. Raises OSError."""
    _permit(parent, name)
    return os.open(name, _FOLDER, dir_fd=parent)


def _permit(parent: int, name: str) -> bool:
    """Make a folder ours, with all rights for its owner, and never what a link in its place leads to. Returns whether
    that changed something. Without the right to give files away only the mode of our own folders is changed."""
    handle = os.open(name, _HANDLE, dir_fd=parent)
    try:
        found = os.fstat(handle)
        path = f"/proc/self/fd/{handle}"
        changed = False
        if found.st_uid != os.geteuid():
            try:
                os.chown(path, os.geteuid(), -1)
                changed = True
            except OSError:
                return False
        if found.st_mode & 0o700 != 0o700:
            os.chmod(path, found.st_mode & 0o7777 | 0o700)
            changed = True
        return changed
    finally:
        os.close(handle)
