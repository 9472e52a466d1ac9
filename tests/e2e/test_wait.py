"""What a person who waits is told: why nothing happens, once."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until

GONE = "if it never comes back: bmesos agents gone"


@pytest.mark.parametrize("array", [None, 2], ids=["job", "task"])
def test_a_wait_for_an_unreachable_agent_names_it_once_and_goes_on(new_cluster: NewCluster, array: int | None):
    cluster = new_cluster(agent_beat=0.5, agent_missed=3, agent_heartbeat=2)
    cluster.master()
    agent = cluster.agent()
    cluster.batch()
    client = cluster.ready().client()
    gate = cluster.tmp / "gate"
    job = client.submit(f"until test -e {gate}; do sleep 0.1; done", cpus=1, mem=16, array=array)
    until("its tasks run", lambda: job.status().counts["running"] == (array or 1))
    agent_id = cluster.agent_id(agent)
    agent.pause()
    until("its tasks are known to be out of reach", lambda: {task.state for task in job.tasks()} == {"unreachable"})

    limit = cluster.cli("wait", job.id if array is None else f"{job.id}.2", "--for", "14", timeout=60)
    assert (limit.returncode, limit.stdout) == (4, "")
    waits, over = limit.stderr.splitlines()
    assert waits.startswith(f"bmesos: {'job' if array is None else 'task'} {job.id}")
    assert waits.endswith(f" waits: 1 task waits for agent {agent_id}, which is unreachable; {GONE} {agent_id}")
    assert "has not ended within 14 s" in over

    program = cluster.cli_start("wait", job.id)
    agent.resume()
    gate.touch()
    assert program.wait(60) == 0
