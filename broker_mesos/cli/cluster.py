"""``bmesos agents``, ``frameworks``, ``tasks``, ``offers`` and ``version``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call
from broker_mesos.frameworks.registry import JOBS

if TYPE_CHECKING:
    from broker_mesos.core.api.cells import CellPart

LIMIT = 1_000
LARGEST_PAGE = 2_000
"""The largest number of entries that one request returns."""
Limit = Annotated[int, Option("--limit", min=1, max=2_000, metavar="N", help="Show N entries at most.")]
MaybeLimit = Annotated[
    int | None, Option("--limit", min=1, max=2_000, metavar="N", help="Show N entries at most; else all of them.")
]
After = Annotated[
    str, Option("--after", metavar="CURSOR", help="Show the page after the one that names CURSOR.", show_default=False)
]


def agents(call: Call, limit: MaybeLimit = None, after: After = "") -> None:
    """List the agents, and what is used of them: all of them, or one page with ``limit`` or ``after``."""

    from broker_mesos.core.model.mechanisms import level_of

    def row(agent: Any) -> Sequence[object]:
        return (
            agent.agent_id,
            agent.hostname or "-",
            state_of(agent),
            agent.cell,
            agent.tasks,
            show.part_of(agent.used, agent.total, "cpus"),
            show.part_of(agent.used, agent.total, "mem"),
            level_of(agent.isolation) or "-",
            ",".join(sorted({each.reservation.role for each in agent.reservations})) or "-",
            ";".join(f"{name}:{value}" for name, value in sorted(agent.attributes.items())) or "-",
            "-" if agent.heartbeat_age is None else f"{show.duration(agent.heartbeat_age)} ago",
        )

    columns = [
        "AGENT",
        "HOST",
        "STATE",
        ">CELL",
        ">TASKS",
        ">CPUS",
        ">MEM",
        "ISOLATION",
        "RESERVED FOR",
        "ATTRIBUTES",
        "HEARD",
    ]
    drop = ["CELL", "RESERVED FOR", "HEARD", "ISOLATION", "ATTRIBUTES", "HOST", "MEM", "CPUS", "TASKS"]
    _list(call, "agents", columns, drop, row, "no agents yet; start one with `bmesos agent`", limit, after, _lends_less)


def _lends_less(agent: Any) -> str:
    """Lines about an agent that lends less than it has, or does not hold tasks as wished, or has problems; else
    empty."""
    from broker_mesos.core.model.mechanisms import limiting

    reasons = [agent.usage.lends_less, *agent.usage.problems]
    if agent.not_isolated and not limiting(agent.isolation):
        reasons.append(f"isolation: none: {agent.not_isolated}; resources are accounted, not enforced")
    elif agent.not_isolated:
        reasons.append(f"isolation: {agent.not_isolated}")
    return "\n".join(f"bmesos: {agent.agent_id}: {reason}" for reason in reasons if reason)


def state_of(agent: Any) -> str:
    """An agent's state in one word, or two: what operators did to it says more than that it is there."""
    state: str = agent.state.value
    if not agent.maintenance:
        return state
    return str(agent.maintenance) if state == "registered" else f"{state}, {agent.maintenance}"


def frameworks(call: Call, limit: Limit = LIMIT, after: After = "") -> None:
    """List the frameworks; tear one down, or readmit it.

    Without a command after it, the list.
    """

    def row(framework: Any) -> Sequence[object]:
        return (
            framework.framework_id,
            framework.name or "-",
            ",".join(framework.roles),
            framework.state.value,
            "yes" if framework.wanted else "no",
            framework.tasks,
            framework.offers,
            show.resources(framework.allocated),
            f"{framework.dominant_share:.1%}",
        )

    columns = ["FRAMEWORK", "NAME", "ROLES", "STATE", "WANTS", ">TASKS", ">OFFERS", "HOLDS", ">SHARE"]
    _list(
        call,
        "frameworks",
        columns,
        ["OFFERS", "WANTS", "SHARE", "ROLES", "NAME", "HOLDS", "TASKS"],
        row,
        f"no frameworks yet; start one with `bmesos framework {JOBS.name}`",
        limit,
        after,
    )


