"""Tasks that their agent holds to limits, from the command line to the kernel and back."""

from __future__ import annotations

import json
from pathlib import Path

from broker_mesos.containerizer.cgroups.probe import probe
from tests.containerizer.cgroups.conftest import emptied, was_not_run
from tests.e2e.conftest import NewCluster

EAT = ("python3", "-I", "-S", "-c", "bytearray(200 << 20)")


def test_a_job_that_uses_more_memory_than_it_asked_for_fails_with_the_figures_and_one_that_asked_for_none_does_not(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    (tmp_path / "tried").mkdir()
    driver = probe(str(tmp_path / "tried"))
    if isinstance(driver, str):
        was_not_run(driver)
        return
    assert emptied(driver)
    cluster = new_cluster(isolation="limits")
    cluster.master(cells=1)
    cluster.agent()
    cluster.batch()
    cluster.ready()
    done = cluster.cli("run", "--mem", "64", "--", *EAT)
    assert done.returncode == 137 and "used more than its mem:64 MB (peak 64 MB)" in done.stderr, done
    assert cluster.cli("run", "--", *EAT).returncode == 0
    done = cluster.cli("submit", "--wait", "--mem", "64", "-o", "json", "--", *EAT)
    job_id = json.loads(done.stdout)["job_id"]
    (task,) = json.loads(cluster.cli("status", job_id, "-o", "json").stdout)["tasks"]
    assert task["state"] == "failed" and task["memory_peak"] > 60 << 20 and task["cpu_seconds"] > 0
    (agent,) = json.loads(cluster.cli("agents", "-o", "json").stdout)
    assert agent["isolation"] == ["cpu", "mem", "pids", "oom", "kill"] and agent["not_isolated"] == ""
    assert "1 hold tasks to limits: cpu kill mem oom pids" in cluster.cli("doctor").stdout
