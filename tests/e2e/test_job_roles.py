"""Jobs in roles: they share by the policy, obey the limits of their roles, and show their role."""

from __future__ import annotations

import json

from broker_mesos.client import Job
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until

SLEEP = ["sleep", "600"]


def running(*jobs: Job) -> list[int]:
    """Numbers of the tasks of jobs that run."""
    return [job.status().counts["running"] for job in jobs]


def small_cluster(new_cluster: NewCluster, cells: int = 1, workers: int = 1) -> Cluster:
    cluster = new_cluster()
    cluster.master(cells=cells)
    cluster.agent(resources="cpus:4;mem:1024;disk:0;ports:[]")
    for _ in range(workers):
        cluster.batch()
    return cluster.ready()


def test_a_role_whose_job_came_first_gets_no_more_than_its_share(new_cluster: NewCluster):
    cluster = small_cluster(new_cluster, workers=2)
    client = cluster.client()
    first = client.submit(SLEEP, cpus=4, mem=10)
    until("nothing is left for others", lambda: running(first) == [1])
    many = [client.submit(SLEEP, cpus=1, mem=10, array=8, role=role) for role in ("eng", "ops/db")]
    until("the cell knows what both want", lambda: all(client.explain(each.id).reason for each in many))
    first.kill()
    until("the agent is full again", lambda: sum(running(*many)) == 4)
    assert running(*many) == [2, 2]
    shares = {each.role: each.dominant_share for each in client.roles()}
    assert shares["eng"] == shares["ops"] == shares["ops/db"] == 0.5


def test_a_job_runs_no_more_tasks_than_the_limit_of_its_role_and_says_so(new_cluster: NewCluster):
    cluster = small_cluster(new_cluster, cells=2)
    assert cluster.cli("role", "quota", "set", "eng", "--limit", "cpus:1").returncode == 0
    client = cluster.client()
    limited = client.submit(SLEEP, cpus=1, mem=10, array=8, role="eng/db")
    until("the limit is used up", lambda: running(limited) == [1])
    other = client.submit(SLEEP, cpus=1, mem=10, array=8, role="ops")
    until("the agent is full", lambda: running(limited, other) == [1, 3])

    waits = client.submit(SLEEP, cpus=1, mem=10, role="eng/db")
    until("other ends, and leaves room", lambda: other.kill().ended_at)
    why = until("it has a reason", lambda: client.explain(waits.id).reason)
    assert "the limit of role eng has no room for cpus:1" in why
    plan = cluster.cli("plan", "--role", "eng", "--", "true")
    assert plan.returncode == 1
    assert "in role eng: " in plan.stdout and "the limit of role eng has no room" in plan.stdout
    assert running(limited, waits) == [1, 0]
    assert {task.role for task in client.tasks() if task.state.short == "running"} == {"eng/db"}


def test_a_role_is_shown_with_the_job_and_a_bad_one_is_an_error_of_one_line(cluster: Cluster):
    ended = cluster.cli("submit", "--wait", "--role", "eng/db", "-o", "json", "--", "true")
    summary = json.loads(ended.stdout)
    assert (ended.returncode, summary["role"]) == (0, "eng/db")
    job_id = summary["job_id"]
    assert "in role eng/db" in cluster.cli("status", job_id).stdout
    for words in (("status",), ("history",)):
        row = next(line for line in cluster.cli(*words).stdout.splitlines() if line.startswith(job_id))
        assert " eng/db " in row
    assert cluster.cli("run", "--role", "eng", "--", "echo", "hi").stdout == "hi\n"
    (cluster.tmp / "role.yaml").write_text("command: [echo, there]\nrole: ops\n")
    assert json.loads(cluster.cli("submit", "--wait", "-o", "json", "role.yaml").stdout)["role"] == "ops"

    bad = cluster.cli("submit", "--role", "a b", "--", "true")
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)
    assert bad.stderr.startswith("bmesos: 'a b' is not a role: ")
