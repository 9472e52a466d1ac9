"""Has an archive unpacked by a confined process, and waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from broker_mesos.containerizer.unpacking.extract import Bounds
from broker_mesos.errors import InvalidInput

_MAIN = str(Path(__file__).with_name("unpack_main.py"))
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
SPARE_SECONDS = 300.0
"""Time beyond the bound within which the process must have started, ended, and given its files to this user."""


def unpack(archive: int, folder: Path, bounds: Bounds) -> None:
    """Unpack the archive that a descriptor refers to, from its start, into a folder that only the agent's user can
    reach. Raises InvalidInput, in one line without the archive's name, if the archive is to blame, and else OSError."""
    os.lseek(archive, 0, os.SEEK_SET)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", _MAIN, str(folder), json.dumps(bounds)],
            stdin=archive,
            capture_output=True,
            check=False,
            env=_ENVIRONMENT,
            start_new_session=True,
            timeout=bounds.seconds + SPARE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise InvalidInput(f"that takes more than {bounds.seconds:g} s") from None
    try:
        kind, *rest = json.loads(done.stdout)
    except ValueError:
        text = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise OSError(None, f"what unpacks archives has ended with code {done.returncode}: {text}") from None
    if kind == "refused":
        raise InvalidInput(str(rest[0]))
    if kind != "done":
        raise OSError(*rest)
