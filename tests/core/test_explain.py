"""Why a job waits."""

from __future__ import annotations

from typing import Any

import pytest

from broker_mesos.core.explain import why_waiting
from broker_mesos.core.messages import CommandInfo
from broker_mesos.core.operator import AgentView, JobSpec
from broker_mesos.core.records import AgentState
from broker_mesos.core.resources import Resources


def agent(total: str, used: str = "", **fields: Any) -> AgentView:
    fields = {
        "agent_id": "a",
        "cell": 0,
        "hostname": "h1",
        "state": AgentState.REGISTERED,
        "offered": Resources.EMPTY,
        **fields,
    }
    return AgentView(total=Resources.parse(total), used=Resources.parse(used), **fields)


def why(need: str, *agents: AgentView, constraints: tuple[str, ...] = ()) -> str:
    spec = JobSpec(
        command=CommandInfo(arguments=("true",)),
        resources=Resources.parse(need),
        constraints=constraints,  # type: ignore[arg-type]
    )
    return why_waiting(spec, agents)


def test_there_are_no_agents() -> None:
    assert why("cpus:1") == "there are no agents"


def test_all_agents_are_out_of_reach() -> None:
    assert why("cpus:1", agent("cpus:8", state=AgentState.UNREACHABLE)) == "no agent is reachable (1 known)"


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        ("cpus:64", "it needs 64 cpus a task; the largest agent has 8"),
        ("cpus:16;mem:2000.5", "it needs 2000.5 mem a task; the largest agent has 100"),
        ("cpus:1;gpus:1", "it needs 1 gpus a task; no agent has any"),
        ("cpus:1;ports:[5-6]", "no agent has the ports that a task needs"),
        ("cpus:8;mem:100", "no single agent has all that a task needs (cpus:8;mem:100)"),
    ],
)
def test_the_shortest_resource_is_named(need: str, reason: str) -> None:
    assert why(need, agent("cpus:8;mem:50"), agent("cpus:4;mem:100")) == reason


def test_the_constraint_that_nobody_satisfies_is_named() -> None:
    r1 = agent("cpus:8", attributes={"rack": "r1"})
    assert why("cpus:1", r1, constraints=("rack==r2",)) == "no agent satisfies the constraint rack==r2"
    both = why("cpus:1", r1, constraints=("rack==r1", "hostname==h9"))
    assert both == "no agent satisfies the constraint hostname==h9"


def test_an_allowed_agent_may_be_too_small() -> None:
    small, large = agent("cpus:2", attributes={"rack": "r1"}), agent("cpus:8")
    reason = why("cpus:4", small, large, constraints=("rack==r1",))
    assert (
        reason == "of the agents that the constraints allow: it needs 4 cpus a task; the largest agent has 2"
    )


def test_all_that_fit_are_busy() -> None:
    assert why("cpus:4", agent("cpus:8", "cpus:6"), agent("cpus:2")) == "all fitting agents are busy"


def test_there_is_room() -> None:
    assert why("cpus:4", agent("cpus:8")) == "there is room for it; the next offer should start it"
