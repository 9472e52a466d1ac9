"""Maintenance on a cluster of real processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until


def test_a_drained_agent_gives_up_its_tasks_and_the_job_ends_whole(new_cluster: NewCluster, tmp_path: Path):
    cluster = new_cluster()
    cluster.master(cells=2)
    kept, left = cluster.agent(resources="cpus:4;mem:1024"), cluster.agent(resources="cpus:4;mem:1024")
    cluster.batch()
    cluster.ready()
    kept_id, left_id = cluster.agent_id(kept), cluster.agent_id(left)
    client = cluster.client()
    go = tmp_path / "go"
    job = client.submit(f"while [ ! -e {go} ]; do sleep 0.1; done", array=6, mem=10)

    def spread() -> Counter[str]:
        return Counter(task.agent_id for task in job.tasks("running"))

    until("it runs on both agents", lambda: sum(spread().values()) == 6)
    before = spread()
    assert before[left_id] and before[kept_id]
    drained = cluster.cli("agents", "drain", left_id, "--grace", "0")
    assert drained.returncode == 0 and f"agent {left_id} is drain" in drained.stdout

    def state() -> str:
        return next((each.maintenance for each in client.agents() if each.agent_id == left_id), "")

    until("it is drained", lambda: state() == "drained")
    until("the other agent is full", lambda: spread() == {kept_id: 4})
    go.touch()
    summary = job.wait(60)
    assert summary.state == "finished" and summary.counts.get("finished") == 6
    tasks = list(job.tasks())
    assert {task.attempt for task in tasks} == {1}  # no retry was used
    moved = [task for task in tasks if not task.task_id.endswith(".1")]
    assert len(moved) == before[left_id] and {task.agent_id for task in moved} == {kept_id}

    other = client.submit("sleep 0.2", array=4, mem=10)
    assert other.wait(30).state == "finished"
    assert {task.agent_id for task in other.tasks()} == {kept_id}
    assert cluster.cli("agents", "activate", left_id).returncode == 0
    last = client.submit("sleep 0.5", array=8, mem=10)
    assert last.wait(30).state == "finished"
    assert left_id in {task.agent_id for task in last.tasks()}
