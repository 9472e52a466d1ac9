"""What the doctor finds about the isolation of tasks on agents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.findings import Finding, names
from broker_mesos.core.model.mechanisms import level_of, limiting, why_missing
from broker_mesos.core.model.task_isolation import IMAGES
from broker_mesos.core.protocol.records import AgentStatus


def isolation(agents: Sequence[AgentView]) -> Iterator[Finding]:
    """Findings about what registered agents hold tasks to, and about the processes that start their tasks."""
    agents = [each for each in agents if each.state is AgentStatus.REGISTERED]
    if ill := [each for each in agents if each.usage.problems]:
        yield Finding(
            level="warning",
            subject="agents",
            found=f"{_count(ill)} with problems: " + _named((each, each.usage.problems[0]) for each in ill),
            advice="`bmesos agents show AGENT` lists them all; see the log of the spawner in its work folder",
        )
    wished = [each for each in agents if each.not_isolated]
    if free := [each for each in wished if not limiting(each.isolation)]:
        yield Finding(
            level="warning",
            subject="agents",
            found=f"{len(free)} account the resources of tasks, and do not enforce them: "
            + _named((each, each.not_isolated) for each in free),
            advice="do what the reason says, or start them with `--isolation none`",
        )
    if less := [each for each in wished if limiting(each.isolation)]:
        yield Finding(
            level="warning",
            subject="agents",
            found=f"{_count(less)} with less isolation than wished: "
            + _named((each, each.not_isolated) for each in less),
            advice="do what the reason says, or start them with `--isolation limits`",
        )
    holding = [each for each in agents if limiting(each.isolation)]
    if holding:
        words = sorted({word for each in holding for word in limiting(each.isolation)})
        found = f"{len(holding)} hold tasks to limits: {' '.join(words)}"
        if boxed := sum(level_of(each.isolation) == "sandboxed" for each in holding):
            found += f"; {boxed} can sandbox them"
        yield Finding(level="ok", subject="agents", found=found)
    if holding and (rest := [each for each in agents if not limiting(each.isolation) and not each.not_isolated]):
        yield Finding(
            level="warning",
            subject="agents",
            found=f"{_count(rest)} among them that hold tasks to nothing: {names(map(_name, rest))}",
            advice="start them with `--isolation limits`, or submit with `--require-isolation limits`",
        )
    if able := [each for each in agents if IMAGES in each.isolation]:
        found = f"{len(able)} can run tasks in containers: {names(map(_name, able))}"
        if unable := [each for each in agents if IMAGES not in each.isolation]:
            found += "; not " + _named(
                (each, why_missing(IMAGES, each.isolation, each.not_isolated, each.isolation_missing))
                for each in unable
            )
        yield Finding(level="ok", subject="agents", found=found)


def _count(agents: Sequence[AgentView]) -> str:
    return "1 agent" if len(agents) == 1 else f"{len(agents)} agents"


def _name(agent: AgentView) -> str:
    return f"{agent.agent_id} ({agent.hostname or '?'})"


def _named(agents: Iterable[tuple[AgentView, str]]) -> str:
    return names(f"{_name(agent)}: {text}" for agent, text in agents)
