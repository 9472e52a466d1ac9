"""How full a file system is, in bytes and in files, and how much of it stays free. Standard library only."""

from __future__ import annotations

import os
from typing import NamedTuple

MIN_FREE_BYTES = 1 << 30
MIN_FREE_SHARE = 20
"""The floor of free disk is MIN_FREE_BYTES, or a 20th of the file system if that is less."""
MIN_FREE_FILES = 10_000
"""The floor of free files, or a 20th of the files that the file system can have if that is less."""
_LEAST_BYTES = 64 * 1024
_LEAST_FILES = 8
"""With less than these a task would start, could write nothing, and would fail as if that were its own fault."""


class DiskSpace(NamedTuple):
    """The size of a file system and what is free of it; ``files`` is 0 where it has no fixed number of files."""

    size: int
    free: int
    used: int
    """Bytes; with those that are reserved for root, ``free`` and ``used`` are less than ``size``."""
    files: int
    free_files: int

    @property
    def percent(self) -> float:
        """How full it is, in per cent of its bytes or files, whichever is more."""
        there = self.used + self.free
        by_bytes = 100.0 * self.used / there if there else 0.0
        by_files = 100.0 * (self.files - self.free_files) / self.files if self.files else 0.0
        return max(by_bytes, by_files)

    def floor(self, min_free: int) -> int:
        """Bytes that stay free, where ``min_free`` are to, unless that is more than a share of the file system."""
        return max(_LEAST_BYTES, min(min_free, self.size // MIN_FREE_SHARE))

    @property
    def floor_of_files(self) -> int:
        """The number of files that stay free."""
        return max(_LEAST_FILES, min(MIN_FREE_FILES, self.files // MIN_FREE_SHARE)) if self.files else 0

    def shortage(self, min_free: int, margin: float = 1.0) -> str:
        """What there is too little of, as a phrase with figures; empty if enough is free. A ``margin`` above 1 asks for
        so much more than the floors."""
        floor, files = self.floor(min_free), self.floor_of_files
        if self.free < margin * floor:
            return f"{megabytes(self.free)} MB are free, and {megabytes(floor)} MB are kept free"
        if self.files and self.free_files < margin * files:
            return f"it takes {self.free_files:,} more files, and room for {files:,} is kept free"
        return ""


def measure(folder: str) -> DiskSpace | None:
    """The space of the file system of a folder; None if that is not known, as where one has no fixed size."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    if not found.f_blocks:
        return None
    unit = found.f_frsize
    used = (found.f_blocks - found.f_bfree) * unit
    return DiskSpace(found.f_blocks * unit, found.f_bavail * unit, used, found.f_files, found.f_favail)


def megabytes(count: int) -> str:
    """A number of bytes in MB, for people."""
    return f"{count / (1 << 20):,.0f}" if count >= 10 << 20 else f"{count / (1 << 20):,.1f}"
