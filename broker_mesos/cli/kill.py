"""``bmesos kill``: one job or task, or the jobs that match a filter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.job_filters import Name, Role, States, User, filter_of
from broker_mesos.cli.options import Call
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from broker_mesos.client.jobs import JobClient


def kill(
    call: Call,
    ident: Annotated[str | None, Argument(metavar="JOB|TASK", help="A job, or one task of it as JOB.INDEX.")] = None,
    state: States = None,
    name: Name = None,
    user: User = None,
    role: Role = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask before several jobs are killed.")] = False,
) -> int:
    """Kill a job, a task, or all jobs that match the filters.

    Tasks that wait never run; tasks that run get SIGTERM, and SIGKILL after their grace period.
    """
    client = call.jobs()
    chosen = filter_of(state, name, user, role, allowed=("pending", "running"))
    if any(chosen.values()):
        if ident is not None:
            raise InvalidInput(f"give a job or a filter, not both: bmesos kill {ident}")
        return _kill_matching(call, client, chosen, yes)
    if ident is None:
        raise InvalidInput(
            "name a job or a task, or choose jobs by --state, --name, --user or --role; --name '*' is all"
        )
    killed = client.call("KILL_BY_ID", {"id": ident})
    job = killed.get("job")
    if call.json:
        show.print_json(killed)
    elif job is not None and job.get("ended_at") is not None:
        show.line(f"{killed['kind']} {ident}: the job has ended ({job['state']})")
    else:
        show.line(f"killing {killed['kind']} {ident}")
        if killed.get("note"):
            show.note(killed["note"])
    return 0


def _kill_matching(call: Call, client: JobClient, chosen: dict[str, Any], yes: bool) -> int:
    if sys.stdin.isatty() and not yes:
        number = len(client.matching_killed(chosen, only_list=True))
        if number and not confirmed(f"end {_jobs(number)}? [y/N] "):
            show.note("bmesos: nothing is killed")
            return 1
    ids = client.matching_killed(chosen)
    if call.json:
        show.print_json({"job_ids": ids})
    else:
        show.line(f"killing {_jobs(len(ids))}" if ids else "no job matches")
    return 0


def confirmed(question: str) -> bool:
    """Ask a person; anything but yes means no."""
    # On stderr: stdout may go to a file.
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _jobs(number: int) -> str:
    return f"{number} job{'' if number == 1 else 's'}"
