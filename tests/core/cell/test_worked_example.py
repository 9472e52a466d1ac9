"""The example that the project is explained with, number by number."""

from __future__ import annotations

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks
from tests.core.cell.harness import Bench, of, offers_in, task


def test_one_agent_is_shared_by_two_frameworks_as_in_the_worked_example():
    bench = Bench()
    bench.framework("framework-1")
    bench.framework("framework-2")

    said = bench.agent("agent-1", "cpus:4;mem:4096")
    (first,) = offers_in(said)
    assert (first.framework_id, str(first.resources)) == ("framework-1", "cpus:4;mem:4096")

    said = bench.accept(first, task("t1", "cpus:2;mem:1024"), task("t2", "cpus:1;mem:2048"))
    (launch,) = of(said, LaunchTasks)
    assert [(each.task.task_id, str(each.task.resources)) for each in launch.launches] == [
        ("t1", "cpus:2;mem:1024"),
        ("t2", "cpus:1;mem:2048"),
    ]
    (second,) = offers_in(said)
    assert (second.framework_id, str(second.resources)) == ("framework-2", "cpus:1;mem:1024")
    agent = bench.state.agents["agent-1"]
    assert (str(agent.used), str(agent.offered), bool(agent.free)) == (
        "cpus:3;mem:3072",
        "cpus:1;mem:1024",
        False,
    )

    said = bench.report("agent-1", "t1", TaskState.FINISHED, framework_id="framework-1")
    (freed,) = offers_in(said)
    assert str(freed.resources) == "cpus:2;mem:1024"
    said = bench.report("agent-1", "t2", TaskState.FINISHED, framework_id="framework-1")
    (freed,) = offers_in(said)
    assert str(freed.resources) == "cpus:1;mem:2048"
    assert not agent.used


def test_example_of_the_drf_paper_gives_a_three_tasks_and_b_two():
    """9 CPUs, 18 GB; A's tasks need <1, 4>, B's <3, 1>. Nobody keeps more of an offer than one task."""
    bench = Bench()
    needs = {"A": "cpus:1;mem:4096", "B": "cpus:3;mem:1024"}
    started: list[str] = []
    for name in needs:
        bench.framework(name, demand=Demand(version=1))
    said = bench.agent("m", "cpus:9;mem:18432")
    while offers := offers_in(said):
        (offer,) = offers
        name = offer.framework_id
        if offer.resources.contains(Resources.parse(needs[name])):
            started.append(name)
            said = bench.accept(offer, task(f"{name}{len(started)}", needs[name]), refuse=0)
        else:
            said = bench.accept(offer, refuse=3600)
    assert (started.count("A"), started.count("B")) == (3, 2)
    assert str(bench.state.agents["m"].used) == "cpus:9;mem:14336"
    total = bench.state.total
    shares = [bench.state.frameworks[name].used.dominant_share(total) for name in needs]
    assert shares == [2 / 3, 2 / 3]
