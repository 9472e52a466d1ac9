"""``bmesos agents``: lists, drains and activates agents, and marks them as gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import cluster, show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable


Agents = Annotated[list[str], Argument(metavar="AGENT", help="The ids of agents.")]
Grace = Annotated[
    str | None,
    Option(
        "--grace",
        metavar="TIME",
        help="Time between SIGTERM and SIGKILL at most, as 30s or 5m; else as long as each task asks for.",
    ),
]


def listing(call: Call, limit: cluster.Limit = cluster.LIMIT, after: cluster.After = "") -> None:
    """List the agents; drain, activate and give them up.

    Without a command after it, the list.
    """
    cluster.agents(call, limit, after)


def drain(
    call: Call,
    agents: Agents,
    grace: Grace = None,
    gone: Annotated[bool, Option("--gone", help="Mark the agents as gone once they are drained.")] = False,
) -> None:
    """Take agents out of use: no offers, and their tasks are killed.

    The batch framework runs these tasks again elsewhere. The command returns at once; `bmesos agents` shows
    `draining`, and `drained` once no task is left. The agents stay drained until `bmesos agents activate`, even
    after a restart.
    """
    limit = None if grace is None else seconds(grace, "--grace")
    _said(call, call.client().drain_agents(*agents, grace=limit, gone=gone))


def activate(call: Call, agents: Agents) -> None:
    """Put agents that were drained or deactivated into use again."""
    _said(call, call.client().activate_agents(*agents))


def deactivate(call: Call, agents: Agents) -> None:
    """Make no more offers of agents; their tasks run on."""
    _said(call, call.client().deactivate_agents(*agents))


def gone(call: Call, agent: Annotated[str, Argument(metavar="AGENT", help="The id of the agent.")]) -> None:
    """Give up an agent that never comes back.

    Its tasks end, so that frameworks can run them elsewhere.
    """
    found = call.client().mark_agent_gone(agent)
    if call.json:
        show.print_json(show.data(found))
    else:
        user = "; its user on the broker is deleted" if found.revoked else ""
        show.line(f"agent {agent} is marked as gone; {found.tasks} tasks end{user}")


def forget(call: Call, agent: Annotated[str, Argument(metavar="AGENT", help="The id of the agent.")]) -> None:
    """Let the id of an agent be enrolled again.

    For an agent that has lost its work folder, or that was marked as gone and returns. The enrolment server deletes its
    user on the broker, which closes its connections; with a join token an agent with this id then gets a new one.
    """
    found = call.client().forget_agent(agent)
    if call.json:
        show.print_json(show.data(found))
    else:
        show.line(f"agent {agent} can be enrolled again" + ("; its user was deleted" if found.existed else ""))


def _said(call: Call, found: Iterable[Any]) -> None:
    if call.json:
        show.print_json([show.data(each) for each in found])
        return
    for each in found:
        tasks = "1 task" if each.tasks == 1 else f"{each.tasks} tasks"
        show.line(f"agent {each.agent_id} is {each.maintenance or 'active'}, with {tasks}")
