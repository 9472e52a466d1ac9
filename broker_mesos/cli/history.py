"""``bmesos history`` and ``bmesos retry``: jobs that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.job_filters import Name, Role, States, User, filter_of
from broker_mesos.cli.options import Call
from broker_mesos.client.jobs import ENDED, Json
from broker_mesos.core.model.roles import ANYBODY


def history(
    call: Call,
    state: States = None,
    name: Name = None,
    user: User = None,
    role: Role = None,
    since: Annotated[
        str | None, Option("--since", metavar="TIME", help="Only jobs that ended after this time: 2h (ago), or a date.")
    ] = None,
    until: Annotated[str | None, Option("--until", metavar="TIME", help="Only jobs that ended before it.")] = None,
    limit: Annotated[int, Option("--limit", min=1, max=1_000, metavar="N", help="Show N jobs at most.")] = 50,
    after: Annotated[
        int | None, Option("--after", metavar="N", help="Show the page after the one whose last line names N.")
    ] = None,
) -> None:
    """List jobs that have ended, the latest submitted first."""
    chosen = filter_of(state, name, user, role, since, until, ENDED)
    found = call.jobs().call("GET_JOBS", {"limit": limit, "which": {"kind": "ended", "after": after, **chosen}})
    if call.json:
        show.print_json(found["jobs"])
    elif found["jobs"]:
        _table(found["jobs"])
    else:
        show.line("no ended job matches" if found.get("total") else "no job has ended yet")
    if found.get("truncated"):
        show.note(f"bmesos: there may be more: the same with --after {found['after']}, or a higher --limit")


def _table(jobs: Sequence[Json]) -> None:
    roles = show.has_roles(job.get("role", ANYBODY) for job in jobs)
    show.table(
        ["JOB", "NAME", "USER", *(["ROLE"] if roles else []), "STATE", ">TASKS", ">EXIT", "ENDED", "TOOK"],
        [
            (
                job["job_id"],
                job.get("name") or "-",
                job.get("user") or "-",
                *([job.get("role", ANYBODY)] if roles else []),
                job["state"],
                job["total"],
                "-" if (code := job.get("exit_code")) is None else code,
                show.since(job.get("ended_at") or 0),
                show.duration((job.get("ended_at") or job["submitted_at"]) - job["submitted_at"]),
            )
            for job in jobs
        ],
    )


def retry(
    call: Call,
    job: Annotated[str, Argument(metavar="JOB", help="A job that has ended.")],
    wait: Annotated[bool, Option("--wait", help="Wait for the job's end, and exit with its exit code.")] = False,
) -> int:
    """Run the failed tasks of an ended job again.

    What has succeeded is not run again.
    """
    client = call.jobs()
    summary = client.call("RETRY_JOB", {"job_id": job})
    if not (wait and call.json):
        tasks = summary["counts"].get("pending", 0) + summary["counts"].get("running", 0)
        if call.json:
            show.print_json(summary)
        else:
            show.line(f"job {job} runs {tasks} failed task{'' if tasks == 1 else 's'} again")
    if not wait:
        return 0
    from broker_mesos.cli.submit import wait_for

    return wait_for(call, client, job)
