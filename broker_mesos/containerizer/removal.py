"""Removes folders that tasks have filled."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from broker_mesos.containerizer.credentials import acting_as, owner_of


def remove_tree(folder: str) -> bool:
    """Remove a folder with all that is in it, with the rights of its owner alone, also from folders in it that the
    owner has closed to itself. Returns whether nothing is left. The folder that it is in must be writable for nobody
    else."""
    # Without the right to act as another user, its folders stay.
    with contextlib.suppress(PermissionError), acting_as(owner_of(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder) and any(_entries(folder)):
            _open_up(folder)
            shutil.rmtree(folder, ignore_errors=True)
    # Its owner could empty it, but not take it out of a folder of ours.
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    return not os.path.lexists(folder)


def _entries(folder: str) -> Iterator[str]:
    try:
        yield from os.listdir(folder)
    except OSError:
        yield folder


def _open_up(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
        for path, names, _ in os.walk(folder):
            for name in names:
                inner = os.path.join(path, name)
                if not os.path.islink(inner):
                    with contextlib.suppress(OSError):
                        os.chmod(inner, 0o700)
