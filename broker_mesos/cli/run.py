"""``bmesos run``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Unpack

from broker_mesos.cli import show
from broker_mesos.cli.options import Call, Shell, given
from broker_mesos.cli.submit import DETACHED, exit_code, put_command
from broker_mesos.client.jobs import JobClient, Json, Stream
from broker_mesos.client.names import new_job_id, user_name
from broker_mesos.client.options import TaskOptions
from broker_mesos.client.spec import describe
from broker_mesos.errors import InvalidInput

_HINT_AFTER = 2.0
_DRAIN = 10.0


def run(
    call: Call,
    shell: Shell = None,
    **options: Unpack[TaskOptions],
) -> int:
    """Run a command there, as if it were here.

    bmesos run [FLAGS] -- CMD ARG…: output comes live, Ctrl-C kills it, its exit code is ours.
    """
    if call.json:
        raise InvalidInput("run passes the output on as it comes; for JSON: bmesos submit --wait -o json")
    words: dict[str, Any] = {**given(options)}
    put_command(call, shell, words)
    spec, job_id = describe(words.pop("command"), user_name(), **words), new_job_id()
    client = call.jobs()
    with _terminated():
        client.store(job_id, spec)
        followers = [
            _Follower(client, job_id, "stdout", sys.stdout.buffer),
            _Follower(client, job_id, "stderr", sys.stderr.buffer),
        ]
        summary = _attend(client, job_id)
        for follower in followers:
            follower.join(_DRAIN)
    for follower in followers:
        if follower.error is not None:
            show.note(f"bmesos: the output is not complete: {follower.error}")
    if summary["counts"].get("killed") and summary.get("exit_code") is None:
        return DETACHED
    return exit_code(summary)


def _attend(client: JobClient, job_id: str) -> Json:
    """Waits for a job's end; the first Ctrl-C kills it, the second one leaves."""
    from broker_mesos.errors import TimedOut

    told = ""
    killed = False
    while True:
        try:
            try:
                return client.end_of(job_id, _HINT_AFTER if not told and not killed else None)
            except TimedOut:
                why = client.call("GET_JOB", {"job_id": job_id, "limit": 0})["summary"].get("waiting")
                if why:
                    show.note(f"bmesos: waiting: {why}")
                told = why or "it runs"
        except KeyboardInterrupt:
            if killed:
                show.note(f"bmesos: left; job {job_id} may still be ending: `bmesos status {job_id}`")
                raise
            killed = True
            show.note(f"bmesos: killing job {job_id}; Ctrl-C again leaves at once")
            client.call("KILL_JOB", {"job_id": job_id})


class _Follower(threading.Thread):
    """Copies one stream of a job as it comes."""

    def __init__(self, client: JobClient, job_id: str, stream: Stream, sink: Any) -> None:
        super().__init__(name=f"follow-{stream}", daemon=True)
        self.error: Exception | None = None
        self._client = client
        self._job_id = job_id
        self._stream = stream
        self._sink = sink
        self.start()

    def run(self) -> None:
        try:
            for chunk in self._client.read(self._job_id, self._stream, follow=True):
                self._sink.write(chunk)
                self._sink.flush()
        except Exception as error:
            self.error = error


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C: whoever ends us ends the job, too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
