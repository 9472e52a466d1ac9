"""``bmesos status``, ``logs`` and ``wait``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.job_tasks import show_task, show_tasks
from broker_mesos.cli.options import Call, seconds
from broker_mesos.errors import InvalidInput, NotFound, Unavailable
from broker_mesos.frameworks.registry import JOBS

if TYPE_CHECKING:
    from broker_mesos.client import Client
    from broker_mesos.client.jobs import JobClient
    from broker_mesos.core.api.cells import CellLoad
    from broker_mesos.core.api.cluster import ClusterView
    from broker_mesos.core.api.jobs import JobList, JobSummary, JobTask, JobView
    from broker_mesos.core.api.state import StateView
    from broker_mesos.core.api.usage import TaskUsage
    from broker_mesos.core.model.task import CommandInfo

_SHOWN = 20
_AGENTS = 2_000
_SUMMED = 1_000
"""Number of tasks up to which a status sums up what they have used."""


def status(
    call: Call,
    job: Annotated[str | None, Argument(metavar="JOB", help="A job, or one task of it as JOB.INDEX.")] = None,
    every: Annotated[bool, Option("--all", help="Show all jobs, or all tasks of the job.")] = False,
    usage: Annotated[bool, Option("--usage", help="Ask agents what its running tasks use now.")] = False,
    suggest: Annotated[
        bool, Option("--suggest", help="Say what the job might ask for, by what its tasks have used.")
    ] = False,
    watch: Annotated[
        bool, Option("--watch", help="Show it again whenever it has changed, until the job ends or Ctrl-C.")
    ] = False,
) -> None:
    """Show the cluster, or one job with its tasks."""
    client = call.client()
    if (usage or suggest) and job is None:
        raise InvalidInput("--usage and --suggest are about one job: name it")
    if suggest:
        _suggest(call, client, job or "")
        return
    if not watch:
        _status(call, client, job, every, usage)
        return
    if call.json:
        raise InvalidInput("--watch is for people: leave out -o json")
    from broker_mesos.cli import watch as watching

    watching.watch(client, job, lambda: _status(call, client, job, every, usage))


def _suggest(call: Call, client: Client, job_id: str) -> None:
    from broker_mesos.cli.job_usage import advice

    job = client.job(job_id)
    lines = list(advice(job.view(limit=0).spec, list(job.tasks())))
    if call.json:
        show.print_json({"job_id": job_id, "suggestions": lines})
    for line in () if call.json else lines:
        show.line(line)


def _status(call: Call, client: Client, job: str | None, every: bool, usage: bool) -> None:
    if job is None:
        _cluster_status(call, client, every)
        return
    try:
        _job_status(call, client, job, every, usage)
    except NotFound:
        if "." not in job:
            raise
        from broker_mesos.cli.job_usage import usage_now
        from broker_mesos.core.api.jobs import GetTask, JobTaskDetails

        task = client.ask(GetTask(task_id=job, earlier=True), JobTaskDetails)
        if call.json:
            show.print_json(show.data(task))
        else:
            show_task(task, usage_now(client, [task]) if usage else {})


def logs(
    call: Call,
    task: Annotated[str, Argument(metavar="TASK", help="A task, JOB or JOB.INDEX.")],
    follow: Annotated[
        bool, Option("--follow", "-f", help="Print new output as it comes, until the task has ended.")
    ] = False,
    stderr: Annotated[bool, Option("--stderr", help="Print stderr instead of stdout.")] = False,
) -> None:
    """Print a task's output."""
    if call.json and follow:
        raise InvalidInput("-f passes the output on as it comes: leave out -o json")
    stream: Any = "stderr" if stderr else "stdout"
    client = call.jobs()
    _note_array(client, task)
    chunks = client.read(task, stream, follow)
    if call.json:
        text = b"".join(chunks).decode(errors="replace")
        show.print_json({"task_id": task, "stream": stream, "text": text})
        return
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _note_array(client: JobClient, ident: str) -> None:
    """Notes which task is shown where the id of an array is given."""
    with suppress(NotFound, Unavailable, InvalidInput):  # a task's id, or what reading it will find itself
        view = client.call("GET_JOB", {"job_id": ident, "limit": 1})
        total = view["summary"]["total"]
        if total > 1 and view.get("tasks"):
            index = view["tasks"][0]["index"]
            show.note(f"bmesos: index {index}, the first of {total} tasks; for others: bmesos logs {ident}.INDEX")


