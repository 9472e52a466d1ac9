"""``bmesos submit``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import (
    Call,
    ConstraintOf,
    Cpus,
    Disk,
    Env,
    Gang,
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
from broker_mesos.client.names import new_job_id
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from broker_mesos.client.quick import QuickClient, Summary
    from broker_mesos.core.api.jobs import JobSummary

DETACHED = 130
"""Exit code after Ctrl-C."""
_QUICK = 1.0
"""Seconds that the quick way may take before the other is taken; it needs a hundredth of that."""


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
    gang: Gang = None,
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
        from pathlib import Path

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
        words["env"] = {**words.get("env", {}), **environment(env)}
    put_command(call, shell, words)
    job_id = job_id or new_job_id()
    quick = _submitted(call, job_id, words)
    if quick is None:
        call.client().submit(words.pop("command"), job_id=job_id, **words)
    if not waits:
        if call.json:
            show.print_json({"job_id": job_id})
        else:
            print(job_id)
            if sys.stdout.isatty():
                show.note(f"see `bmesos status {job_id}`, `bmesos logs -f {job_id}`, `bmesos wait {job_id}`")
        return 0
    if not call.json:
        print(job_id, flush=True)
    return wait_for(call, job_id, quick=None if "array" in words and sys.stderr.isatty() else quick)


def _submitted(call: Call, job_id: str, words: dict[str, Any]) -> QuickClient | None:
    """Submits a plain job in the quick way. None: it must be submitted, perhaps again under this id."""
    from broker_mesos.client import quick

    spec = quick.plain_spec(words)
    if spec is None or not quick.plain_id(job_id):
        return None
    client = connect_quickly(call)
    return client if client is not None and client.submit(job_id, spec) else None


def connect_quickly(call: Call) -> QuickClient | None:
    """The quick way to the cluster, if there is one; closed when the command has ended."""
    from broker_mesos.client import quick

    client = quick.connect(call.url, call.cluster, min(_QUICK, call.patience))
    if client is not None:
        call.closing(client.close)
    return client


def wait_for(call: Call, job_id: str, timeout: float | None = None, *, quick: QuickClient | None = None) -> int:
    """Wait for a job and return its exit code; with ``-o json`` its summary goes to stdout."""
    summary: Summary | JobSummary | None = None
    try:
        if quick is not None and not call.json:
            summary = quick.wait(job_id)
        if summary is None:
            summary = _wait(call, job_id, timeout)
    except KeyboardInterrupt:
        show.note(f"bmesos: job {job_id} goes on; `bmesos wait {job_id}` or `bmesos kill {job_id}`")
        return DETACHED
    if not call.json:
        show.note(describe_end(summary))
    return exit_code(summary)


def _wait(call: Call, job_id: str, timeout: float | None) -> JobSummary:
    job = call.client().job(job_id)
    if sys.stderr.isatty() and not call.json:
        from broker_mesos.cli.progress import with_progress

        return with_progress(job, timeout)
    summary = job.wait(timeout)
    if call.json:
        show.print_json(show.data(summary))
    return summary


def exit_code(summary: JobSummary | Summary) -> int:
    """The exit code that a job's end comes to."""
    if summary.exit_code is not None:
        return summary.exit_code
    return 0 if summary.state == "finished" else 1


def describe_end(summary: JobSummary | Summary) -> str:
    """One line on how a job ended."""
    took = show.duration((summary.ended_at or summary.submitted_at) - summary.submitted_at)
    text = f"job {summary.job_id} {summary.state} after {took}"
    if summary.total > 1:
        counts = [f"{number} {state}" for state, number in summary.counts.items() if number]
        text += f": {', '.join(counts)} of {summary.total} tasks"
    if summary.exit_code:
        text += f", exit code {summary.exit_code}; see `bmesos status {summary.job_id}`"
    return text


def put_command(call: Call, shell: str | None, words: dict[str, Any]) -> None:
    """Puts the command into ``words``: from ``--shell``, from after ``--``, or the file's own."""
    if shell is not None and call.command is not None:
        raise InvalidInput("a command is given twice, by --shell and after --: keep one")
    if shell is not None:
        words["command"] = shell
    elif call.command:
        words["command"] = call.command
    if not words.get("command"):
        raise InvalidInput("no command is given; it goes after --: bmesos submit -- echo hello")


def environment(pairs: list[str]) -> dict[str, str]:
    """Variables from ``NAME=VALUE``."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"--env {pair}: write NAME=VALUE")
        found[name] = value
    return found