def teardown(
    call: Call,
    framework: Annotated[str, Argument(metavar="FRAMEWORK", help="The id of the framework.")],
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask first.")] = False,
) -> int:
    """Kill all tasks of a framework, and refuse its id from then on.

    Its processes end when they learn of it. `bmesos frameworks readmit` lets it use its id again.
    """
    from broker_mesos.cli.kill import confirmed

    client = call.client()
    if sys.stdin.isatty() and not yes:
        known = client.state("frameworks", framework_id=framework).frameworks
        number = sum(each.tasks for each in known)
        if known and not confirmed(f"kill {number} task{'' if number == 1 else 's'} of {framework}? [y/N] "):
            show.note("bmesos: nothing is torn down")
            return 1
    found = client.tear_down_framework(framework)
    if call.json:
        show.print_json(show.data(found))
    else:
        what = "1 task is" if found.tasks == 1 else f"{found.tasks} tasks are"
        show.line(f"framework {framework} is torn down; {what} killed")
    if found.missing:
        cells = ", ".join(map(str, found.missing))
        show.note(f"bmesos: cells {cells} have not answered, and follow when they have an owner")
    return 0


def readmit(
    call: Call, framework: Annotated[str, Argument(metavar="FRAMEWORK", help="The id of the framework.")]
) -> None:
    """Let the id of a framework that was torn down be used again.

    Tasks that it still has are killed all the same. Start its processes again afterwards.
    """
    found = call.client().readmit_framework(framework)
    if call.json:
        show.print_json(show.data(found))
    else:
        show.line(f"framework {framework} may subscribe again")


def tasks(call: Call, limit: Limit = LIMIT, after: After = "") -> None:
    """List the tasks of all frameworks.

    Those that run come first, then those that have ended lately.
    """

    def row(task: Any) -> Sequence[object]:
        return (
            task.task_id,
            task.name or "-",
            task.framework_id,
            task.state.short,
            task.agent_id or "-",
            show.resources(task.resources),
            show.since(task.created_at),
        )

    columns = ["TASK", "NAME", "FRAMEWORK", "STATE", "AGENT", "RESOURCES", "CREATED"]
    drop = ["CREATED", "FRAMEWORK", "RESOURCES", "NAME", "AGENT"]
    _list(call, "tasks", columns, drop, row, "no tasks; try: bmesos submit -- echo hello", limit, after)


def offers(call: Call, limit: Limit = LIMIT, after: After = "") -> None:
    """List the open offers."""

    def row(offer: Any) -> Sequence[object]:
        return (
            offer.offer_id,
            offer.framework_id,
            offer.role,
            offer.agent_id,
            show.resources(offer.resources),
            show.duration(offer.age),
            "-" if offer.expires_in is None else show.duration(offer.expires_in),
        )

    columns = ["OFFER", "FRAMEWORK", "ROLE", "AGENT", "RESOURCES", "AGE", "ENDS IN"]
    drop = ["ROLE", "ENDS IN", "AGE", "FRAMEWORK", "RESOURCES", "AGENT"]
    _list(call, "offers", columns, drop, row, "no open offers: nobody wants resources, or all are in use", limit, after)


def version(call: Call) -> None:
    """Print the version of this command."""
    import platform

    from broker_mesos import __version__

    if call.json:
        show.print_json({"version": __version__, "python": platform.python_version()})
    else:
        print(f"bmesos {__version__} (Python {platform.python_version()})")


def _list(
    call: Call,
    name: CellPart,
    columns: list[str],
    drop: list[str],
    row: Callable[[Any], Sequence[object]],
    none: str,
    limit: int | None,
    after: str,
    remark: Callable[[Any], str] = lambda entry: "",
) -> None:
    """Print a page of a list, or without a limit and a cursor all pages; ``remark`` returns a line about an entry for
    stderr, or nothing."""
    client = call.client()
    state = client.state(name, limit=limit or LARGEST_PAGE, after=after)
    entries = list(getattr(state, name))
    while limit is None and not after and state.after:
        state = client.state(name, limit=LARGEST_PAGE, after=state.after)
        entries += getattr(state, name)
    if call.json:
        show.print_json([show.data(each) for each in entries])
    elif entries:
        show.table(columns, [row(each) for each in entries], drop=drop)
        for text in filter(None, map(remark, entries)):
            show.note(text)
    else:
        show.line("nothing follows" if after else none)
    show.warn_missing(state.missing)
    if state.after:
        # Of tasks the whole number is not known: those that have ended are not counted.
        more = 0 if after or name == "tasks" else state.counts.get(name, 0) - len(entries)
        show.note(f"… and {more if more > 0 else 'some'} more: use --limit N, or --after {state.after}")
