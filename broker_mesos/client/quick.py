"""Submitting and waiting without the models: a command lives for a tenth of a second, and pydantic with all
that is built on it takes longer than that to load.

It does only what is plain: a job whose every word is as it should be, an address that is one, a cluster that
answers. Wherever something is odd the answer is None, and :class:`broker_mesos.client.Client` does the same
again from the start: it knows what is wrong, and rides out what passes. That is harmless, since a job's id is
minted before.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any, Protocol

from broker_mesos.client.names import name_of, user_name

_TURN = 10.0
"""Seconds that one request of a longer wait may take."""
_ENDED = ("finished", "failed", "killed")
_LARGEST = 500_000
_PLAIN = {"name", "cpus", "mem", "array", "env", "retries", "priority", "rerun", "revocable"}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SIZE = re.compile(r"([1-9][0-9]{0,8})([MG]?)")
_ARRAY = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL = re.compile(r"http://([A-Za-z0-9.-]+)(?::([1-9][0-9]{0,4}))?(/[A-Za-z0-9._/-]*)?")
_CLUSTER = re.compile(r"[A-Za-z0-9_-]{1,40}")
_DEFAULT_URL = "http://127.0.0.1:5050"
_HEAD = 65_536


class Line(Protocol):
    """A way to the cluster that asks one thing at a time. Any exception means: do it in the long way."""

    def ask(self, kind: str, request: Mapping[str, Any], timeout: float, held: float) -> dict[str, Any]:
        """The data of the answer; ``held`` is for how many seconds the request asks it to be held back."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Summary:
    """What the end of a job is told by; named as in ``JobSummary``."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.job_id: str = data["job_id"]
        self.state: str = data["state"]
        self.total: int = data["total"]
        self.counts: dict[str, int] = data["counts"]
        self.submitted_at: float = data["submitted_at"]
        self.exit_code: int | None = data.get("exit_code")
        self.ended_at: float | None = data.get("ended_at")


class QuickClient:
    """Submits and waits over one connection."""

    def __init__(self, line: Line, timeout: float) -> None:
        self._line = line
        self._timeout = timeout

    def submit(self, job_id: str, spec: Mapping[str, Any]) -> bool:
        """Whether the job is stored. If not, that must be tried in the long way, under the same id."""
        return self._ask("SUBMIT_JOB", {"job_id": job_id, "spec": spec}, 0.0) is not None

    def wait(self, job_id: str) -> Summary | None:
        """Waits for a job's end; None: wait in the long way."""
        while True:
            answer = self._ask("WAIT_JOB", {"job_id": job_id, "seconds": _TURN}, _TURN)
            if answer is None or answer.state in _ENDED:
                return answer

    def close(self) -> None:
        """Let go of the connection."""
        try:
            self._line.close()
        except Exception:  # it is over in any case
            pass

    def _ask(self, kind: str, request: Mapping[str, Any], held: float) -> Summary | None:
        try:
            return Summary(self._line.ask(kind, request, self._timeout, held))
        except Exception:  # of whatever kind: the long way has a word for each
            return None


def connect(url: str | None, cluster: str | None, timeout: float) -> QuickClient | None:
    """A client for what flags, variables and defaults say; None, if a file has a word in it, or if it is
    not plainly right, or cannot be reached."""
    for name in os.environ:
        if name.upper() in ("BMESOS_URL", "BMESOS_CLUSTER") and not name.isupper():
            return None
    if "BMESOS_URL_FILE" in {name.upper() for name in os.environ} or os.path.lexists("bmesos.toml"):
        return None
    url = url if url is not None else os.environ.get("BMESOS_URL") or _DEFAULT_URL
    cluster = cluster if cluster is not None else os.environ.get("BMESOS_CLUSTER") or "default"
    if not _CLUSTER.fullmatch(cluster):
        return None
    try:
        if url.startswith(("amqp://", "amqps://")):
            from broker_mesos.bus.rabbitmq.asker import Asker

            return QuickClient(Asker(url, cluster, f"bmesos client {os.getpid()}", timeout), timeout)
        match = _URL.fullmatch(url)
        return None if match is None else QuickClient(_Http(match, timeout), timeout)
    except Exception:
        return None


