"""The container engine of this machine, through its own SDK (``docker``), which is imported when it is needed.

``container_main.py`` imports this file: of this package, only what it needs as well.
"""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple

AUTO = "auto"
NONE = "none"
SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")
"""Where an engine listens whose socket is not named, and ``podman/podman.sock`` in the folder of a user's services."""
ANSWER_SECONDS = 10.0
"""Time within which an engine answers a request that is not about a pull."""
MAX_TEXT = 500
NO_SDK = "its Python lacks the SDK of container engines: install broker_mesos[images]"
_STARTED_NEVER = "0001-"


class NoEngine(Exception):
    """No container engine can be used, for a reason in one line."""


class Engine(NamedTuple):
    """A container engine that answers."""

    socket: str
    rootless: bool
    """Whether it runs with the rights of this process' user: then that user is root in its containers."""
    cpus: int
    """The CPUs that it knows: it refuses a limit above them."""


def find_socket(wanted: str) -> str:
    """The path of the engine's socket: ``wanted``, or with AUTO the first that is there. Raises NoEngine."""
    if wanted == NONE:
        raise NoEngine("its setting container_engine is none")
    if wanted != AUTO:
        if not _is_socket(wanted):
            raise NoEngine(f"there is no container engine at {wanted}, which its setting container_engine names")
        return wanted
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    for path in (*SOCKETS, f"{runtime}/podman/podman.sock"):
        if _is_socket(path) and os.access(path, os.W_OK):
            return path
    if denied := next((each for each in SOCKETS if _is_socket(each)), ""):
        raise NoEngine(f"its user may not use the container engine at {denied}: add it to the group of that socket")
    raise NoEngine(f"there is no container engine at {SOCKETS[0]} or {SOCKETS[-1]}: start one, then the agent")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def connect(socket: str, timeout: float | None = ANSWER_SECONDS) -> Any:
    """A client of an engine (``docker.APIClient``); ``timeout`` is in seconds, for each answer. Raises NoEngine if the
    engine does not answer."""
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        raise NoEngine(NO_SDK) from None
    try:
        return docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=timeout)
    except (DockerException, OSError, ValueError) as error:
        raise NoEngine(f"no container engine answers at {socket}: {_cause(error)}") from None


def find(wanted: str) -> Engine:
    """Ask the engine that a setting names whether it is there. Raises NoEngine."""
    socket = find_socket(wanted)
    client = connect(socket)
    try:
        info = client.info()
    except Exception as error:
        if not (is_away(error) or is_refusal(error)):
            raise
        raise NoEngine(f"no container engine answers at {socket}: {reason_of(error)}") from None
    finally:
        client.close()
    rootless = any("rootless" in str(each) for each in info.get("SecurityOptions") or ())
    return Engine(socket, rootless, int(info.get("NCPU") or os.cpu_count() or 1))


def is_away(error: BaseException) -> bool:
    """Whether a request has failed because the engine does not answer (any more)."""
    from docker.errors import APIError, DockerException
    from urllib3.exceptions import HTTPError

    if isinstance(error, APIError):
        return False
    return isinstance(error, NoEngine | OSError | HTTPError | DockerException)  # those of requests are OSErrors


def is_refusal(error: BaseException) -> bool:
    """Whether a request has failed since the engine refuses it."""
    from docker.errors import APIError

    return isinstance(error, APIError)


def status_of(error: BaseException) -> int:
    """The HTTP status of a refusal; 0 for another error."""
    return int(getattr(error, "status_code", None) or 0)


def reason_of(error: BaseException) -> str:
    """What an engine says in a refusal, or why it does not answer, in one line."""
    text = getattr(error, "explanation", None) or _cause(error)
    return one_line(text.decode(errors="replace") if isinstance(text, bytes) else str(text))


def one_line(text: str) -> str:
    """A text as one line of bounded length."""
    return " ".join(text.split())[:MAX_TEXT]


def _cause(error: BaseException) -> str:
    """The innermost error, since libraries wrap it with the names of their classes."""
    seen = 0
    while (inner := error.__cause__ or error.__context__) is not None and seen < 10:
        error, seen = inner, seen + 1
    return one_line((error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__)


def has_started(state: dict[str, Any]) -> bool:
    """Whether the program of a container was started ever, by the ``State`` that its engine shows."""
    at = str(state.get("StartedAt") or _STARTED_NEVER)
    return not at.startswith(_STARTED_NEVER) or bool(state.get("Running"))
