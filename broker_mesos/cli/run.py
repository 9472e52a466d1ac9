"""``bmesos run``: runs one command as a job, with its output on this terminal."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Unpack

from broker_mesos.cli import show
from broker_mesos.cli.options import Call, Shell, given
from broker_mesos.cli.stdin import take_stdin
from broker_mesos.cli.submit import DETACHED, WAITING_HINT_SECONDS, exit_code, put_command
from broker_mesos.client.jobs import JobClient, Json, Stream
from broker_mesos.client.names import new_job_id, user_name
from broker_mesos.client.options import TaskOptions
from broker_mesos.client.spec import describe
from broker_mesos.errors import BrokerMesosError, InvalidInput

_DRAIN = 10.0


def run(
    call: Call,
    shell: Shell = None,
    **options: Unpack[TaskOptions],
) -> int:
    """Run a command on an agent, as if it ran here.

    Its output appears here, Ctrl-C kills it, and its exit code is that of `bmesos run`. It reads what is piped to
    `bmesos run`, up to 128 KiB.
    """
    if call.json:
        raise InvalidInput("run passes the output on as it comes; for JSON: bmesos submit --wait -o json")
    words: dict[str, Any] = {**given(options)}
    put_command(call, shell, words, "run")
    take_stdin(words, unasked=True)
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
    unwritten = next((each.write_error for each in followers if each.write_error is not None), None)
    if unwritten is not None:
        raise unwritten
    _explain_end(client, summary, followers)
    if summary["counts"].get("killed") and summary.get("exit_code") is None:
        return DETACHED
    return exit_code(summary)


def _explain_end(client: JobClient, summary: Json, followers: Sequence[_Follower]) -> None:
    """Notes what the output itself does not show: why the task has failed, and whether output is missing."""
    started = True
    if summary["state"] == "failed":
        with suppress(BrokerMesosError):
            task = client.call("GET_TASK", {"task_id": summary["job_id"]})
            started = task.get("started_at") is not None
            # A program's own exit code is our exit code, and needs no words.
            if task.get("message") and not (started and task.get("exit_code")):
                show.note(f"bmesos: {task['message']}")
    if started:
        for text in dict.fromkeys(str(each.error) for each in followers if each.error is not None):
            show.note(f"bmesos: the output is not complete: {text}")


def _attend(client: JobClient, job_id: str) -> Json:
    """Waits for a job's end; the first Ctrl-C kills it, the second one leaves."""
    notes = show.WaitingNotes(client)
    killed = False
    while True:
        try:
            last: Json = {}
            for last in client.follow(job_id, pending_turn=WAITING_HINT_SECONDS):
                notes.check(last)
            return last
        except KeyboardInterrupt:
            if killed:
                show.note(f"bmesos: left; job {job_id} may still be ending: `bmesos status {job_id}`")
                raise
            killed = True
            show.note(f"bmesos: killing job {job_id}; Ctrl-C again leaves at once")
            client.call("KILL_JOB", {"job_id": job_id})


class _Follower(threading.Thread):
    """Copies one stream of a job as it comes. When a chunk cannot be written, nobody sees what the job does:
    it is killed."""

    def __init__(self, client: JobClient, job_id: str, stream: Stream, sink: Any) -> None:
        super().__init__(name=f"follow-{stream}", daemon=True)
        self.error: BrokerMesosError | None = None
        self.write_error: OSError | None = None
        self._client = client
        self._job_id = job_id
        self._stream = stream
        self._sink = sink
        self.start()

    def run(self) -> None:
        try:
            for chunk in self._client.read(self._job_id, self._stream, follow=True):
                try:
                    self._sink.write(chunk)
                    self._sink.flush()
                except OSError as error:
                    self.write_error = error
                    self._client.call("KILL_JOB", {"job_id": self._job_id})
                    return
        except BrokerMesosError as error:
            self.error = error


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP act as Ctrl-C: whoever ends us ends the job, too. (Under ``nohup``, SIGHUP does not.)"""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, interrupt) for each in ends}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
