"""Starts a process for the spawner. Standard library only."""

from __future__ import annotations

import errno
import os
import resource
import signal

from broker_mesos.containerizer.credentials import Ids, make_folder
from broker_mesos.containerizer.disk_space import MIN_FREE_BYTES, measure

_OUTPUT = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_FILES = [
    (os.POSIX_SPAWN_OPEN, 1, "stdout", _OUTPUT, 0o644),
    (os.POSIX_SPAWN_OPEN, 2, "stderr", _OUTPUT, 0o644),
]
# Signals that are reset to their defaults in a task. Ignored signals stay ignored over an exec: Python ignores some,
# the spawner others, and a shell that started the agent in the background ignores yet others.
_DEFAULTED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
# Error numbers that mean that the machine lacks something, whatever program is to be started.
_LACKS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EAGAIN,
    errno.ENOMEM,
    errno.ENFILE,
    errno.EMFILE,
}

_limits_of_tasks: tuple[int, int] | None = None


def raise_file_limit() -> None:
    """Raise this process' soft limit of open files to the hard limit: it needs a descriptor for each task that an
    earlier spawner has started. Tasks keep the soft limit that this process began with: programs that use select()
    rely on it."""
    global _limits_of_tasks
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return
    _limits_of_tasks = soft, hard


def lower_file_limit() -> None:
    """Lower this process' soft limit of open files to that of tasks, for good."""
    global _limits_of_tasks
    if _limits_of_tasks is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _limits_of_tasks)
        _limits_of_tasks = None


class NoSandbox(OSError):
    """The sandbox of a task cannot be created or entered."""


def disk_is_full(folder: str, min_free: int = MIN_FREE_BYTES) -> str:
    """Why nothing may be written in a folder: less than ``min_free`` bytes are free (or than a share of the file
    system, if that is less), or too few files. Empty if writing is allowed, or if the free space is not known."""
    space = measure(folder)
    shortage = "" if space is None else space.shortage(min_free)
    return f"{os.strerror(errno.ENOSPC)} in the agent's work folder: {shortage}" if shortage else ""


def is_machine_fault(error: BaseException) -> bool:
    """Whether a start failed because of the machine, and not because of the command."""
    return isinstance(error, NoSandbox) or (isinstance(error, OSError) and error.errno in _LACKS)


def make_sandbox(sandbox: str, user: Ids) -> None:
    """Make the sandbox of a task that runs as another user, if there is none yet. Raises OSError."""
    try:
        make_folder(sandbox, user)
    except PermissionError as error:
        raise OSError(error.errno, f"its sandbox: {error.strerror}") from None
    except OSError as error:
        raise NoSandbox(error.errno, f"its sandbox: {error.strerror}") from None


def make_own_sandbox(sandbox: str) -> None:
    """Make the sandbox of a task of this process' user, if there is none yet. Raises NoSandbox."""
    try:
        os.mkdir(sandbox, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise NoSandbox(error.errno, f"its sandbox: {error.strerror}") from None


def spawn(
    sandbox: str,
    argv: list[str],
    env: dict[str, str],
    *,
    directory: str = "",
    stdin: bool = False,
    as_real_user: bool = False,
) -> int:
    """Start a program in a new session, in its sandbox (created if needed) or in another ``directory``; returns its
    pid. A directory that is not an absolute path is in the sandbox. ``as_real_user``: the program, and the files that
    are opened for it, have the real ids of this process instead of the effective ones.

    The caller's working folder is that of the program afterwards. With ``stdin`` the program reads the file of that
    name in its sandbox; else stdin is inherited: the spawner's is /dev/null.
    Raises OSError (the reason in ``strerror``), and ValueError or TypeError for an invalid command.
    """
    make_own_sandbox(sandbox)
    try:
        os.chdir(sandbox)
    except OSError as error:
        raise NoSandbox(error.errno, f"its sandbox: {error.strerror}") from None
    files = _FILES
    if stdin:
        files = [(os.POSIX_SPAWN_OPEN, 0, f"{sandbox}/stdin", os.O_RDONLY, 0), *files]
    if directory:
        files = [(action, fd, os.path.join(sandbox, path), flags, mode) for action, fd, path, flags, mode in files]
        try:
            os.chdir(directory)
        except OSError as error:
            raise OSError(error.errno, f"its working directory {directory}: {error.strerror}") from None
    program = find_program(argv[0], env.get("PATH", os.defpath))
    if _limits_of_tasks is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _limits_of_tasks)
    try:
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=files,
            resetids=as_real_user,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTED,
        )
    finally:
        if _limits_of_tasks is not None:
            hard = _limits_of_tasks[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def find_program(name: str, path: str) -> str:
    """The path of a program, searched as execvp does, but in the PATH of the task. Raises FileNotFoundError,
    PermissionError."""
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