def wait(
    call: Call,
    job: Annotated[str, Argument(metavar="JOB", help="A job, or JOB.INDEX for one task of it.")],
    limit: Annotated[
        str | None, Option("--for", metavar="TIME", help="Give up after so long, as 30s or 5m (exit code 4).")
    ] = None,
) -> int:
    """Wait for a job's end, and exit with its exit code.

    For an array that is 0 if all tasks succeeded, else that of the first task that failed.
    """
    from broker_mesos.cli.submit import wait_for, wait_for_task

    timeout = None if limit is None else seconds(limit, "--for")
    client = call.jobs()
    try:
        return wait_for(call, client, job, timeout)
    except NotFound:
        if "." not in job:
            raise
        return wait_for_task(call, client, job, timeout)


# -- the cluster ----------------------------------------------------------------------------------------


def _cluster_status(call: Call, client: Client, every: bool) -> None:
    from broker_mesos.core.api.jobs import GetJobs, JobList

    view = client.cluster()
    state: StateView | None = None
    jobs: JobList | None = None
    trouble: list[str] = []
    try:
        state = client.state("agents", limit=_AGENTS)
    except Unavailable as error:
        trouble.append(f"agents: {error}")
    try:
        jobs = client.ask(GetJobs(limit=1_000 if every else _SHOWN), JobList)
    except Unavailable:
        trouble.append(f"jobs: their framework does not answer; start it with `bmesos framework {JOBS.name}`")
    if call.json:
        show.print_json(
            {
                "cluster": show.data(view),
                "agents": [show.data(agent) for agent in state.agents] if state else None,
                "counts": state.counts if state else None,
                "loads": [show.data(each) for each in state.loads] if state else None,
                "resources": _totals(state) if state else None,
                "jobs": [show.data(each) for each in jobs.jobs] if jobs else None,
                "missing": [show.data(each) for each in state.missing] if state else None,
                "truncated": [
                    *(state.truncated if state else ()),
                    *(["jobs"] if jobs and jobs.total > len(jobs.jobs) else []),
                ],
            }
        )
    else:
        _masters(view, {each.cell: each for each in state.loads} if state else {})
        if state is not None:
            _resources(state)
        if jobs is not None:
            _jobs(jobs)
    if state is not None:
        show.warn_missing(state.missing)
    if state is not None and state.truncated:
        whole = state.counts.get("agents", 0)
        trouble.append(f"resources: the totals are of the first {len(state.agents)} of {whole} agents")
    for text in trouble:
        show.note(f"bmesos: {text}")


def _masters(view: ClusterView, loads: dict[int, CellLoad]) -> None:
    show.line(f"Cluster {view.cluster}, broker_mesos {view.version}")
    print()
    show.table(
        ["MASTER", "HOST", ">PID", "VERSION", "HEARD"],
        [
            (each.master_id, each.hostname, each.pid, each.version, f"{show.duration(each.age)} ago")
            for each in view.masters
        ],
        "Masters",
        drop=["VERSION", "PID", "HOST"],
    )
    print()
    show.table(
        [">CELL", "OWNER", "HOST", ">PID", ">TERM", "RENEWED", ">BEHIND", ">ROUND"],
        [
            (
                each.cell,
                each.owner or "no owner",
                each.hostname or "-",
                "-" if each.pid is None else each.pid,
                each.term,
                f"{show.duration(each.age)} ago" if each.owner else "-",
                *_load(loads.get(each.cell)),
            )
            for each in view.cells
        ],
        "Cells",
        drop=["PID", "ROUND", "TERM", "HOST", "BEHIND", "RENEWED"],
    )
    print()


def _load(load: CellLoad | None) -> tuple[str, str]:
    """How far an owner is behind with its inbox; how long 99 of 100 rounds of allocation take at most."""
    if load is None:
        return "-", "-"
    return show.duration(load.behind), "-" if load.round_p99 is None else f"{1000 * load.round_p99:.1f}ms"


