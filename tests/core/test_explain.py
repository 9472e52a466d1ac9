"""Why a task waits, in one line of the whole cluster."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.explain import AgentObstacle, GetPlacement, Placement
from broker_mesos.core.api.explain_reasons import change, reason
from broker_mesos.core.api.maintenance import DrainAgents
from broker_mesos.core.cell.inputs import OperatorMaintain
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Demand, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.agent_messages import RegisterAgent
from broker_mesos.core.protocol.framework_messages import Decline
from tests.core.cell.harness import Bench, offers_in, task

R = Resources.parse


class Cluster:
    """A cell with a framework ``f1`` that wants nothing, so that everything is free."""

    def __init__(self, *agents: tuple[str, str, dict[str, str]]) -> None:
        self.bench = Bench()
        self.bench.framework("f1", demand=Demand(version=1, wanted=False))
        for name, resources, attributes in agents:
            info = AgentInfo(agent_id=name, hostname=name, resources=Resources.parse(resources), attributes=attributes)
            self.bench.decide(RegisterAgent(agent=info, attempt=name, cells=1))

    def ask(self, need: str, *constraints: str) -> tuple[Shape, list[Placement]]:
        wanted = Shape(resources=Resources.parse(need), constraints=tuple(map(Constraint.parse, constraints)))
        request = GetPlacement(framework_id="f1", shape=wanted)
        return wanted, [placement(self.bench.state, self.bench.cell.policy, request, self.bench.now)]

    def why(self, need: str, *constraints: str) -> str:
        return reason(*self.ask(need, *constraints))


def test_there_are_no_agents() -> None:
    assert Cluster().why("cpus:1") == "there are no agents"


def test_all_agents_are_out_of_reach() -> None:
    cluster = Cluster(("h1", "cpus:8", {}))
    cluster.bench.wait(40.0)
    assert cluster.why("cpus:1") == "no agent is reachable (1 known)"


@pytest.mark.parametrize(
    ("need", "told"),
    [
        ("cpus:64", "it needs 64 cpus a task; the largest agent has 8"),
        ("cpus:16;mem:2000.5", "it needs 2000.5 mem a task; the largest agent has 100"),
        ("cpus:1;gpus:1", "it needs 1 gpus a task; no agent has any"),
        ("cpus:8;mem:100", "no single agent has all that a task needs (cpus:8;mem:100)"),
    ],
)
def test_the_shortest_resource_is_named(need: str, told: str) -> None:
    assert Cluster(("h1", "cpus:8;mem:50", {}), ("h2", "cpus:4;mem:100", {})).why(need) == told


def test_the_constraint_that_nobody_satisfies_is_named() -> None:
    cluster = Cluster(("h1", "cpus:8", {"rack": "r1"}))
    assert cluster.why("cpus:1", "rack==r2") == "no agent satisfies the constraint rack==r2"
    assert change(*cluster.ask("cpus:1", "rack==r2")) == "drop the constraint rack==r2"


def test_constraints_that_nobody_satisfies_together_are_named() -> None:
    cluster = Cluster(("h1", "cpus:8", {"rack": "r1"}), ("h2", "cpus:8", {"disk": "ssd"}))
    assert cluster.why("cpus:1", "rack==r1", "disk==ssd") == ("no agent satisfies rack==r1 and disk==ssd together")


def test_too_small_are_those_that_the_constraints_allow() -> None:
    cluster = Cluster(("h1", "cpus:2", {"rack": "r1"}), ("h2", "cpus:8", {}))
    assert cluster.why("cpus:4", "rack==r1") == (
        "of the agents that the constraints allow: it needs 4 cpus a task; the largest agent has 2"
    )


def test_busy_agents_are_told_with_the_nearest_one() -> None:
    cluster = Cluster(("h1", "cpus:8;mem:512", {}))
    bench = cluster.bench
    bench.framework("f2")
    offer = offers_in(bench.said)[-1]
    bench.accept(offer, task("t1", "cpus:6;mem:64"))
    bench.framework("f2", demand=Demand(version=7, wanted=False))
    bench.decide(Decline(framework_id="f2", offer_ids=tuple(bench.state.offers), refuse_seconds=0))
    assert cluster.why("cpus:4") == "all fitting agents are busy; h1 is the nearest, short of cpus:2"


def test_refusal_says_for_how_long() -> None:
    cluster = Cluster(("h1", "cpus:8;mem:512", {}))
    bench = cluster.bench
    bench.framework("f1", demand=Demand(version=2))
    offer = offers_in(bench.said)[-1]
    bench.framework("f1", demand=Demand(version=3, wanted=False))
    bench.decide(Decline(framework_id="f1", offer_ids=(offer.offer_id,), refuse_seconds=60))
    assert cluster.why("cpus:4") == "1 agent would do, but the framework refused it, for 60.0 s more (h1)"
    assert change(*cluster.ask("cpus:4")) == "wait 60 s: the framework refused h1 for so long"


def test_drained_agents_are_named_only_where_taking_them_back_would_help() -> None:
    cluster = Cluster(("h1", "cpus:8", {}), ("h2", "cpus:2", {"rack": "r1"}))
    cluster.bench.decide(OperatorMaintain(DrainAgents(agent_ids=("h1",))))
    assert cluster.why("cpus:4") == "1 agent would do, but it is drained; see `bmesos agents activate` (h1)"
    assert change(*cluster.ask("cpus:4")) == "ask for at most cpus:2 a task instead of cpus:4"
    assert change(*cluster.ask("cpus:4;mem:1")) == "add an agent with cpus:4;mem:1"
    assert cluster.why("cpus:9") == "it needs 9 cpus a task; the largest agent has 8"
    assert cluster.why("cpus:4", "rack==r1") == (
        "of the agents that the constraints allow: it needs 4 cpus a task; the largest agent has 2"
    )


def test_there_is_room_for_it() -> None:
    cluster = Cluster(("h1", "cpus:8;mem:512", {}))
    assert cluster.why("cpus:4") == "there is room for it; the next offer should start it"
    assert change(*cluster.ask("cpus:4")) == ""


def obstacle(agent: str, missing: str) -> AgentObstacle:
    return AgentObstacle(agent_id=agent, hostname=agent, cell=0, what="resources", message="", missing=R(missing))


def test_the_nearest_agent_of_all_cells_is_named() -> None:
    placements = [
        Placement(cell=0, would_run=False, agents=(obstacle("far", "cpus:3"),), counts={"resources": 1}),
        Placement(cell=1, would_run=False, agents=(obstacle("near", "cpus:1"),), counts={"resources": 1}),
    ]
    told = reason(Shape(resources=R("cpus:4")), placements)
    assert told == "all fitting agents are busy; near is the nearest, short of cpus:1"


def test_gang_with_room_in_several_cells_is_not_advised_to_begin_with_less() -> None:
    gang = Shape(resources=R("cpus:1"), count=6, gang="g")
    whole = [Placement(cell=n, would_run=False, together=count) for n, count in enumerate((4, 2))]
    assert change(gang, whole).startswith("wait: the room is in several cells")
    assert change(gang, [whole[0], Placement(cell=1, would_run=False, together=1)]) == (
        "begin with 5 tasks at once instead of 6"
    )


def test_revocable_task_without_slack_is_advised_to_have_some_lent() -> None:
    bench = Bench()
    bench.framework("f1", demand=Demand(version=1, wanted=False), capabilities=("REVOCABLE_RESOURCES",))
    bench.agent("h1", "cpus:8;mem:512")
    shape = Shape(resources=R("cpus:4"), revocable=True)
    found = placement(bench.state, bench.cell.policy, GetPlacement(framework_id="f1", shape=shape), bench.now)
    assert "--oversubscribe" in change(shape, [found])
