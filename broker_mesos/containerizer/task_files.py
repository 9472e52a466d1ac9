"""The files that a task finds in its sandbox when it starts: its input, and second names of its output files."""

from __future__ import annotations

import os
from pathlib import Path

from broker_mesos.containerizer.credentials import Ids, acting_as, make_folder
from broker_mesos.core.model.sandbox_path import check_output_name
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import LaunchSpec

_NEW = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def put_files(sandbox: Path, spec: LaunchSpec, user: Ids | None = None) -> None:
    """Write the input of a task, make its folder, and give its output files their second names, all with the rights of
    its user, or with our own. Blocks while it uses the disk; a repeat changes nothing. Raises OSError, and InvalidInput
    for a name that leads out of the sandbox.

    A second name is a hard link, so that the limit on output and readers of ``stdout`` need not know of it. It must lie
    in the sandbox, since a volume may be on another file system.
    """
    if not (spec.stdin or spec.directory or spec.outputs):
        return
    sandbox.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_folder(sandbox, user)
    with acting_as(user):
        _put_files(sandbox, spec)


def _put_files(sandbox: Path, spec: LaunchSpec) -> None:
    if spec.stdin:
        file = os.open(sandbox / "stdin", _NEW | os.O_TRUNC, 0o600)
        with open(file, "wb") as opened:
            opened.write(spec.stdin)
    if spec.directory and not os.path.isabs(spec.directory):
        (sandbox / spec.directory).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, path in spec.outputs:
        check_output_name(path)
        link = sandbox / path
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not link.parent.resolve().is_relative_to(sandbox.resolve()):
            raise InvalidInput(f"its output file {path[:80]!r} would be in a volume: name one in the sandbox itself")
        output = sandbox / name
        os.close(os.open(output, _NEW | os.O_APPEND, 0o644))
        try:
            os.link(output, link, follow_symlinks=False)
        except FileExistsError:
            if not os.path.samestat(os.lstat(link), os.lstat(output)):
                raise
