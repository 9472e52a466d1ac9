"""A command that runs beside a task, for a client: its input, output and end, by requests that may be repeated.

Nothing here imports the models, as in ``jobs.py``.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from broker_mesos.client.jobs import JobClient, Json
from broker_mesos.client.transport import Unreachable
from broker_mesos.errors import BrokerMesosError, NotFound, Unavailable

UNAVAILABLE_AFTER_SECONDS = 20.0
"""Time without any answer after which a session is given up, in seconds: its agent ends it a little later."""
TURN_SECONDS = 10.0
"""Time for which a request for output may be delayed, in seconds."""
CLOSE_SECONDS = 2.0
MAX_INPUT = 32 << 10
"""As ``core.api.exec.MAX_INPUT``."""
_PAUSE_SECONDS = 0.2
_MIN_BUSY_PAUSE, _MAX_BUSY_PAUSE = 0.01, 0.25


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class Chunk(NamedTuple):
    """Output of a command."""

    stream: str
    """``stdout`` or ``stderr``."""
    data: bytes


class SessionEnd(NamedTuple):
    """How a command has ended."""

    exit_code: int | None
    signal: int | None
    message: str
    """Why the session has ended before its command was known to, in one line; else empty."""

    @property
    def code(self) -> int:
        """The exit code of a command that stands for it: 128 and the signal's number for a signal."""
        if self.message:
            return 1
        return 128 + self.signal if self.signal is not None else self.exit_code or 0


class ExecSession:
    """A session. ``output`` is for one thread; the other methods may be called from another one meanwhile."""

    def __init__(
        self,
        client: JobClient,
        task: str,
        argv: Sequence[str],
        *,
        stdin: bool = False,
        tty: tuple[int, int] | None = None,
        term: str = "",
    ) -> None:
        """Start a command beside a task, ``JOB.INDEX``, or ``JOB`` if one task of it runs; with ``tty``, on a terminal
        of that many rows and columns. Raises NotFound, Conflict if the task does not run, Denied, InvalidInput for a
        command that cannot be started, and Unavailable."""
        self._client = client
        self.exec_id = os.urandom(16).hex()
        fields: Json = {"task_id": task, "exec_id": self.exec_id, "argv": list(argv)}
        if stdin:
            fields["stdin"] = True
        if tty is not None:
            fields.update(tty=True, rows=tty[0], columns=tty[1], term=term)
        self._lock = threading.Lock()
        self._input_offset = 0
        self._signals = 0
        self.end: SessionEnd | None = None
        """How the command has ended; None before that."""
        state = self._repeat("START_EXEC", fields)
        self.task_id: str = state["task_id"]
        self.agent_id: str = state["agent_id"]

    def __enter__(self) -> ExecSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def output(self) -> Iterator[Chunk]:
        """The output as it comes, until the command has ended: ``end`` is set then. Rides out lost connections. Raises
        Unavailable if nobody answers for UNAVAILABLE_AFTER_SECONDS, and NotFound if its agent was restarted."""
        at = {"out": 0, "err": 0}
        while True:
            state = self._use({"out": at["out"], "err": at["err"], "wait": TURN_SECONDS}, held=TURN_SECONDS)
            for name, stream in (("out", "stdout"), ("err", "stderr")):
                data = base64.b64decode(state.get(name, ""))[at[name] - state.get(f"{name}_offset", 0) :]
                if data:
                    at[name] += len(data)
                    yield Chunk(stream, data)
            if state.get("ended"):
                self.end = SessionEnd(state.get("exit_code"), state.get("signal"), state.get("message", ""))
                return

    def write(self, data: bytes, end: bool = False, wait: Callable[[float], bool] = _sleep) -> None:
        """Send input, and with ``end`` the end of the input. While the command takes none, ``wait`` is called between
        two attempts with a time in seconds, and the rest is dropped if it returns True."""
        pause = _MIN_BUSY_PAUSE
        while data or end:
            part = data[:MAX_INPUT]
            fields = {
                "input": base64.b64encode(part).decode(),
                "input_offset": self._input_offset,
                "input_end": end and len(part) == len(data),
            }
            accepted = int(self._use(fields)["accepted"])
            taken, self._input_offset = accepted - self._input_offset, accepted
            data = data[taken:]
            if not data and (len(part) == taken or not part):
                return
            if not taken and (self.end is not None or wait(pause)):
                return
            pause = _MIN_BUSY_PAUSE if taken else min(2 * pause, _MAX_BUSY_PAUSE)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the command's terminal."""
        self._use({"rows": rows, "columns": columns})

    def signal(self, name: str) -> None:
        """Send a signal, such as ``INT``, to the command and the processes of its group."""
        with self._lock:
            self._signals += 1
            number = self._signals
        self._use({"signal": name, "signal_number": number})

    def close(self) -> None:
        """End the session, with all processes of its command. Idempotent; nothing is raised if nobody answers, since
        the agent then ends it by itself."""
        try:
            self._client.call("USE_EXEC", {**self._named(), "close": True}, CLOSE_SECONDS)
        except BrokerMesosError:
            pass

    def _named(self) -> Json:
        return {"exec_id": self.exec_id, "agent_id": self.agent_id}

    def _use(self, fields: Json, held: float = 0.0) -> Json:
        return self._repeat("USE_EXEC", {**self._named(), **fields}, held)

    def _repeat(self, kind: str, fields: Json, held: float = 0.0) -> Json:
        """Send a request again while nobody answers: a repeat changes nothing."""
        starts = kind == "START_EXEC"
        deadline = time.monotonic() + (self._client.timeout if starts else UNAVAILABLE_AFTER_SECONDS)
        while True:
            try:
                return self._client.call(kind, fields, held=held)
            except Unavailable as error:
                # A start fails at once where nothing listens, or where the agent itself is the reason.
                hopeless = starts and (isinstance(error, Unreachable) or str(error).startswith("agent "))
                if hopeless or time.monotonic() >= deadline:
                    raise
            except NotFound as error:
                if starts:
                    raise
                raise NotFound(f"the session with task {self.task_id} is gone: {error}") from None
            time.sleep(_PAUSE_SECONDS)
