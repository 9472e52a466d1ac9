"""The file descriptors of a process that watches many tasks. Standard library only."""

from __future__ import annotations

import resource

SPARE_FILES = 64
"""Number of file descriptors that are never used for tasks, or half of all, if that is less: the agent connects, the
journal is rewritten, and kills need some."""


def is_spare(fd: int) -> bool:
    """Whether a descriptor that was just opened is one of those that are not for tasks."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return fd >= limit - min(SPARE_FILES, limit // 2)
