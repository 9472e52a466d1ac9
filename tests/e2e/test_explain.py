"""Why is it waiting? Asked of a real cluster, over RabbitMQ and over the HTTP face."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.waiting import until


@pytest.fixture(params=["amqp", "http"])
def url(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """Both ways to the cluster."""
    return cluster.amqp_url if request.param == "amqp" else cluster.of("web")[0].url


def value(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_explain_names_what_is_short_and_the_change_that_helps(cluster: Cluster, url: str):
    job_id = value(cluster.cli("submit", "-o", "json", "--cpus", "64", "--", "true"))["job_id"]
    found = value(cluster.cli("explain", "-o", "json", job_id, url=url))
    assert found["reason"].startswith("it needs 64 cpus a task; the largest agent has")
    assert found["change"].startswith("ask for at most cpus:")
    assert not found["would_run"] and found["missing"] == []
    agents = [why for cells in found["placements"] for cell in cells for why in cell["agents"]]
    assert agents and {why["what"] for why in agents} == {"too-small"}
    shown = cluster.cli("explain", job_id, url=url).stdout
    assert found["reason"] in shown and agents[0]["agent_id"] in shown
    # The same reason stands in the status of the job.
    assert found["reason"] in cluster.cli("status", job_id, url=url).stdout
    cluster.client().job(job_id).kill()


def test_plan_says_whether_it_would_run_and_submits_nothing(cluster: Cluster):
    url = cluster.of("web")[0].url
    before = len(cluster.client().jobs())

    def runs() -> bool:
        return cluster.cli("plan", "--cpus", "1", "--", "true", url=url).returncode == 0

    def some_would_begin(*words: str) -> bool:
        # For a moment another framework may be the next one that is served.
        done = cluster.cli("plan", *words, url=url)
        return done.returncode == 1 and "of its 500 tasks would begin now" in done.stdout

    until("an idle cluster has room", runs, 10)
    until("a part of an array has room", lambda: some_would_begin("--array", "500", "--", "true"), 10)
    done = cluster.cli("plan", "--gang", "--array", "500", "--", "true", url=url)
    assert done.returncode == 1
    done = cluster.cli("plan", "--revocable", "--", "true", url=url)
    assert done.returncode == 1
    done = cluster.cli("plan", "--constraint", "rack==r9", "--", "true", url=url)
    assert done.returncode == 1
    assert "no agent satisfies the constraint rack==r9" in done.stdout
    assert "drop the constraint rack==r9" in done.stdout
    (cluster.tmp / "planned.yaml").write_text("command: echo hello\narray: 500\nwait: true\n")
    until("so has a part of the file's", lambda: some_would_begin("planned.yaml"), 10)
    assert cluster.cli("plan", "planned.yaml", "--array", "1", url=url).returncode == 0
    assert cluster.cli("plan", "--shell", "echo hello", url=url).returncode == 0
    assert len(cluster.client().jobs()) == before


def test_explain_of_what_does_not_wait_says_so(cluster: Cluster):
    url = cluster.of("web")[0].url
    job = cluster.client().submit("true")
    job.wait(20)
    done = cluster.cli("explain", job.id, url=url)
    assert "it does not wait: it is finished" in done.stdout
    wrong = cluster.cli("explain", "nosuch", url=url)
    assert wrong.returncode != 0 and wrong.stderr.startswith("bmesos: no job, task or framework nosuch")
    assert wrong.stderr.count("\n") == 1
