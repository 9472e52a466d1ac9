"""Tasks that need a whole agent, on a cluster that is full of small ones."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import NewCluster

SMALL_TASKS = 400


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (1, {"priority": 10}),
        (2, {}),
        (1, {"array": 2, "gang": True}),
    ],
    ids=["of-higher-priority", "submitted-later", "gang"],
)
def test_a_task_that_needs_a_whole_agent_begins_before_the_small_ones_are_over(
    new_cluster: NewCluster, cells: int, wanted: dict[str, object]
):
    cluster = new_cluster(gang_patience=1, gang_hold=30)
    cluster.master(cells=cells)
    for _ in range(2):
        cluster.agent(resources="cpus:4;mem:1024;disk:0;ports:[]")
    cluster.batch()
    client = cluster.ready().client()
    env = {"STARTED": str(cluster.tmp / "started"), "SEEN": str(cluster.tmp / "seen")}
    (cluster.tmp / "started").touch()  # the large task may be the first one
    small = client.submit("echo >> $STARTED; sleep 0.3", array=SMALL_TASKS, cpus=1, mem=16, env=env)
    large = client.submit("wc -l < $STARTED >> $SEEN", cpus=4, mem=16, env=env, **wanted)
    assert large.wait(120).state == "finished"
    small.kill()
    seen = [int(line) for line in (cluster.tmp / "seen").read_text().split()]
    assert max(seen) < SMALL_TASKS
