"""The numbers at a glance: of what there is, and of what tasks wait for."""

from __future__ import annotations

from typing import Any

from broker_mesos.core.api.overview import CellOverview, Overview
from broker_mesos.core.api.waiting import UnmetShape, WaitingJobs, WaitingTasks, waiting_groups
from broker_mesos.core.cell.views.overview import overview, unmet_shapes
from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.framework_messages import Subscribe
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from broker_mesos.operator.overview import merge
from tests.core.cell.harness import Bench, shape


def cell(number: int, *unmet: UnmetShape, **more: Any) -> CellOverview:
    fields: dict[str, Any] = {
        "agents": {"ready": 2},
        "tasks": {"running": 3},
        "frameworks": {"f1": "subscribed"},
        "offers": 1,
        "total": {"cpus": 4},
        "used": {"cpus": 0.1},
        "offered": {},
    }
    return CellOverview(cell=number, term=1, owner="m", unmet=unmet, **(fields | more))


def test_the_numbers_of_cells_are_added_and_a_framework_counts_once() -> None:
    found = merge([cell(1, frameworks={"f1": "disconnected"}), cell(0), cell(2)], [], None)
    assert (found.agents, found.tasks, found.offers) == ({"ready": 6}, {"running": 9}, 3)
    assert found.frameworks == {"subscribed": 1}
    assert found.total == {"cpus": 12} and found.used == {"cpus": 0.3}, "no 0.30000000000000004"
    assert [each.cell for each in found.cells] == [0, 1, 2]


def agent_in(made: Bench, resources: str, number: int = 0) -> None:
    """An agent of the cell registers."""
    names = [f"a{each}" for each in range(100) if cell_of(f"a{each}", made.cells) == made.number]
    made.agent(names[number], resources)
    assert names[number] in made.state.agents


def of(made: Bench) -> tuple[UnmetShape, ...]:
    return tuple(unmet_shapes(made.state))


def wanting(made: Bench, *shapes: Any, role: str = "*") -> None:
    info = FrameworkInfo(framework_id="f1", roles=(role,))
    made.decide(Subscribe(framework_id="f1", framework=info, demand=Demand(version=1, shapes=shapes)))


def test_tasks_wait_for_a_resource_that_no_agent_of_any_cell_has() -> None:
    one, other = Bench(cells=2), Bench(cells=2, cell=1)
    for made in (one, other):
        agent_in(made, "cpus:4;mem:4096")
        wanting(made, shape("cpus:1;gpus:1", 7), shape("cpus:8", 5))
    groups = {each.group: each.tasks for each in waiting_groups([of(one), of(other)])}
    assert groups == {"no gpus": 7, "too large": 5}
    agent_in(other, "cpus:0.5;mem:4096;gpus:1", 1)
    assert {each.group for each in waiting_groups([of(one), of(other)])} == {"too large"}


def test_tasks_wait_for_attributes_for_the_limit_of_a_role_or_for_others_to_end() -> None:
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    wanting(made, shape("cpus:1", 2, "rack==r1"))
    assert [each.group for each in waiting_groups([of(made)])] == ["constraints"]

    made = Bench(config=ClusterConfig(version=1, roles={"eng": RoleSettings(limit={"cpus": 1000}, since=1)}))
    made.agent("a1", "cpus:4;mem:4096")
    wanting(made, shape("cpus:2", 3, role="eng"), role="eng")
    assert [(each.group, each.tasks) for each in waiting_groups([of(made)])] == [("quota eng", 3)]

    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    wanting(made, shape("cpus:1", 10))
    (group,) = waiting_groups([of(made)])
    assert (group.group, group.tasks, group.frameworks) == ("resources in use", 6, ("f1",)), "4 of them are offered"


def test_a_shape_for_which_one_cell_has_offered_enough_does_not_wait() -> None:
    one, other = Bench(cells=2), Bench(cells=2, cell=1)
    agent_in(one, "cpus:4;mem:4096")
    for made in (one, other):
        wanting(made, shape("cpus:1", 4))
    assert of(one) == () and len(of(other)) == 1
    assert waiting_groups([of(one), of(other)]) == ()


def test_jobs_that_wait_are_counted_by_their_framework_and_others_by_the_cells() -> None:
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    wanting(made, shape("cpus:1;gpus:1", 7), shape("cpus:8", 5))
    here = cell(0, *of(made), *(each.model_copy(update={"framework_id": "batch"}) for each in of(made)))
    jobs = WaitingJobs(
        groups=(WaitingTasks(group="no gpus", tasks=30, jobs=3), WaitingTasks(group="other jobs", tasks=2, jobs=1)),
        jobs=4,
        tasks=32,
        truncated=True,
    )
    found = merge([here], [], None, jobs)
    assert [(each.group, each.tasks, each.jobs, each.frameworks) for each in found.waiting] == [
        ("no gpus", 37, 3, ("batch", "f1")),
        ("too large", 5, 0, ("f1",)),
        ("other jobs", 2, 1, ("batch",)),
    ]
    assert (found.waiting_tasks, found.waiting_jobs, found.waiting_truncated) == (44, 4, True)
    assert merge([here], [], None).waiting_jobs is None


def test_an_overview_counts_agents_and_tasks_by_their_state() -> None:
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096;ports:[1-3]")
    made.agent("a2", "cpus:2;mem:4096")
    made.wait(120.0)
    found = overview(made.state, "m")
    assert found.agents == {"unreachable": 2} and found.total == {}
    made.agent("a1", "cpus:4;mem:4096;ports:[1-3]", attempt="2")
    found = Overview.model_validate_json(merge([overview(made.state, "m")], [], {"active": 1}).model_dump_json())
    assert found.agents == {"unreachable": 1, "ready": 1} and found.total == {"cpus": 4, "mem": 4096, "ports": 3}
