"""Delay scheduling on real servers: a task waits for the agent it prefers, and not for ever."""

from __future__ import annotations

import os

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until

SMALL = "cpus:1;mem:1024;disk:0;ports:[]"


def two_racks(new_cluster: NewCluster) -> tuple[Cluster, dict[str, str]]:
    """A cluster of one CPU in each rack; and the agents by rack."""
    cluster = new_cluster()
    cluster.master(cells=1)
    for rack in ("r1", "r2"):
        cluster.agent(resources=SMALL, attributes=f"rack:{rack}")
    cluster.batch()
    cluster.ready()
    return cluster, {each.attributes["rack"]: each.agent_id for each in cluster.client().agents()}


def test_a_task_waits_for_the_agent_it_prefers_and_then_takes_another(new_cluster: NewCluster):
    cluster, agents = two_racks(new_cluster)
    client, gate = cluster.client(), cluster.tmp / "gate"
    os.mkfifo(gate)
    busy = client.submit(["/bin/cat", str(gate)], constraints="rack==r2")
    with gate.open("w"):  # opens once it runs, and ends it at the end of the block
        patient = client.submit("true", prefer="rack==r2", locality_wait="10m")
        hasty = client.submit("true", prefer="rack==r2", locality_wait="200ms")
        assert hasty.wait(30).state == "finished"
        assert [task.agent_id for task in hasty.tasks()] == [agents["r1"]]
        # r1 is free again, and was offered to the other one's job meanwhile.
        shown = until("it says that it waits", lambda: client.job(patient.id).status().waiting)
        assert "it waits for an agent with rack==r2" in shown
        assert "waits for an agent with rack==r2" in cluster.cli("status", patient.id).stdout
        assert "waits for an agent with rack==r2" in cluster.cli("explain", patient.id).stdout
    assert busy.wait(30).state == "finished"
    assert patient.wait(30).state == "finished"
    assert [task.agent_id for task in patient.tasks()] == [agents["r2"]]
    assert (patient.status().local, hasty.status().local) == (1, 0)
    assert "1 of 1 ended tasks" in cluster.cli("status", patient.id).stdout