def _totals(state: StateView) -> dict[str, dict[str, Any]]:
    from broker_mesos.core.model.resources import Resources
    from broker_mesos.core.protocol.records import AgentStatus

    found: dict[str, dict[str, Any]] = {}
    for part in ("total", "offered", "used"):
        # Ports of two agents have the same numbers: counted, they add up.
        amounts = Resources.sum(
            getattr(agent, part).counted() for agent in state.agents if agent.state is AgentStatus.REGISTERED
        )
        found[part] = amounts.as_numbers()
    return found


def _resources(state: StateView) -> None:
    agents = state.agents
    lost = sum(1 for agent in agents if agent.state.value != "registered")
    running = sum(agent.tasks for agent in agents)
    text = f"Agents: {len(agents) - lost}" + (f", and {lost} unreachable" if lost else "")
    show.line(f"{text}; tasks: {running}; open offers: {state.counts.get('offers', 0)}")
    known = state.counts.get("agents", len(agents))
    if known > len(agents):
        show.line(f"(resources below are those of {len(agents)} of {known} agents)")
    if not agents:
        show.line("no agents yet; start one with `bmesos agent`")
        return
    totals = _totals(state)

    def thousandths(part: str, name: str) -> int:
        return round(float(totals[part].get(name, 0)) * 1000)

    rows = []
    for name in totals["total"]:
        total, offered, used = (thousandths(part, name) for part in ("total", "offered", "used"))
        free = max(0, total - offered - used)
        rows.append((name, *(show.amount(name, each) for each in (total, offered, used, free))))
    print()
    show.table(["RESOURCE", ">TOTAL", ">OFFERED", ">USED", ">FREE"], rows, "Resources")


def _jobs(jobs: JobList) -> None:
    print()
    if not jobs.jobs:
        show.line("no jobs yet; try: bmesos submit -- echo hello")
        return
    waiting = any(job.waiting for job in jobs.jobs)
    roles = show.has_roles(job.role for job in jobs.jobs)
    columns = [
        "JOB",
        "NAME",
        *(["ROLE"] if roles else []),
        "STATE",
        ">DONE",
        ">EXIT",
        "SUBMITTED",
        "TOOK",
        *(["WAITING"] if waiting else []),
    ]
    show.table(
        columns,
        [
            (
                job.job_id,
                job.name or "-",
                *([job.role] if roles else []),
                job.state,
                f"{_done(job)}/{job.total}",
                "-" if job.exit_code is None else job.exit_code,
                show.since(job.submitted_at),
                show.duration((job.ended_at or time.time()) - job.submitted_at),
                *([job.waiting] if waiting else []),
            )
            for job in jobs.jobs
        ],
        "Jobs",
        drop=["TOOK", "SUBMITTED", "EXIT", "NAME", "ROLE", "WAITING"],
    )
    if jobs.total > len(jobs.jobs):
        show.line(f"{len(jobs.jobs)} of {jobs.total} jobs; see more with --all")


def _done(job: JobSummary) -> int:
    return sum(job.counts.get(state, 0) for state in ("finished", "failed", "killed"))


# -- one job --------------------------------------------------------------------------------------------


