"""``bmesos agents``: lists, drains and activates agents, and marks them as gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import cluster, show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call, seconds
from broker_mesos.errors import NotFound

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


def listing(call: Call, limit: cluster.MaybeLimit = None, after: cluster.After = "") -> None:
    """List, show, drain, activate and give up agents.

    Without a command after it, the list.
    """
    cluster.agents(call, limit, after)


def show_one(call: Call, agent: Annotated[str, Argument(metavar="AGENT", help="The id of the agent.")]) -> None:
    """Show one agent: what it lends, and what it holds tasks to.

    Each mechanism is listed, with what an agent needs for those that it does not have.
    """
    from broker_mesos.core.model.mechanisms import MECHANISMS, level_of, why_missing

    found = call.client().state("agents", agent_id=agent, limit=1)
    if not found.agents:
        show.warn_missing(found.missing)
        raise NotFound(f"no agent {agent}; `bmesos agents` lists them")
    view = found.agents[0]
    if call.json:
        show.print_json(show.data(view))
        return
    where = f"agent {view.agent_id} on {view.hostname or '?'}"
    show.line(f"{where}: {cluster.state_of(view)}, version {view.version or '?'}")
    show.line(f"lends {show.resources(view.total)}; {view.tasks} tasks use {show.resources(view.used)}")
    for problem in (view.usage.lends_less, *view.usage.problems):
        if problem:
            show.line(f"problem: {problem}")
    level = level_of(view.isolation)
    show.line(f"isolation: {level or 'none: resources are accounted, not enforced'}")
    rows = []
    for word, mechanism in MECHANISMS.items():
        holds = word in view.isolation
        why = "" if holds else why_missing(word, view.isolation, view.not_isolated, view.isolation_missing)
        rows.append((word, "yes" if holds else "no", mechanism.meaning, why or "-"))
    show.table(["MECHANISM", "HOLDS", "TASKS HAVE", "WHY NOT"], rows, drop=["TASKS HAVE"])


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
