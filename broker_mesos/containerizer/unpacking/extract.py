"""Unpacks a tar archive that is not trusted, within bounds, into a folder. Standard library only."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from broker_mesos.containerizer.disk_space import measure, megabytes

_BLOCK_BYTES = 4096
"""What a file takes on a disk at least."""
_LOOK_BYTES = 64 << 20
_LOOK_FILES = 1_000
"""The free disk is looked at each time that so much has been unpacked."""
_THE_MACHINES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.ENFILE, errno.EMFILE}
_NOT_READABLE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError, OverflowError)


class Refused(Exception):
    """The archive is not unpacked, because of what it is; the reason is one line."""


class Bounds(NamedTuple):
    """What the unpacking of one archive may take."""

    files: int
    """Files and folders."""
    min_free: int
    """Bytes of the disk that stay free, or a share of it; see ``DiskSpace.floor``."""
    memory: int
    """Bytes of memory of the process that unpacks it."""
    seconds: float


def extract(archive: BinaryIO, folder: str, bounds: Bounds) -> int:
    """Unpack an archive; returns the number of its files and folders. Raises Refused, or OSError for what is not its
    fault."""
    room = _Room(folder, bounds)
    try:
        with _decompressed(archive) as plain, tarfile.open(fileobj=plain, mode="r|", errorlevel=1) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # otherwise a million of them take a gigabyte
                room.take(member.size)
                kept = keep(member, folder)
                if kept is None:
                    continue
                if kept.islnk():
                    _link(kept, folder)
                else:
                    tar.extract(kept, folder, filter="fully_trusted")
    except OSError as error:
        if isinstance(error, _NOT_READABLE) or error.errno is None:
            raise Refused(_line(error) or "it is no archive") from None
        if error.errno in _THE_MACHINES:
            raise
        raise Refused(f"one of its files: {error.strerror}") from None
    except RecursionError:
        raise Refused("its folders are too deep") from None
    except MemoryError:
        raise Refused(f"that takes more than {megabytes(bounds.memory)} MB of memory") from None
    except _NOT_READABLE as error:
        raise Refused(_line(error) or "it ends too early") from None
    return room.files


@contextlib.contextmanager
def _decompressed(archive: BinaryIO) -> Iterator[BinaryIO]:
    """The plain bytes of an archive that may be compressed. What is read at once has a bound, so that a few bytes that
    stand for many take no memory."""
    start = archive.read(6)
    archive.seek(0)
    if start.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=archive) as plain:
            yield plain  # type: ignore[misc]
    elif start.startswith(b"BZh"):
        with bz2.BZ2File(archive) as plain:
            yield plain  # type: ignore[misc]
    elif start == b"\xfd7zXZ\0":
        with lzma.LZMAFile(archive) as plain:
            yield plain  # type: ignore[misc]
    else:
        yield archive


class _Room:
    """Counts what is unpacked, and compares it with what there is room for."""

    def __init__(self, folder: str, bounds: Bounds) -> None:
        self._folder = folder
        self._bounds = bounds
        self._left_bytes = self._left_files = 0
        self.files = 0

    def take(self, size: int) -> None:
        """Count one more file. Raises Refused if there is no room for it."""
        if size < 0:
            raise Refused("the size of one of its files is negative")
        self.files += 1
        if self.files > self._bounds.files:
            raise Refused(f"it has more than {self._bounds.files:,} files")
        needed = max(size, _BLOCK_BYTES)
        if needed > self._left_bytes or not self._left_files:
            self._look(needed)
        self._left_bytes -= needed
        self._left_files -= 1

    def _look(self, needed: int) -> None:
        self._left_bytes, self._left_files = max(needed, _LOOK_BYTES), _LOOK_FILES
        space = measure(self._folder)
        if space is None:
            return
        free = space.free - space.floor(self._bounds.min_free)
        if needed > free:
            raise Refused(
                f"it does not fit on the disk of the work folder: one of its files has {megabytes(needed)} MB,"
                f" and {megabytes(max(0, free))} MB are left"
            )
        files = space.free_files - space.floor_of_files
        if space.files and files <= 0:
            raise Refused("it does not fit on the disk of the work folder, which takes no more files")
        self._left_bytes = min(max(needed, _LOOK_BYTES), free)
        self._left_files = min(_LOOK_FILES, files) if space.files else _LOOK_FILES


def keep(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """What is unpacked of an entry: no devices, and links that lead where they do when the folder is the root. Raises
    Refused for one that leads out of the folder."""
    if member.isdev():
        return None
    name = posixpath.normpath(member.name.lstrip("/"))
    if _leads_out(name):
        raise Refused(f"{_shown(member.name)} leads out of it")
    if member.issym() and member.linkname.startswith("/"):
        above = posixpath.dirname(posixpath.normpath("/" + member.name))
        member = member.replace(linkname=posixpath.relpath(member.linkname, above), deep=False)
    target = posixpath.join(posixpath.dirname(name), member.linkname) if member.issym() else member.linkname.lstrip("/")
    if (member.issym() or member.islnk()) and _leads_out(posixpath.normpath(target)):
        raise Refused(f"its link {_shown(member.name)} leads out of it, to {_shown(member.linkname)}")
    try:
        kept = tarfile.data_filter(member, folder)
    except tarfile.SpecialFileError:
        raise Refused(f"{_shown(member.name)} is of a kind that is not known") from None
    except tarfile.FilterError:
        # Over links that were unpacked before, which the names alone do not show.
        raise Refused(f"{_shown(member.name)} leads out of it over a link") from None
    # Folders would otherwise have the mode that this process' umask leaves them, which may keep tasks out.
    return kept.replace(mode=0o755, deep=False) if kept.isdir() else kept


def _link(member: tarfile.TarInfo, folder: str) -> None:
    """Make a hard link to what was unpacked before, which may be a link itself. The filter has checked both ends."""
    path = os.path.join(folder, member.name)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    os.link(os.path.join(folder, member.linkname.lstrip("/")), path, follow_symlinks=False)


def _leads_out(path: str) -> bool:
    return path == ".." or path.startswith("../")


def _shown(name: str) -> str:
    return f"{name[:100]!r}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
