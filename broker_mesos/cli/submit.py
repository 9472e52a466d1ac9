"""``bmesos submit``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Unpack

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call, Shell, given
from broker_mesos.cli.stdin import take_stdin
from broker_mesos.client.jobs import JobClient
from broker_mesos.client.names import new_job_id, user_name
from broker_mesos.client.options import JobOptions
from broker_mesos.client.spec import describe
from broker_mesos.errors import InvalidInput

WAITING_HINT_SECONDS = 2.0
"""Seconds after which a job that waits is said to, and why."""
DETACHED = 130
"""Exit code after Ctrl-C."""


JobFile = Annotated[
    str | None,
    Argument(metavar="FILE", help="A job file, as job.yaml or job.toml; - reads a script from stdin."),
]


def submit(
    call: Call,
    file: JobFile = None,
    shell: Shell = None,
    job_id: Annotated[
        str | None,
        Option("--job-id", metavar="ID", help="The id of the job, chosen by you: submitted twice, it is one job."),
    ] = None,
    wait: Annotated[
        bool | None, Option("--wait/--no-wait", help="Wait for the job's end, and exit with its exit code.")
    ] = None,
    **options: Unpack[JobOptions],
) -> int:
    """Submit a job, and print its id.

    The command follows after --, or FILE describes the job, or - reads a script from stdin.
    """
    words = read_file(call, file, shell)
    waits = words.pop("wait", False) if wait is None else wait
    words = options_of(words, options)
    put_command(call, shell, words)
    if file == "-" and words.get("stdin") == "-":
        raise InvalidInput("stdin is given twice, for the script and for its input: put one of them into a file")
    take_stdin(words)
    job_id = new_job_id() if job_id is None else job_id
    client = call.jobs()
    client.store(job_id, describe(words.pop("command"), user_name(), **words))
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
    return wait_for(call, client, job_id)


def read_file(call: Call, file: str | None, shell: str | None) -> dict[str, Any]:
    """The options that a job file states, or a script on stdin for ``-``; none without a file."""
    if file is None:
        return {}
    if file == "-":
        from broker_mesos.cli.script import read_script

        if shell is not None or call.command is not None:
            raise InvalidInput("a command is given twice, on stdin and as words: keep one")
        return {"name": "script", "command": read_script()}
    from pathlib import Path

    from broker_mesos.cli import jobfile

    if not jobfile.is_job_file(file):
        raise InvalidInput(
            f"{file!r} is not a job file (.yaml, .toml); a command goes after --: bmesos submit -- {file}"
        )
    return jobfile.read(Path(file))


def options_of(words: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A file's options with those of the command line, which replace them; variables add to the file's."""
    flags: dict[str, Any] = {**given(options)}
    return {**words, **flags, "env": {**words.get("env", {}), **flags.get("env", {})}}


def wait_for(call: Call, client: JobClient, job_id: str, timeout: float | None = None) -> int:
    """Wait for a job and return its exit code; with ``-o json`` its summary goes to stdout."""
    try:
        summary = _wait(call, client, job_id, timeout)
    except KeyboardInterrupt:
        show.note(f"bmesos: job {job_id} goes on; `bmesos wait {job_id}` or `bmesos kill {job_id}`")
        return DETACHED
    if call.json:
        from broker_mesos.core.api.jobs import JobSummary

        show.print_json(show.data(JobSummary.model_validate(summary)))
    else:
        show.note(describe_end(summary))
    return exit_code(summary)


def _wait(call: Call, client: JobClient, job_id: str, timeout: float | None) -> Mapping[str, Any]:
    if sys.stderr.isatty() and not call.json:
        from broker_mesos.cli.progress import with_progress

        return with_progress(client, job_id, timeout)
    notes = show.WaitingNotes(client)
    summary: Mapping[str, Any] = {}
    for summary in client.follow(job_id, timeout, pending_turn=WAITING_HINT_SECONDS):
        notes.check(summary)
    return summary


def wait_for_task(call: Call, client: JobClient, task_id: str, timeout: float | None = None) -> int:
    """Wait for one task of a job and return its exit code; with ``-o json`` the task goes to stdout."""
    task = client.end_of_task(task_id, timeout, show.WaitingNotes(client).check_task)
    code: int | None = task.get("exit_code")
    if code is None:
        code = 128 + task["signal"] if task.get("signal") else int(task["state"] != "finished")
    if call.json:
        from broker_mesos.core.api.jobs import JobTask

        show.print_json(show.data(JobTask.model_validate(task)))
    else:
        text = f"task {task['task_id']} {task['state']}" + (f", exit code {code}" if code else "")
        show.note(f"{text}: {task['message']}" if task.get("message") else text)
    return code


def exit_code(summary: Mapping[str, Any]) -> int:
    """The exit code that a job's end comes to."""
    code: int | None = summary.get("exit_code")
    if code is not None:
        return code
    return 0 if summary["state"] == "finished" else 1


def describe_end(summary: Mapping[str, Any]) -> str:
    """One line on how a job ended."""
    job_id, submitted_at = summary["job_id"], summary["submitted_at"]
    took = show.duration((summary.get("ended_at") or submitted_at) - submitted_at)
    text = f"job {job_id} {summary['state']} after {took}"
    if summary["total"] > 1:
        counts = [f"{number} {state}" for state, number in summary["counts"].items() if number]
        text += f": {', '.join(counts)} of {summary['total']} tasks"
    if summary.get("reason"):
        text += f" ({summary['reason']})"
    if summary.get("exit_code"):
        text += f", exit code {summary['exit_code']}; see `bmesos status {job_id}`"
    return text


def put_command(call: Call, shell: str | None, words: dict[str, Any], name: str = "submit") -> None:
    """Puts the command into ``words``: from ``--shell``, from after ``--``, or the file's own. ``name`` is that of
    the command of ``bmesos`` that is running."""
    if shell is not None and call.command is not None:
        raise InvalidInput("a command is given twice, by --shell and after --: keep one")
    if shell is not None:
        words["command"] = shell
    elif call.command:
        words["command"] = call.command
    if not words.get("command"):
        raise InvalidInput(f"no command is given; it goes after --: bmesos {name} -- echo hello")
