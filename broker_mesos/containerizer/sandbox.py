"""Sandboxes: ``<work_dir>/sandboxes/<task_id>/``, one folder for each task, with ``stdout`` and ``stderr``.

The files that a task creates there are not trusted: symbolic links, pipes and devices are refused. The sandbox of a
task with a user of its own belongs to that user, and is used with this user's rights: not even a link that was made in
between two steps shows more than its maker can see.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from typing import Literal

from broker_mesos.containerizer.credentials import acting_as, owner_of
from broker_mesos.containerizer.process.output_limits import TRUNCATED
from broker_mesos.core.api.files import SandboxEntry
from broker_mesos.core.model.sandbox_path import is_sandbox_path
from broker_mesos.errors import InvalidInput, NotFound
from broker_mesos.ports.containerizer import Chunk, Folder

MAX_CHUNK = 65536
"""Maximum size of one read, in bytes."""

MAX_SCANNED = 100_000
"""Maximum number of entries of a folder that are looked at for one list."""
_KINDS: dict[int, Literal["file", "folder", "link", "other"]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
}
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK the opening of a pipe would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def check_task_id(task_id: str) -> str:
    """The task id, if it is valid as the name of a sandbox. Raises InvalidInput."""
    if not _TASK_ID.fullmatch(task_id):
        raise InvalidInput(
            f"task id {task_id[:80]!r} is not usable: letters, digits, '.', '_' and '-', beginning with "
            "a letter or digit, at most 255"
        )
    return task_id


class Sandboxes:
    """The sandboxes in one folder. All methods block while they use the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, task_id: str) -> Path:
        """The path of a task's sandbox, which need not exist. Raises InvalidInput."""
        return self._folder / check_task_id(task_id)

    def create(self, task_id: str) -> Path:
        """Create a sandbox, if there is none yet. (The spawner also does so at a launch.)"""
        path = self.path(task_id)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def read(self, task_id: str, name: str, offset: int, length: int) -> Chunk:
        """Read up to ``length`` (at most MAX_CHUNK) bytes of a plain file. If an output file was cut, a chunk that
        begins in the gap has the bytes after the gap, and their offset; if it was truncated, one that begins behind the
        end has those after its head.

        ``name`` is relative to the sandbox, such as ``stdout`` or ``results/part-1``. Raises InvalidInput
        for a name that leads out of the sandbox or to something else than a plain file, NotFound.
        """
        if offset < 0 or length < 0:
            raise InvalidInput("offset and length must not be negative")
        if not is_sandbox_path(name):
            raise InvalidInput(f"{name[:200]!r} is not the relative name of a file in the sandbox")
        try:
            with acting_as(owner_of(self._folder / check_task_id(task_id))):
                fd = self._open(task_id, name.split("/"))
        except PermissionError:
            raise InvalidInput(
                f"the sandbox of task {task_id} belongs to another user, and its agent may not act as that user any"
                " more"
            ) from None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(f"{name!r} is not a plain file")
            length = min(length, MAX_CHUNK)
            if name in ("stdout", "stderr"):
                if offset > status.st_size:
                    offset = _end_of_head(fd, status.st_size)
                data, offset = _read_around_holes(fd, offset, length, status.st_size)
            else:
                data = os.pread(fd, length, offset)
            # The file may have grown since; a reader that follows relies on offset + len(data) <= size.
            return Chunk(data, offset, max(status.st_size, offset + len(data) if data else 0))
        finally:
            os.close(fd)

    def entries(self, task_id: str, path: str, after: str, limit: int) -> Folder:
        """The entries of a folder of a sandbox behind the name ``after``, at most ``limit``, in the order of their
        names. ``path`` is relative to the sandbox, and empty for itself. Raises InvalidInput, NotFound."""
        if path and not is_sandbox_path(path):
            raise InvalidInput(f"{path[:200]!r} is not the relative name of a folder in the sandbox")
        try:
            with acting_as(owner_of(self._folder / check_task_id(task_id))):
                fd = self._open(task_id, path.split("/") if path else [], _FOLDER)
                try:
                    return _entries(fd, after, limit)
                finally:
                    os.close(fd)
        except PermissionError:
            raise InvalidInput(f"the folder {path!r} of task {task_id} cannot be read") from None

    def _open(self, task_id: str, parts: list[str], flags: int = _FILE) -> int:
        """Open a file step by step, never following a link, so that renames between two steps cannot lead out of the
        sandbox either."""
        name = "/".join(parts)
        try:
            folder = os.open(self._folder / task_id, _FOLDER)
        except OSError:
            raise NotFound(f"no sandbox of task {task_id} on this agent") from None
        try:
            if not parts:
                return os.dup(folder)
            for part in parts[:-1]:
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            return os.open(parts[-1], flags, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                raise NotFound(f"no file {name!r} in the sandbox of task {task_id}") from None
            what = "a plain file" if flags == _FILE else "a folder"
            raise InvalidInput(f"{name!r} is not {what} in the sandbox of task {task_id}") from None
        finally:
            os.close(folder)


def _entries(fd: int, after: str, limit: int) -> Folder:
    with os.scandir(fd) as scanned:
        seen = list(islice((each.name for each in scanned), MAX_SCANNED + 1))
    # A name of other bytes than UTF-8 could not be sent, and so not be asked for.
    names = nsmallest(limit + 1, (each for each in seen[:MAX_SCANNED] if each > after and each.isprintable()))
    found = []
    for name in names[:limit]:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue  # it was removed meanwhile
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "other")
        found.append(SandboxEntry(name=name, kind=kind, size=status.st_size, modified=status.st_mtime))
    return Folder(tuple(found), truncated=len(names) > limit or len(seen) > MAX_SCANNED)


def _end_of_head(fd: int, size: int) -> int:
    """The offset behind the line about a truncation; ``size`` if the file was not truncated."""
    line = TRUNCATED.partition(b"%s")[0]
    for at in range(0, size, MAX_CHUNK):
        data = os.pread(fd, MAX_CHUNK + len(line) + 64, at)
        if (found := data.find(line)) >= 0 and (end := data.find(b"\n", found + 1)) >= 0:
            return int(at + end + 1)
    return size


def _read_around_holes(fd: int, offset: int, length: int, size: int) -> tuple[bytes, int]:
    """Read bytes from the first offset that is not in a hole. Returns them and that offset. The bytes never come from a
    hole that is being made at the same time."""
    while length and offset < size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return b"", size
            return os.pread(fd, length, offset), offset
        data = os.pread(fd, min(length, os.lseek(fd, offset, os.SEEK_HOLE) - offset), offset)
        try:
            intact = os.lseek(fd, offset, os.SEEK_DATA) == offset
        except OSError:
            intact = False
        if intact and os.lseek(fd, offset, os.SEEK_HOLE) >= offset + len(data):
            return data, offset
    return b"", offset