def plain_spec(words: Mapping[str, Any]) -> dict[str, Any] | None:
    """The description of a job in its form on the wire; None, if its words are not plainly right."""
    if words.keys() - _PLAIN - {"command"}:
        return None
    command = words["command"]
    shell = isinstance(command, str)
    arguments = [command] if shell else list(command)
    env = words.get("env") or {}
    name = words.get("name") or name_of(arguments[0], shell)
    texts = [*arguments, *env.values(), name]
    if not arguments[0] or len(name) > 200 or not all(isinstance(each, str) for each in texts):
        return None
    if any("\0" in each for each in texts) or not all(map(_VARIABLE.fullmatch, env)):
        return None
    resources, array = _resources(words), _array(words.get("array"))
    retries, priority = words.get("retries", 0), words.get("priority", 0)
    if resources is None or array is _ODD or not 0 <= retries <= 1_000 or not -1_000 <= priority <= 1_000:
        return None
    return {
        "name": name,
        "command": {"arguments": arguments, "shell": shell, "environment": env},
        "resources": resources,
        "array": array,
        "retries": retries,
        "priority": priority,
        "rerun": words.get("rerun", False),
        "revocable": words.get("revocable", False),
        "user": user_name(),
    }


def plain_id(job_id: str) -> bool:
    """Whether a job may have this id."""
    return _ID.fullmatch(job_id) is not None


_ODD = (-1, -1)


def _array(array: object) -> tuple[int, int] | None:
    if array is None:
        return None
    match = _ARRAY.fullmatch(str(array))
    if match is None:
        return _ODD
    first, last = (1, int(match[1])) if match[2] is None else (int(match[1]), int(match[2]))
    return (first, last) if first <= last else _ODD


def _resources(words: Mapping[str, Any]) -> str | None:
    cpus, mem = float(words.get("cpus", 1)), _SIZE.fullmatch(str(words.get("mem", 128)))
    # Thousandths are exact; what is NaN is in no range.
    if mem is None or not 0.001 <= cpus <= 1_000 or round(cpus * 1000) / 1000 != cpus:
        return None
    return f"cpus:{cpus:g};mem:{int(mem[1]) * (1024 if mem[2] == 'G' else 1)}"


class _Http:
    """HTTP/1.1 in its plainest form: ``http.client`` with all that it needs takes longer than the answer."""

    def __init__(self, match: re.Match[str], timeout: float) -> None:
        import socket

        host, port = match[1], int(match[2] or 80)
        self._target = (match[3] or "").rstrip("/") + "/api/v1"
        self._host = f"{host}:{port}"
        self._socket = socket.create_connection((host, port), timeout)

    def ask(self, kind: str, request: Mapping[str, Any], timeout: float, held: float) -> dict[str, Any]:
        """See :class:`Line`."""
        body = json.dumps({"type": kind, **request}).encode()
        if len(body) > _LARGEST:
            raise ValueError("too long")
        head = (
            f"POST {self._target} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Bmesos-Timeout: {timeout:g}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        deadline = time.monotonic() + timeout + held
        self._socket.settimeout(timeout + held)
        self._socket.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < _HEAD:
            answer += self._receive(deadline)
        head_bytes, _, content = answer.partition(b"\r\n\r\n")
        status, *lines = head_bytes.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        if not status.startswith("HTTP/1.1 200") or "transfer-encoding" in headers:
            raise ValueError(status)
        length = int(headers["content-length"])
        while len(content) < length:
            content += self._receive(deadline)
        data: dict[str, Any] = json.loads(content)["data"]
        return data

    def _receive(self, deadline: float) -> bytes:
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        received = self._socket.recv(1 << 16)
        if not received:
            raise EOFError
        return received

    def close(self) -> None:
        """See :class:`Line`."""
        self._socket.close()
