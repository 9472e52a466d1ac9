"""``bmesos run``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from broker_mesos.cli import show
from broker_mesos.cli.options import (
    Call,
    ConstraintOf,
    Cpus,
    Disk,
    Env,
    Gpus,
    LocalityWait,
    Mem,
    More,
    Name,
    Prefer,
    PreferHost,
    Priority,
    Rerun,
    Retries,
    Revocable,
    Shell,
)
from broker_mesos.cli.submit import DETACHED, environment, exit_code, put_command
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from types import FrameType

    from broker_mesos.client import Client, Job
    from broker_mesos.client.job import Stream
    from broker_mesos.core.api.jobs import JobSummary

_HINT_AFTER = 2.0
_DRAIN = 10.0


def run(
    call: Call,
    shell: Shell = None,
    name: Name = None,
    cpus: Cpus = None,
    mem: Mem = None,
    disk: Disk = None,
    gpus: Gpus = None,
    resources: More = None,
    env: Env = None,
    retries: Retries = None,
    rerun: Rerun = None,
    revocable: Revocable = None,
    priority: Priority = None,
    constraint: ConstraintOf = None,
    prefer: Prefer = None,
    prefer_host: PreferHost = None,
    locality_wait: LocalityWait = None,
) -> int:
    """Run a command there, as if it were here.

    bmesos run [FLAGS] -- CMD ARG…: output comes live, Ctrl-C kills it, its exit code is ours.
    """
    if call.json:
        raise InvalidInput("run passes the output on as it comes; for JSON: bmesos submit --wait -o json")
    words: dict[str, Any] = {
        "name": name,
        "cpus": cpus,
        "mem": mem,
        "disk": disk,
        "gpus": gpus,
        "resources": resources,
        "retries": retries,
        "rerun": rerun,
        "revocable": revocable,
        "priority": priority,
        "constraints": constraint or None,
        "prefer": prefer or None,
        "prefer_hosts": prefer_host or None,
        "locality_wait": locality_wait,
        "env": environment(env or []),
    }
    words = {key: value for key, value in words.items() if value is not None}
    put_command(call, shell, words)
    client = call.client()
    with _terminated():
        job = client.submit(words.pop("command"), **words)
        followers = [_Follower(job, "stdout", sys.stdout.buffer), _Follower(job, "stderr", sys.stderr.buffer)]
        summary = _attend(client, job)
        for follower in followers:
            follower.join(_DRAIN)
    for follower in followers:
        if follower.error is not None:
            show.note(f"bmesos: the output is not complete: {follower.error}")
    if summary.counts.get("killed") and summary.exit_code is None:
        return DETACHED
    return exit_code(summary)


def _attend(client: Client, job: Job) -> JobSummary:
    """Waits for a job's end; the first Ctrl-C kills it, the second one leaves."""
    from broker_mesos.errors import TimedOut

    told = ""
    killed = False
    while True:
        try:
            try:
                return job.wait(_HINT_AFTER if not told and not killed else None)
            except TimedOut:
                why = job.status().waiting
                if why:
                    show.note(f"bmesos: waiting: {why}")
                told = why or "it runs"
        except KeyboardInterrupt:
            if killed:
                show.note(f"bmesos: left; job {job.id} may still be ending: `bmesos status {job.id}`")
                raise
            killed = True
            show.note(f"bmesos: killing job {job.id}; Ctrl-C again leaves at once")
            job.kill()


class _Follower(threading.Thread):
    """Copies one stream of a job as it comes."""

    def __init__(self, job: Job, stream: Stream, sink: Any) -> None:
        super().__init__(name=f"follow-{stream}", daemon=True)
        self.error: Exception | None = None
        self._job = job
        self._stream = stream
        self._sink = sink
        self.start()

    def run(self) -> None:
        try:
            for chunk in self._job.logs(stream=self._stream, follow=True):
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
