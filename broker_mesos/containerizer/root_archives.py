"""Root file systems of tasks: folders of the machine, and archives that are unpacked once into the work folder.

``<work_dir>/rootfs/<sha256 of the archive>/`` is never written again. Tasks see it read-only, so that all of them share
it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Collection, Sequence
from io import BufferedReader
from pathlib import Path

from broker_mesos.containerizer.disk_space import MIN_FREE_BYTES
from broker_mesos.containerizer.folder_removal import Removal
from broker_mesos.containerizer.unpacking.extract import Bounds
from broker_mesos.containerizer.unpacking.unpacker import unpack
from broker_mesos.errors import InvalidInput

MAX_ENTRIES = 2_000_000
"""Files and folders of an archive at most."""
MAX_ARCHIVE_BYTES = 64 << 30
MAX_MEMORY_BYTES = 1 << 30
"""Memory of the process that unpacks an archive."""
MAX_SECONDS = 900.0
"""Time within which an archive must be unpacked, in seconds."""
NO_ROOTS = "its rootfs_roots is empty"
_NEW = ".new-"
_REMOVED = ".removed"
_UNPACKED = "root"
_SLICE_SECONDS = 0.05

BOUNDS = Bounds(MAX_ENTRIES, MIN_FREE_BYTES, MAX_MEMORY_BYTES, MAX_SECONDS)


class RootArchives:
    """The root file systems below ``roots``. All methods may block for as long as the disk does, and may be called from
    several threads."""

    def __init__(self, folder: Path, roots: Sequence[str], bounds: Bounds = BOUNDS) -> None:
        self._folder = folder
        self._roots = roots
        self._bounds = bounds
        self._removal = Removal(folder / _REMOVED)
        self._unpacking = threading.Lock()
        self._removing = threading.Lock()
        self._changing = threading.Lock()
        """Held for a moment while folders come and go, and never while one is filled."""
        self._new = ""
        self._digests: dict[tuple[str, int, int, int], str] = {}

    def open(self, path: str) -> str:
        """The folder of the root file system at a path, which is a folder or an archive. Raises InvalidInput, in one
        line, if the agent takes none from there or the archive cannot be unpacked; OSError if the machine is to
        blame."""
        if not self._roots:
            raise InvalidInput(f"its agent takes no root file systems: {NO_ROOTS}")
        real = os.path.realpath(path)
        if not any(_is_below(real, os.path.realpath(root)) for root in self._roots):
            raise InvalidInput(f"rootfs {path} is not below the rootfs_roots of its agent: {' '.join(self._roots)}")
        if os.path.isdir(real):
            return real
        if not os.path.isfile(real):
            raise InvalidInput(f"rootfs {path}: there is no such folder or archive on its agent")
        with open(real, "rb") as archive:
            folder = self._folder / self._digest(real, path, archive)
            if self._use(folder):
                return str(folder)
            # One archive after the other: two at once would not be quicker, and this one may be the same.
            with self._unpacking:
                if not self._use(folder):
                    self._unpack(path, archive, folder)
        return str(folder)

    def _use(self, folder: Path) -> bool:
        """Note that an unpacked archive is used now. Returns False if it is not there."""
        with self._changing:
            try:
                os.utime(folder)
            except FileNotFoundError:
                return False
            return True

    def collect(self, used: Collection[str], before: float) -> list[str]:
        """Delete what no task uses and nobody has used since ``before``, in seconds since the epoch. Returns the
        names."""
        removed = []
        with self._changing:
            for folder in self._folder.iterdir() if self._folder.is_dir() else ():
                if folder.name in (_REMOVED, self._new) or str(folder) in used or folder.stat().st_mtime >= before:
                    continue
                self._removal.put(folder)
                removed.append(folder.name)
        self._remove()
        return removed

    def _remove(self) -> None:
        """Delete what was put away, also by an agent that has ended meanwhile."""
        with self._removing:
            while self._removal.work(_SLICE_SECONDS):
                pass
        with self._changing, contextlib.suppress(OSError):
            (self._folder / _REMOVED).rmdir()  # unless more was put there meanwhile

    def _digest(self, real: str, path: str, archive: BufferedReader) -> str:
        found = os.fstat(archive.fileno())
        if found.st_size > MAX_ARCHIVE_BYTES:
            raise InvalidInput(f"rootfs {path} is larger than {MAX_ARCHIVE_BYTES >> 30} GB")
        key = (real, found.st_ino, found.st_size, found.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = hashlib.file_digest(archive, "sha256").hexdigest()
        return self._digests[key]

    def _unpack(self, path: str, archive: BufferedReader, folder: Path) -> None:
        new = folder.with_name(_NEW + folder.name)
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._folder.chmod(0o711)
        with self._changing:
            self._new = new.name
            self._removal.put(new)  # what a killed agent has left
            # Nobody else gets in before all of it is there, and belongs to this user.
            new.mkdir(mode=0o700)
            (new / _UNPACKED).mkdir(mode=0o755)
        try:
            before = os.fstat(archive.fileno())
            if os.geteuid() == 0:
                new.chmod(0o711)  # the process that unpacks is another user
            unpack(archive.fileno(), new / _UNPACKED, self._bounds)
            after = os.fstat(archive.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise InvalidInput("it has changed meanwhile")
            with self._changing:
                (new / _UNPACKED).chmod(0o755)
                (new / _UNPACKED).rename(folder)
                os.utime(folder)
        except InvalidInput as error:
            raise InvalidInput(f"rootfs {path} cannot be unpacked: {error}") from None
        finally:
            with self._changing:
                self._removal.put(new)
                self._new = ""
            self._remove()


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
