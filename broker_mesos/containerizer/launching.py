"""How the spawner starts one process. Standard library only."""

from __future__ import annotations

import errno
import os
import signal

_OUTPUT = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_FILES = [
    (os.POSIX_SPAWN_OPEN, 1, "stdout", _OUTPUT, 0o644),
    (os.POSIX_SPAWN_OPEN, 2, "stderr", _OUTPUT, 0o644),
]
# Ignored signals stay ignored over an exec: Python ignores some, the spawner others, and whoever started the
# agent in the background yet others.
_DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def spawn(sandbox: str, argv: list[str], env: dict[str, str]) -> int:
    """Start a program in a session of its own, in its sandbox (made if need be); returns its pid.

    The caller's working folder is the sandbox afterwards. stdin is inherited: the spawner's is /dev/null.
    Raises OSError (the reason in ``strerror``), ValueError or TypeError for what can be no command at all.
    """
    try:
        try:
            os.mkdir(sandbox, 0o700)
        except FileExistsError:
            pass
        os.chdir(sandbox)
    except OSError as error:
        raise OSError(error.errno, f"its sandbox: {error.strerror}") from None
    return os.posix_spawn(
        find_program(argv[0], env.get("PATH", os.defpath)),
        argv,
        env,
        file_actions=_FILES,
        setsid=True,
        setsigmask=(),
        setsigdef=_DEFAULTED,
    )


def find_program(name: str, path: str) -> str:
    """As execvp does, but with the PATH of the task. Raises FileNotFoundError, PermissionError."""
    if "/" in name:
        return name
    denied = False
    for folder in path.split(":"):
        candidate = f"{folder or '.'}/{name}"
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            denied = True
    if denied:
        raise PermissionError(errno.EACCES, "Permission denied")
    raise FileNotFoundError(errno.ENOENT, "No such program in PATH")
