"""Why is this waiting? An answer in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker_mesos.core.operator import AgentView, JobSpec
from broker_mesos.core.records import AgentState
from broker_mesos.core.resources import Resources, amount_text


def why_waiting(spec: JobSpec, agents: Sequence[AgentView]) -> str:
    """Why no task of a job runs, given all agents of the cluster: the first hindrance that no patience
    overcomes, else that it has to wait its turn."""
    here = [agent for agent in agents if agent.state is AgentState.REGISTERED]
    if not here:
        return f"no agent is reachable ({len(agents)} known)" if agents else "there are no agents"
    if all(not agent.total.contains(spec.resources) for agent in here):
        return _too_big(spec.resources, [agent.total for agent in here])
    welcome = here
    for constraint in spec.constraints:
        rest = [agent for agent in welcome if constraint.matches(agent.attributes, agent.hostname)]
        if not rest:
            whom = "no agent satisfies" if len(welcome) == len(here) else "no agent left satisfies"
            return f"{whom} the constraint {constraint}"
        welcome = rest
    fitting = [agent for agent in welcome if agent.total.contains(spec.resources)]
    if not fitting:
        why = _too_big(spec.resources, [agent.total for agent in welcome])
        return f"of the agents that the constraints allow: {why}"
    if any(_free(agent).contains(spec.resources) for agent in fitting):
        return "there is room for it; the next offer should start it"
    return "all fitting agents are busy"


def why_lost(waiting: Mapping[str, int]) -> str:
    """Tasks by the unreachable agent on which they may still run."""
    first, count = next(iter(waiting.items()))
    tasks = "1 task waits" if count == 1 else f"{count} tasks wait"
    more = f" (and {len(waiting) - 1} more agents)" if len(waiting) > 1 else ""
    return (
        f"{tasks} for agent {first}, which is unreachable{more}; if it never comes back: "
        f"bmesos agents gone {first}"
    )


def _free(agent: AgentView) -> Resources:
    return agent.total.clipped_minus(agent.offered).clipped_minus(agent.used)


def _too_big(need: Resources, totals: Sequence[Resources]) -> str:
    """Names the resource that is short everywhere; of several the one that is shortest."""
    worst: tuple[float, str] | None = None
    for name, amount in need.scalars.items():
        largest = max(total.get(name) for total in totals)
        if largest < amount:
            has = f"the largest agent has {amount_text(largest)}" if largest else "no agent has any"
            ratio = largest / amount
            if worst is None or ratio < worst[0]:
                worst = ratio, f"it needs {amount_text(amount)} {name} a task; {has}"
    if worst is not None:
        return worst[1]
    for name in need.names():
        if name not in need.scalars:
            short = all(total.missing(need).names().count(name) for total in totals)
            if short:
                return f"no agent has the {name} that a task needs"
    return f"no single agent has all that a task needs ({need})"
