"""Reads and writes the files of cgroups, and makes and removes the folders that cgroups are.

All access goes through one object, so that tests can put a folder of their own in place of the kernel. Every method
raises OSError as the kernel reports it.
"""

from __future__ import annotations

import errno
import os
import resource

from broker_mesos.containerizer.descriptors import is_spare

_CHUNK = 65536
MAX_OPEN = 1024
"""Number of files that stay open for ``read_often``, or an eighth of what this process may open, if that is less;
reading one that is open takes a sixth of the time."""


class CgroupFiles:
    """The cgroup file systems of this machine."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, int]] = {}  # by folder and path
        self._count = 0
        self._max_open = min(MAX_OPEN, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)

    def read(self, path: str) -> str:
        """The text of a file."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = [os.read(fd, _CHUNK)]
            while len(parts[-1]) > 0:
                parts.append(os.read(fd, _CHUNK))
        finally:
            os.close(fd)
        return b"".join(parts).decode()

    def read_often(self, path: str) -> str:
        """The text of a short file, which stays open, if possible, until ``forget``."""
        folder = path.rpartition("/")[0]
        fd = self._open.get(folder, {}).get(path)
        if fd is None:
            if self._count >= self._max_open:
                return self.read(path)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if is_spare(fd):
                os.close(fd)
                return self.read(path)
            self._open.setdefault(folder, {})[path] = fd
            self._count += 1
        return os.pread(fd, _CHUNK, 0).decode()

    def forget(self, folder: str) -> None:
        """Close the files of a cgroup that ``read_often`` has opened."""
        for fd in self._open.pop(folder, {}).values():
            os.close(fd)
            self._count -= 1

    def forget_all(self) -> None:
        """Close all files that ``read_often`` has opened."""
        for folder in list(self._open):
            self.forget(folder)

    def write(self, path: str, text: str) -> None:
        """Write a value, which the kernel takes as a whole."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def open(self, path: str) -> int:
        """A descriptor for reading and writing a file whose values are those of the descriptor."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def make(self, path: str) -> None:
        """Make a cgroup. Raises FileExistsError if it is there."""
        os.mkdir(path, 0o755)

    def remove(self, path: str) -> None:
        """Remove a cgroup. Raises OSError with EBUSY if it has processes or cgroups below it, and also for a moment
        after the last process has ended."""
        os.rmdir(path)

    def groups(self, path: str) -> list[str]:
        """The names of the cgroups directly below one."""
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]

    def listing(self, path: str) -> list[str]:
        """The names of the files of a cgroup, and of the cgroups directly below it."""
        return os.listdir(path)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or cgroup."""
        return os.path.exists(path)

    def has_groups(self, path: str) -> bool:
        """Whether there are cgroups below one; cheaper than ``groups``."""
        return os.stat(path).st_nlink > 2


def optional(files: CgroupFiles, path: str, *, often: bool = False) -> str:
    """The text of a file without blanks around it; empty if there is none. Raises OSError if no descriptor is left."""
    try:
        return (files.read_often(path) if often else files.read(path)).strip()
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            raise
        return ""


NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}
"""Errors that mean nothing about a file."""


def number(files: CgroupFiles, path: str, *, often: bool = False) -> int:
    """The number in a file; 0 if there is none, or if it is "max"."""
    text = optional(files, path, often=often)
    return int(text) if text.isdigit() else 0


def table(files: CgroupFiles, path: str, *, often: bool = False) -> dict[str, int]:
    """The numbers of a file that has a key and a number on each line; empty if it cannot be read."""
    found = {}
    for line in optional(files, path, often=often).splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found
