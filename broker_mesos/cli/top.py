"""``bmesos top``: the numbers of the cluster and its busiest agents, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from broker_mesos.cli import show, watch
from broker_mesos.cli.declare import Option
from broker_mesos.cli.options import Call

if TYPE_CHECKING:
    from broker_mesos.core.api.agent_table import AgentColumns
    from broker_mesos.core.api.overview import Overview

SHOWN = ("cpus", "mem", "gpus", "disk")
"""The resources that are shown, in this order."""


def top(
    call: Call,
    sort: Annotated[
        str, Option("--sort", metavar="COLUMN", help="Order of the agents: cpus, mem, gpus, disk, tasks, state.")
    ] = "cpus",
    filter: Annotated[
        str, Option("--filter", metavar="WORDS", help="Only these agents: 'rack:r1 state!=ready'.", show_default=False)
    ] = "",
    limit: Annotated[int, Option("--limit", min=1, max=200, metavar="N", help="Show N agents at most.")] = 20,
    once: Annotated[bool, Option("--once", help="Show it once, and end.")] = False,
) -> None:
    """Show the numbers of the cluster, until Ctrl-C.

    The busiest agents are listed below them.

    With `-o json` they are printed once, as one value.
    """
    client = call.client()
    order = sort if sort in ("state", "host") or sort.startswith("-") else f"-{sort}"

    def draw() -> None:
        _draw(client.overview(), client.agent_table(sort=order, filter=filter, limit=limit))

    if call.json:
        overview, agents = client.overview(), client.agent_table(sort=order, filter=filter, limit=limit)
        show.print_json({"overview": show.data(overview), "agents": show.data(agents)})
    elif once:
        draw()
    else:
        watch.watch(client, None, draw)


def _draw(overview: Overview, agents: AgentColumns) -> None:
    for name, counts in (("agents", overview.agents), ("tasks", overview.tasks), ("frameworks", overview.frameworks)):
        parts = ", ".join(f"{count} {state}" for state, count in sorted(counts.items(), key=lambda each: -each[1]))
        show.line(f"{name + ':':<12} {parts or 'none'}")
    if overview.jobs is not None:
        show.line(f"{'jobs:':<12} {overview.jobs.get('active', 0)} active of {overview.jobs.get('all', 0)}")
    for name in SHOWN:
        if total := overview.total.get(name, 0):
            used, offered = overview.used.get(name, 0), overview.offered.get(name, 0)
            show.line(f"{name + ':':<12} {used:g} of {total:g} used ({used / total:.0%}), {offered:g} offered")
    for each in overview.waiting:
        show.line(f"{'waiting:':<12} {each.tasks} tasks: {each.group}")
    show.line("")
    names = [name for name in SHOWN if any(name in kind for kind in agents.kinds)]
    rows = [
        (
            ident,
            agents.state_names[agents.states[at]],
            agents.tasks[at],
            *(_part(agents, name, at) for name in names),
        )
        for at, ident in enumerate(agents.ids)
    ]
    show.table(["AGENT", "STATE", ">TASKS", *(f">{name.upper()}" for name in names)], rows)
    if agents.truncated:
        show.line(f"… and {agents.match - len(agents.ids)} more agents")
    show.warn_missing(agents.missing)


def _part(agents: AgentColumns, name: str, at: int) -> str:
    total = agents.kinds[agents.kind[at]].get(name, 0)
    taken = sum(each[name][at] for each in (agents.used, agents.offered) if name in each)
    return f"{taken:g}/{total:g}" if total else "-"
