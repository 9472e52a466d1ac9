"""The shell of this machine, as it is mounted into containers.

It opens the files in the sandbox that are stdin, stdout and stderr of a task, and then becomes the task's program. So
output goes straight into these files, as without a container: nothing is lost or written twice when the engine is
restarted, and the image needs no shell. The shell brings its loader and libraries along.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import NamedTuple

from broker_mesos.containerizer.images.engine import NoEngine

FOLDER = "/.bmesos"
"""Where it is in a container."""
_SHELL = "/bin/sh"
_SECONDS = 10.0
_NAMED = re.compile(r"^\s*(\S+) => (/\S+) \(0x[0-9a-f]+\)$")
_LOADER = re.compile(r"^\s*(/\S+) \(0x[0-9a-f]+\)$")
_SCRIPT = 'i=$1; shift; exec "$@" >>stdout 2>>stderr <"$i"'
_SCRIPT_IN_FOLDER = 'i=$1 d=$2; shift 2; exec >>stdout 2>>stderr <"$i"; cd "$d" || exit 127; exec "$@"'


class HostShell(NamedTuple):
    """The command that runs the shell in a container, and the files of this machine that it needs, with their paths
    there."""

    argv: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    def run(self, argv: tuple[str, ...], *, stdin: bool, directory: str) -> list[str]:
        """The command that runs ``argv`` with the files of its sandbox, in which it begins; in another ``directory``
        if one is named."""
        source = "stdin" if stdin else "/dev/null"
        if directory:
            return [*self.argv, "-c", _SCRIPT_IN_FOLDER, "sh", source, directory, *argv]
        return [*self.argv, "-c", _SCRIPT, "sh", source, *argv]


def find_host_shell() -> HostShell:
    """The shell of this machine. Raises NoEngine if its libraries are not found."""
    shell = os.path.realpath(_SHELL)
    try:
        done = subprocess.run(
            ["ldd", shell], capture_output=True, text=True, timeout=_SECONDS, env={"LC_ALL": "C", "PATH": os.defpath}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NoEngine(f"ldd {shell}, which finds the libraries of that shell, does not work: {error}") from None
    return parse_libraries(shell, done.stdout if done.returncode == 0 else "")


def parse_libraries(shell: str, listed: str) -> HostShell:
    """The shell with the libraries that ``ldd`` has listed; without any it is taken to be static. Raises NoEngine for a
    list without a loader."""
    libraries, loader = [], ""
    for line in listed.splitlines():
        if named := _NAMED.match(line):
            libraries.append((named[1], named[2]))
        elif found := _LOADER.match(line):
            loader = found[1]
    inside = f"{FOLDER}/sh"
    if not libraries:
        return HostShell((inside,), ((shell, inside),))
    if not loader:
        raise NoEngine(f"ldd names no loader for {shell}: its output cannot be used for containers")
    files = [(shell, inside), (os.path.realpath(loader), f"{FOLDER}/loader")]
    files += [(os.path.realpath(path), f"{FOLDER}/lib/{os.path.basename(name)}") for name, path in libraries]
    return HostShell((f"{FOLDER}/loader", "--library-path", f"{FOLDER}/lib", inside), tuple(files))
