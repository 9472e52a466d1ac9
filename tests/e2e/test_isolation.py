"""Tasks that their agent holds to limits, from the command line to the kernel and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from broker_mesos.containerizer.cgroups.probe import probe
from broker_mesos.containerizer.namespaces.probe import probe as probe_views
from tests.containerizer.cgroups.conftest import emptied, was_not_run
from tests.doc_commands import ROOT, blocks, commands
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster
from tests.e2e.test_doc_commands import Reader
from tests.e2e.waiting import until

EAT = ("python3", "-I", "-S", "-c", "bytearray(200 << 20)")


def test_a_job_that_uses_more_memory_than_it_asked_for_fails_with_the_figures_and_one_that_asked_for_none_does_not(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    cluster = holding(new_cluster, tmp_path)
    if cluster is None:
        return
    done = cluster.cli("run", "--mem", "64", "--", *EAT)
    assert done.returncode == 137 and "used more than its mem:64 MB (peak 64 MB)" in done.stderr, done
    assert cluster.cli("run", "--", *EAT).returncode == 0
    done = cluster.cli("submit", "--wait", "--mem", "64", "-o", "json", "--", *EAT)
    job_id = json.loads(done.stdout)["job_id"]
    (task,) = json.loads(cluster.cli("status", job_id, "-o", "json").stdout)["tasks"]
    assert task["state"] == "failed" and task["memory_peak"] > 60 << 20 and task["cpu_seconds"] > 0
    (agent,) = json.loads(cluster.cli("agents", "-o", "json").stdout)
    assert {"cpu", "mem", "pids", "oom", "kill"} <= set(agent["isolation"]) and agent["not_isolated"] == ""
    assert "1 hold tasks to limits: cpu " in cluster.cli("doctor").stdout


def holding(new_cluster: NewCluster, tmp_path: Path) -> Cluster | None:
    """A cluster with one agent that holds tasks to limits; None where cgroups do not work."""
    (tmp_path / "tried").mkdir()
    driver = probe(str(tmp_path / "tried"))
    if isinstance(driver, str):
        was_not_run(driver)
        return None
    assert emptied(driver)
    cluster = new_cluster(isolation="limits")
    cluster.master(cells=1)
    cluster.agent()
    cluster.batch()
    cluster.ready()
    return cluster


def test_every_command_of_the_page_about_isolation_works_as_it_stands(new_cluster: NewCluster, tmp_path: Path) -> None:
    cluster = holding(new_cluster, tmp_path)
    if cluster is None:
        return
    cluster.web().ready()
    text = (ROOT / "docs" / "isolation.md").read_text(encoding="utf-8")
    lines = commands(text)
    assert len(lines) > 8
    reader = Reader(cluster)
    for each in lines:
        reader.type(each)
    (cluster.tmp / "page.yaml").write_text(blocks(text, "yaml")[0])
    planned = cluster.cli("plan", str(cluster.tmp / "page.yaml"))
    assert planned.returncode in (0, 1) and not planned.stderr, planned


def two_agents(cluster: Cluster) -> list[dict[str, Any]] | None:
    """The agent that holds tasks to limits and the one that does not, once both are there."""
    agents = json.loads(cluster.cli("agents", "-o", "json").stdout)
    return sorted(agents, key=lambda each: each["isolation"] == []) if len(agents) == 2 else None


def test_a_demand_decides_where_a_job_runs_and_is_explained_and_what_it_used_is_shown(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    cluster = holding(new_cluster, tmp_path)
    if cluster is None:
        return
    folder = ("--work-dir", str(cluster.tmp / "plain"), "--resources", "cpus:4;mem:4096;disk:0;ports:[]")
    cluster.start("agent", "--isolation", "none", "--attributes", "kind:plain", *folder, name="plain")
    held, plain = until("two agents", lambda: two_agents(cluster))
    assert held["attributes"]["isolation"] in ("limits", "sandboxed") and set(plain["isolation"]) <= {"images"}
    job = ("--pids", "64", "--mem", "64", "--limit", "mem=128", "--array", "20", "--require-isolation", "limits")
    done = cluster.cli("submit", "--wait", *job, "--", "true")
    assert done.returncode == 0, done
    job_id = done.stdout.split()[0]
    shown = json.loads(cluster.cli("status", job_id, "-o", "json").stdout)
    assert {task["agent_id"] for task in shown["tasks"]} == {held["agent_id"]}
    printed = cluster.cli("status", job_id).stdout
    assert "mem 128, pids 64, at least limits" in printed and "Memory peak:" in printed and "CPU time:" in printed
    assert "mem: asked 64 MB, the largest of 20 used" in cluster.cli("status", job_id, "--suggest").stdout
    planned = cluster.cli("plan", "--require-isolation", "limits", "--constraint", "kind==plain", "--", "true")
    assert planned.returncode == 1 and "holds tasks to kill mem pids" in planned.stdout, planned
    planned = cluster.cli("plan", "--rootfs", "/srv/r.tar", "--", "true")
    assert planned.returncode == 1 and "no agent can: " in planned.stdout and "rootfs" in planned.stdout, planned
    listed = cluster.cli("agents", "show", held["agent_id"]).stdout
    assert f"isolation: {held['attributes']['isolation']}" in listed
    assert "1 agent among them that hold tasks to nothing" in cluster.cli("doctor").stdout
    running = cluster.cli(
        "submit", "--mem", "64", "--require-isolation", "limits", "--shell", "sleep 600"
    ).stdout.strip()
    used = until(
        "usage", lambda: json.loads(cluster.cli("status", running, "--usage", "-o", "json").stdout)["usage"] or None
    )
    assert all(each["memory"] > 0 for each in used.values())
    cluster.cli("kill", running)


def test_a_job_that_demands_a_sandbox_sees_its_own_processes_and_files_alone(
    new_cluster: NewCluster, tmp_path: Path
) -> None:
    (tmp_path / "tried").mkdir()
    driver = probe(str(tmp_path / "tried"))
    if isinstance(driver, str):
        was_not_run(driver)
        return
    assert emptied(driver)
    if missing := probe_views(str(tmp_path)).missing.get("net"):
        was_not_run(missing)
    cluster = new_cluster(isolation="auto")
    cluster.master(cells=1)
    cluster.agent(resources="cpus:4;mem:4096;disk:0;ports:[31400-31409]")
    cluster.batch()
    cluster.ready()
    look = "ls -d /proc/[0-9]* | wc -l; touch /usr/x; grep -h ^Cap /proc/self/status; ls /sys/kernel; true"
    done = cluster.cli("run", "--require-isolation", "sandboxed", "--shell", look)
    assert done.returncode == 0, done
    count, *capabilities = done.stdout.split("\n")
    assert int(count) <= 6 and "Read-only file system" in done.stderr and "/sys/kernel" in done.stderr
    assert {line.split("\t")[1] for line in capabilities if line} == {"0" * 16}
    done = cluster.cli("run", "--network", "none", "--shell", "ls /proc/sys/net/ipv4/conf")
    assert sorted(done.stdout.split()) == ["all", "default", "lo"], done
    assert int(cluster.cli("run", "--shell", "ls -d /proc/[0-9]* | wc -l").stdout) > 6  # not asked for
    assert cluster.cli("run", "--require-isolation", "sandboxed", "--shell", "kill -KILL $$").returncode == 137
    # A task knows the ports that it holds, and may listen on no others.
    listen = "import os, socket; p = int(os.environ['PORT0']); socket.create_server(('', p)).close(); print(p)\n"
    listen += "try: socket.create_server(('', p + 1))\nexcept PermissionError: print('no other')"
    boxed = ("--require-isolation", "sandboxed", "--ports", "1", "--", "python3", "-c", listen)
    done = cluster.cli("run", *boxed)
    (agent,) = json.loads(cluster.cli("agents", "-o", "json").stdout)
    if "ports" not in agent["isolation"]:
        was_not_run("the kernel cannot hold tasks to their ports")
    else:
        assert done.returncode == 0 and done.stdout.split("\n", 1)[1] == "no other\n", done