def _job_status(call: Call, client: Client, job_id: str, every: bool, usage: bool) -> None:
    from broker_mesos.cli import job_usage

    def now(tasks: list[JobTask]) -> dict[str, TaskUsage]:
        return job_usage.usage_now(client, tasks) if usage else {}

    job = client.job(job_id)
    if call.json:
        view = job.view(limit=0)
        found = list(job.tasks())
        whole = {"job": show.data(view.summary), "spec": show.data(view.spec), "tasks": [show.data(t) for t in found]}
        if usage:
            whole["usage"] = {task_id: show.data(used) for task_id, used in now(found).items()}
        show.print_json(whole)
        return
    view = job.view(limit=_SHOWN)
    summary = view.summary
    measured = any(task.cpu_seconds is not None for task in view.tasks)
    every_task = list(job.tasks()) if every or (measured and 1 < summary.total <= _SUMMED) else list(view.tasks)
    _describe(view, list(job_usage.summary(every_task)) if measured else [])
    if every:
        show_tasks(every_task, now(every_task))
        return
    shown = list(view.tasks)
    if summary.total > _SHOWN and summary.counts.get("failed"):
        # Those that people look for come first.
        failed = job.view(limit=_SHOWN // 2, states=("failed",)).tasks
        known = {task.index for task in failed}
        shown = [*failed, *(task for task in shown if task.index not in known)][:_SHOWN]
    show_tasks(shown, now(shown))
    if summary.total > len(shown):
        show.line(f"{len(shown)} of {summary.total} tasks; see all with --all, or -o json")


def _describe(view: JobView, used: Sequence[tuple[str, str]]) -> None:
    summary, spec = view.summary, view.spec
    words = spec.command.arguments
    import shlex

    from broker_mesos.cli.job_usage import limits_text
    from broker_mesos.core.model.roles import ANYBODY

    command = f"sh -c {shlex.quote(words[0])}" if spec.command.shell else shlex.join(words)
    counts = ", ".join(f"{number} {state}" for state, number in summary.counts.items() if number)
    ended = f", took {show.duration(summary.ended_at - summary.submitted_at)}" if summary.ended_at else ""
    pairs = [
        ("Job", f"{summary.job_id}  {summary.name}".rstrip()),
        ("Command", command if len(command) <= 500 else command[:499] + "…"),
        *_files(spec.command),
        ("State", summary.state + ("" if summary.exit_code is None else f", exit code {summary.exit_code}")),
        ("Tasks", f"{summary.total}: {counts}"),
        ("Each needs", show.resources(spec.resources) + ("" if spec.role == ANYBODY else f", in role {spec.role}")),
        (
            "Submitted",
            show.since(summary.submitted_at) + ended + (f", by {summary.user}" if summary.user else ""),
        ),
    ]
    if limits := limits_text(spec):
        pairs.append(("Held to", limits))
    pairs.extend(used)
    if summary.reason:
        pairs.append(("Ended", summary.reason))
    if spec.max_running:
        pairs.append(("At a time", str(spec.max_running)))
    if spec.ports:
        names = f": {', '.join(spec.port_names)}" if spec.port_names else ""
        pairs.append(("Ports", f"{spec.ports} each{names}"))
    if spec.most:
        pairs.append(("Together", f"at most {spec.most} for each {spec.per}"))
    if spec.time_limit is not None:
        pairs.append(("Time limit", show.duration(spec.time_limit)))
    if spec.after:
        pairs.append(("After", ", ".join(("any:" if each.any_end else "") + each.job_id for each in spec.after)))
    if spec.retries:
        codes = f", after exit codes {', '.join(map(str, spec.retry_on))}" if spec.retry_on else ""
        pairs.append(("Retries", f"{spec.retries}{codes}"))
    if spec.own_constraints:
        pairs.append(("Constraints", ", ".join(str(each) for each in spec.own_constraints)))
    if spec.prefer:
        wait = f" for {spec.locality_wait:g} s" if spec.locality_wait else ""
        pairs.append(("Preferred", " or ".join(map(str, spec.prefer)) + wait))
        over = sum(summary.counts.get(each, 0) for each in ("finished", "failed", "killed"))
        pairs.append(("There", f"{summary.local or 0} of {over} ended tasks"))
    if summary.waiting:
        pairs.append(("Waiting", summary.waiting))
    for name, text in pairs:
        show.line(f"{name + ':':<13}{text}")
    print()


def _files(command: CommandInfo) -> list[tuple[str, str]]:
    """Where a job's command runs, what it reads, and the names of what it writes, as far as they are given."""
    from broker_mesos.core.model.task_input import decode_stdin

    found = []
    if command.directory:
        found.append(("Runs in", command.directory))
    if command.user:
        found.append(("Runs as", command.user))
    if command.stdin:
        found.append(("Stdin", f"{len(decode_stdin(command.stdin))} bytes"))
    found += [(title, name) for title, name in (("Stdout", command.stdout), ("Stderr", command.stderr)) if name]
    return found
