"""``bmesos agents``: list them, drain them, take them back, give them up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker_mesos.cli import cluster, show
from broker_mesos.cli.options import Call, common

if TYPE_CHECKING:
    from collections.abc import Iterable

app = typer.Typer(
    help="List the agents, and what is used of them; drain them, take them back, give them up.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Agents = Annotated[list[str], typer.Argument(metavar="AGENT", help="Ids of agents.")]
Grace = Annotated[
    float | None,
    typer.Option(
        "--grace",
        min=0,
        max=86_400,
        metavar="SECONDS",
        help="Time between SIGTERM and SIGKILL at most; else as long as each task asks for.",
    ),
]


def listing(call: Call) -> None:
    """List the agents, and what is used of them; drain them, take them back, give them up.

    Without a command after it, the list.
    """
    cluster.agents(call)


def drain(
    call: Call,
    agents: Agents,
    grace: Grace = None,
    gone: Annotated[
        bool, typer.Option("--gone", help="Mark them as gone once no task is left there.")
    ] = False,
) -> None:
    """Offer nothing of agents any more, and kill their tasks, which run elsewhere then.

    Answered at once; `bmesos agents` says `draining`, and `drained` when no task is left. So it stays until
    `bmesos agents activate`, whatever the agent does.
    """
    _said(call, call.client().drain_agents(*agents, grace=grace, gone=gone))


def activate(call: Call, agents: Agents) -> None:
    """Offer agents again that were drained or deactivated."""
    _said(call, call.client().activate_agents(*agents))


def deactivate(call: Call, agents: Agents) -> None:
    """Offer nothing of agents any more; their tasks live on."""
    _said(call, call.client().deactivate_agents(*agents))


def gone(call: Call, agent: Annotated[str, typer.Argument(metavar="AGENT", help="Its id.")]) -> None:
    """End the tasks of an agent that never comes back, so that they can run elsewhere."""
    found = call.client().mark_agent_gone(agent)
    if call.json:
        show.print_json(show.data(found))
    else:
        show.line(f"agent {agent} is marked as gone; {found.tasks} tasks end")


def _said(call: Call, found: Iterable[Any]) -> None:
    if call.json:
        show.print_json([show.data(each) for each in found])
        return
    for each in found:
        tasks = "1 task" if each.tasks == 1 else f"{each.tasks} tasks"
        show.line(f"agent {each.agent_id} is {each.maintenance or 'active'}, with {tasks}")


def _or_list(function: Any) -> Any:
    """Only where no command follows: options are taken in any case."""
    command = common(function)

    def either(ctx: typer.Context, **values: Any) -> Any:
        if ctx.invoked_subcommand is None:
            return command(ctx, **values)
        for name, value in values.items():
            if value is not None:
                setattr(ctx.obj, name, value)
        return None

    either.__signature__ = command.__signature__  # type: ignore[attr-defined]
    either.__annotations__ = command.__annotations__
    either.__doc__ = function.__doc__
    return either


app.callback()(_or_list(listing))
app.command(name="drain")(common(drain))
app.command(name="activate")(common(activate))
app.command(name="deactivate")(common(deactivate))
app.command(name="gone")(common(gone))
