"""``bmesos reservations``, ``reserve``, ``unreserve``, ``volumes`` and ``volume``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call
from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMIT = 1_000


Agent = Annotated[str, Argument(metavar="AGENT", help="The id of the agent.")]
Role = Annotated[str, Argument(metavar="ROLE", help="The role, as eng/db.")]
Amount = Annotated[str, Argument(metavar="RESOURCES", help="Resources, as 'cpus:2;mem:1024'.")]
Id = Annotated[str, Argument(metavar="VOLUME", help="The id of the volume, unique on the agent.")]
Labels = Annotated[
    list[str] | None,
    Option("--label", metavar="KEY=VALUE", help="A label, which tells reservations of one role apart; repeatable."),
]


def reservations(call: Call) -> None:
    """List the reservations, and how much of each is unused."""
    columns = ["AGENT", "ROLE", "RESOURCES", "UNUSED", "KIND", "LABELS"]
    drop = ["LABELS", "KIND", "UNUSED"]
    _list(call, "reservations", columns, drop, _reservation, "nothing is reserved; see `bmesos reserve --help`")


def volumes(call: Call) -> None:
    """List the persistent volumes, and the tasks that use them."""
    columns = ["AGENT", "VOLUME", "ROLE", ">MB", "SHARED", "TASKS"]
    drop = ["SHARED", "TASKS", "ROLE", "MB"]
    _list(call, "volumes", columns, drop, _volume, "no volumes; see `bmesos volume create --help`")


def reserve(
    call: Call,
    agent: Agent,
    role: Role,
    resources: Amount,
    label: Labels = None,
    refine: Annotated[
        str | None,
        Option("--refine", metavar="ROLE", help="Take it from what is reserved for this role, which is above."),
    ] = None,
) -> None:
    """Reserve resources of an agent for a role.

    The roles below it may use them, too. Open offers of these resources are rescinded; resources that tasks of
    others use cannot be reserved.
    """
    client = call.client()
    found = client.reserve(agent, role, resources, labels=_labels(label), refine=refine or "")
    _said(call, found, f"{resources} of agent {agent} is reserved for {role}")


def unreserve(call: Call, agent: Agent, role: Role, resources: Amount, label: Labels = None) -> None:
    """Give reserved resources of an agent back.

    They return to everybody, or to the role above that they were taken from. What the agent itself reserves
    (`bmesos agent --reserve`) stays reserved.
    """
    found = call.client().unreserve(agent, role, resources, labels=_labels(label))
    _said(call, found, f"{resources} of agent {agent} is not reserved for {role} any more")


def create(
    call: Call,
    agent: Agent,
    role: Role,
    ident: Id,
    size: Annotated[int, Argument(metavar="MB", min=1, help="The size of the volume, of reserved disk.")],
    shared: Annotated[bool, Option("--shared", help="Several tasks may use it at once.")] = False,
) -> None:
    """Create a persistent volume on disk that is reserved for a role.

    It outlives tasks and the agent's restarts, and is offered to the role with its data.
    """
    found = call.client().create_volume(agent, role, ident, size, shared=shared)
    _said(call, found, f"volume {ident} of {size} MB is on agent {agent}, for {role}")


def destroy(call: Call, agent: Agent, ident: Id) -> None:
    """Delete a volume with all its data; its disk stays reserved."""
    _said(call, call.client().destroy_volume(agent, ident), f"volume {ident} of agent {agent} is deleted")


def _labels(given: Sequence[str] | None) -> dict[str, str]:
    found = {}
    for each in given or ():
        key, separator, value = each.partition("=")
        if not separator or not key:
            raise InvalidInput(f"--label {each!r}: write KEY=VALUE, as in --label for=tests")
        if key in found:
            raise InvalidInput(f"the label {key} is given twice")
        found[key] = value
    return found


def _said(call: Call, found: Any, line: str) -> None:
    if call.json:
        show.print_json(show.data(found))
    else:
        show.line(line)


def _reservation(agent: Any, each: Any) -> Sequence[object]:
    found = each.reservation
    kind = "static" if found.static else "dynamic"
    if found.refines:
        kind = f"of {found.refines[-1].role}"
    labels = ",".join(f"{key}={value}" for key, value in sorted(found.labels.items()))
    return (
        agent.agent_id,
        found.role,
        show.resources(found.resources),
        show.resources(each.unused),
        kind,
        labels or "-",
    )


def _volume(agent: Any, each: Any) -> Sequence[object]:
    found = each.volume
    size = found.size.get("disk") / 1000
    return (
        agent.agent_id,
        found.volume_id,
        found.role,
        f"{size:g}",
        "yes" if found.shared else "no",
        ",".join(each.tasks) or "-",
    )


def _list(call: Call, what: str, columns: list[str], drop: list[str], row: Any, empty: str) -> None:
    client = call.client()
    state = client.state("agents", limit=_LIMIT)
    agents, missing = list(state.agents), state.missing
    while state.after:
        state = client.state("agents", limit=_LIMIT, after=state.after)
        agents += state.agents
    found = [(agent, each) for agent in agents for each in getattr(agent, what)]
    if call.json:
        show.print_json([{"agent_id": agent.agent_id, **show.data(each)} for agent, each in found])
    elif found:
        show.table(columns, [row(agent, each) for agent, each in found], drop=drop)
    else:
        show.line(empty)
    show.warn_missing(missing)
