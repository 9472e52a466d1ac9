"""Root file systems of tasks: folders of the machine, and archives that are unpacked once into the work folder.

``<work_dir>/rootfs/<sha256 of the archive>/`` is never written again. Tasks see it read-only, so that all of them share
it.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tarfile
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from broker_mesos.containerizer.disk_space import MIN_FREE_BYTES, measure
from broker_mesos.errors import InvalidInput

MAX_ENTRIES = 2_000_000
"""Files and folders of an archive at most."""
NO_ROOTS = "its rootfs_roots is empty"
_CHUNK = 1 << 20
_NEW = ".new-"


class RootArchives:
    """The root file systems below ``roots``. All methods may block for as long as the disk does, and may be called from
    several threads."""

    def __init__(self, folder: Path, roots: Sequence[str], min_free: int = MIN_FREE_BYTES) -> None:
        self._folder = folder
        self._roots = roots
        self._min_free = min_free
        self._unpacking = threading.Lock()
        self._digests: dict[tuple[str, int, int, int], str] = {}

    def open(self, path: str) -> str:
        """The folder of the root file system at a path, which is a folder or an archive. Raises InvalidInput, in one
        line, if the agent takes none from there or the archive is none; OSError if it cannot be unpacked."""
        if not self._roots:
            raise InvalidInput(f"its agent takes no root file systems: {NO_ROOTS}")
        real = os.path.realpath(path)
        if not any(_is_below(real, os.path.realpath(root)) for root in self._roots):
            raise InvalidInput(f"rootfs {path} is not below the rootfs_roots of its agent: {' '.join(self._roots)}")
        if os.path.isdir(real):
            return real
        if not os.path.isfile(real):
            raise InvalidInput(f"rootfs {path}: there is no such folder or archive on its agent")
        # One archive after the other: two at once would not be quicker, and this one may be the same.
        with self._unpacking:
            folder = self._folder / self._digest(real)
            if not folder.is_dir():
                self._unpack(path, real, folder)
            os.utime(folder)
        return str(folder)

    def collect(self, used: Collection[str], before: float) -> list[str]:
        """Delete what no task uses and nobody has used since ``before``, in seconds since the epoch. Returns the
        names."""
        removed = []
        with self._unpacking:
            for folder in self._folder.iterdir() if self._folder.is_dir() else ():
                if str(folder) not in used and folder.stat().st_mtime < before:
                    shutil.rmtree(folder, ignore_errors=True)
                    removed.append(folder.name)
        return removed

    def _digest(self, path: str) -> str:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            key = (path, found.st_ino, found.st_size, found.st_mtime_ns)
            if key not in self._digests:
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._digests[key]

    def _unpack(self, path: str, real: str, folder: Path) -> None:
        new = folder.with_name(_NEW + folder.name)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o711, parents=True)
        self._folder.chmod(0o711)
        try:
            with tarfile.open(real) as archive:
                for member in _bounded(archive, path, self._free()):
                    archive.extract(member, new, filter=keep)
            new.chmod(0o755)
            new.rename(folder)
        except (tarfile.TarError, EOFError, ValueError) as error:
            text = " ".join(str(error).split())[:200]
            raise InvalidInput(f"rootfs {path} cannot be unpacked: {text}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _free(self) -> int:
        space = measure(str(self._folder))
        return 1 << 62 if space is None else max(0, space.free - self._min_free)


def keep(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """What is unpacked of an entry: no devices, and links that lead where they do when the folder is the root. Raises
    tarfile.FilterError for one that leads out of the folder."""
    if member.isdev():
        return None
    if member.issym() and member.linkname.startswith("/"):
        above = posixpath.dirname(posixpath.normpath("/" + member.name))
        member = member.replace(linkname=posixpath.relpath(member.linkname, above), deep=False)
    kept = tarfile.data_filter(member, folder)
    # Folders would otherwise have the mode that this process' umask leaves them, which may keep tasks out.
    return kept.replace(mode=0o755, deep=False) if kept.isdir() else kept


def _bounded(archive: tarfile.TarFile, path: str, free: int) -> Iterator[tarfile.TarInfo]:
    size = 0
    for count, member in enumerate(archive):
        size += member.size
        if count >= MAX_ENTRIES:
            raise InvalidInput(f"rootfs {path} has more than {MAX_ENTRIES} files")
        if size > free:
            raise OSError(28, f"rootfs {path} does not fit on the disk of the work folder")
        yield member


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
