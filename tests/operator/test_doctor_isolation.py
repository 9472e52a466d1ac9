"""What the doctor finds about the isolation of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.findings import Finding
from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.operator.doctor_isolation import isolation

LIMITS = ("cpu", "mem", "pids", "oom", "kill")
NOT_DELEGATED = "cgroup v2 is not delegated to us"
LEAK = "cgroup leak: 40 cgroups cannot be removed, such as /sys/fs/cgroup/x/t1"


def agent(name: str, **more: Any) -> AgentView:
    state = more.pop("state", AgentStatus.REGISTERED)
    nothing = {"total": Resources(), "offered": Resources(), "used": Resources()}
    return AgentView(agent_id=name, cell=0, hostname=f"host-{name}", state=state, **nothing, **more)


def found(*agents: AgentView) -> list[tuple[str, str]]:
    findings: list[Finding] = list(isolation(agents))
    assert all(each.advice for each in findings if each.level != "ok")
    return [(each.level, each.found) for each in findings]


@pytest.mark.parametrize(
    ("agents", "findings"),
    [
        ([agent("a1"), agent("a2")], []),  # nobody wishes it, which is the default
        ([agent("a1", isolation=LIMITS)], [("ok", "1 hold tasks to limits: cpu kill mem oom pids")]),
        (
            [
                agent("a1", isolation=("images",)),
                agent("a2", isolation_missing={"images": "its setting container_engine is none"}),
            ],
            [
                (
                    "ok",
                    "1 can run tasks in containers: a1 (host-a1); not a2 (host-a2): its setting container_engine is"
                    " none",
                )
            ],
        ),
        (
            [agent("a1", isolation=("images",), not_isolated=NOT_DELEGATED)],
            [
                (
                    "warning",
                    f"1 account the resources of tasks, and do not enforce them: a1 (host-a1): {NOT_DELEGATED}",
                ),
                ("ok", "1 can run tasks in containers: a1 (host-a1)"),
            ],
        ),
        (
            [agent("a1", isolation=(*LIMITS, "fs", "pid"))],
            [("ok", "1 hold tasks to limits: cpu fs kill mem oom pid pids; 1 can sandbox them")],
        ),
        (
            [agent("a1", not_isolated=NOT_DELEGATED)],
            [
                (
                    "warning",
                    f"1 account the resources of tasks, and do not enforce them: a1 (host-a1): {NOT_DELEGATED}",
                )
            ],
        ),
        (
            [agent("a1", isolation=LIMITS, not_isolated="bwrap is not there")],
            [
                ("warning", "1 agent with less isolation than wished: a1 (host-a1): bwrap is not there"),
                ("ok", "1 hold tasks to limits: cpu kill mem oom pids"),
            ],
        ),
        (
            [agent("a1", isolation=LIMITS), agent("a2"), agent("a3")],
            [
                ("ok", "1 hold tasks to limits: cpu kill mem oom pids"),
                ("warning", "2 agents among them that hold tasks to nothing: a2 (host-a2), a3 (host-a3)"),
            ],
        ),
        (
            [agent("a1", usage=Usage(problems=(LEAK, "another")))],
            [("warning", f"1 agent with problems: a1 (host-a1): {LEAK}")],
        ),
        ([agent("a1", usage=Usage(problems=(LEAK,)), not_isolated="x", state=AgentStatus.UNREACHABLE)], []),
    ],
)
def test_agents_are_told_apart_by_what_they_hold_tasks_to(
    agents: list[AgentView], findings: list[tuple[str, str]]
) -> None:
    assert found(*agents) == findings
