"""The standard streams of a process that was started without some of them."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed, before any other file takes their numbers. stdin is
    then empty, and a write to stdout or stderr is an error as on a full disk."""
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, "/dev/full", os.O_WRONLY),
        (2, "/dev/full", os.O_WRONLY),
    ):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(path, flags)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    # Python has no stream for a descriptor that was closed when it started.
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
