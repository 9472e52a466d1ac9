"""``bmesos submit`` and ``bmesos run``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
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
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from types import FrameType

    from broker_mesos.client import Client, Job
    from broker_mesos.client.job import Stream
    from broker_mesos.core.operator import JobSummary

LEFT = 130
"""Exit code after Ctrl-C."""
_HINT_AFTER = 2.0
_DRAIN = 10.0


def submit(
    call: Call,
    file: Annotated[
        str | None,
        Argument(metavar="[FILE]", help="A job file, job.yaml or job.toml; flags go before it."),
    ] = None,
    shell: Shell = None,
    name: Name = None,
    cpus: Cpus = None,
    mem: Mem = None,
    disk: Disk = None,
    gpus: Gpus = None,
    resources: More = None,
    array: Annotated[
        str | None, Option("--array", metavar="1-1000|50", help="Many tasks; see BMESOS_ARRAY_INDEX.")
    ] = None,
    gang: Annotated[
        bool | None,
        Option("--gang/--no-gang", help="The whole array begins at once, or not at all."),
    ] = None,
    env: Env = None,
    retries: Retries = None,
    rerun: Rerun = None,
    revocable: Revocable = None,
    priority: Priority = None,
    constraint: ConstraintOf = None,
    prefer: Prefer = None,
    prefer_host: PreferHost = None,
    locality_wait: LocalityWait = None,
    job_id: Annotated[
        str | None,
        Option("--job-id", metavar="ID", help="Its id, minted by you: sent twice, it is one job."),
    ] = None,
    wait: Annotated[
        bool | None, Option("--wait/--no-wait", help="Wait for the end; exit with the task's code.")
    ] = None,
) -> int:
    """Submit a job, and print its id.

    bmesos submit [FLAGS] -- CMD ARG…, or a job file that says the same.
    """
    words: dict[str, Any] = {}
    if file is not None:
        from broker_mesos.cli import jobfile

        if not jobfile.is_job_file(file):
            raise InvalidInput(
                f"{file!r} is not a job file (.yaml, .toml); a command goes after --: bmesos submit -- {file}"
            )
        words = jobfile.read(Path(file))
    waits = words.pop("wait", False) if wait is None else wait
    flags = {
        "name": name,
        "cpus": cpus,
        "mem": mem,
        "disk": disk,
        "gpus": gpus,
        "resources": resources,
        "array": array,
        "gang": gang,
        "retries": retries,
        "rerun": rerun,
        "revocable": revocable,
        "priority": priority,
        "constraints": constraint or None,
        "prefer": prefer or None,
        "prefer_hosts": prefer_host or None,
        "locality_wait": locality_wait,
    }
    words.pop("wait", None)
    words.update({key: value for key, value in flags.items() if value is not None})
    if env:
        words["env"] = {**words.get("env", {}), **_environment(env)}
    _command(call, shell, words)
    client = call.client()
    job = client.submit(words.pop("command"), job_id=job_id, **words)
    if not waits:
        if call.json:
            show.print_json({"job_id": job.id})
        else:
            print(job.id)
            if sys.stdout.isatty():
                show.note(f"see `bmesos status {job.id}`, `bmesos logs -f {job.id}`, `bmesos wait {job.id}`")
        return 0
    if not call.json:
        print(job.id, flush=True)
    return wait_for(call, job)


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
        "env": _environment(env or []),
    }
    words = {key: value for key, value in words.items() if value is not None}
    _command(call, shell, words)
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
        return LEFT
    return exit_code(summary)


def wait_for(call: Call, job: Job, timeout: float | None = None) -> int:
    """Wait for a job and return its exit code; with ``-o json`` its summary goes to stdout."""
    try:
        if sys.stderr.isatty() and not call.json:
            from broker_mesos.cli.progress import with_progress

            summary = with_progress(job, timeout)
        else:
            summary = job.wait(timeout)
    except KeyboardInterrupt:
        show.note(f"bmesos: job {job.id} goes on; `bmesos wait {job.id}` or `bmesos kill {job.id}`")
        return LEFT
    if call.json:
        show.print_json(show.data(summary))
    else:
        show.note(describe_end(summary))
    return exit_code(summary)


def exit_code(summary: JobSummary) -> int:
    """The exit code that a job's end comes to."""
    if summary.exit_code is not None:
        return summary.exit_code
    return 0 if summary.state == "finished" else 1


def describe_end(summary: JobSummary) -> str:
    """One line on how a job ended."""
    took = show.duration((summary.ended_at or summary.submitted_at) - summary.submitted_at)
    text = f"job {summary.job_id} {summary.state} after {took}"
    if summary.total > 1:
        counts = [f"{number} {state}" for state, number in summary.counts.items() if number]
        text += f": {', '.join(counts)} of {summary.total} tasks"
    if summary.exit_code:
        text += f", exit code {summary.exit_code}; see `bmesos status {summary.job_id}`"
    return text


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


def _command(call: Call, shell: str | None, words: dict[str, Any]) -> None:
    """Puts the command into ``words``: from ``--shell``, from after ``--``, or the file's own."""
    if shell is not None and call.command is not None:
        raise InvalidInput("a command is given twice, by --shell and after --: keep one")
    if shell is not None:
        words["command"] = shell
    elif call.command:
        words["command"] = call.command
    if not words.get("command"):
        raise InvalidInput("no command is given; it goes after --: bmesos submit -- echo hello")


def _environment(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"--env {pair}: write NAME=VALUE")
        found[name] = value
    return found
