"""Daemons come and go: in order, and while there is work."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, Daemon
from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until


def counted(folder: Path) -> Counter[str]:
    """How often each index ran, as the tasks wrote it down themselves."""
    return Counter(path.name for path in folder.iterdir() for _ in path.read_text().splitlines())


def small(cluster: Cluster, **agent: str) -> Cluster:
    cluster.master(cells=2)
    cluster.agent(**agent)
    cluster.batch()
    return cluster.ready()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_every_kind_of_daemon_ends_cleanly(new_cluster: NewCluster, how: signal.Signals):
    cluster = new_cluster()
    cluster.web()
    small(cluster)
    for kind in ("web", "batch", "agent", "master"):
        (daemon,) = cluster.of(kind)
        daemon.signal(how)
        assert daemon.wait() == 0, daemon.text()
        assert "Traceback" not in daemon.text()
    cluster.assert_nothing_left()


def test_sigterm_ends_daemons_that_still_wait_for_their_cluster(new_cluster: NewCluster):
    """No master answers."""
    cluster = new_cluster()
    kinds = (["agent"], ["framework", "batch"], ["web", "--port", "0"])
    early = [cluster.start(*words, name=words[0]) for words in kinds]
    for daemon in early:
        until("it is connected", lambda daemon=daemon: connections(cluster, daemon))
    for daemon in early:
        daemon.terminate()
    for daemon in early:
        daemon.ended()
        assert "Traceback" not in daemon.text()


def connections(cluster: Cluster, daemon: Daemon) -> bool:
    """Whether the process has a connection to the broker."""
    import psutil

    port = int(cluster.amqp_url.rpartition(":")[2].strip("/"))
    return any(each.raddr and each.raddr.port == port for each in psutil.Process(daemon.pid).net_connections("tcp"))


def test_local_cluster_serves_the_command_line_and_ends_with_its_tasks(new_cluster: NewCluster):
    from tests.servers import free_port

    cluster = new_cluster()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    daemon = cluster.start("local", "--agents", "2", "--port", str(port), name="local")
    until("it serves", lambda: cluster.client(url).cluster())
    done = cluster.cli("run", "--", "echo", "hello", url=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    sleeper = json.loads(cluster.cli("submit", "-o", "json", "--", "sleep", "600", url=url).stdout)["job_id"]
    until("it runs", lambda: list(cluster.client(url).job(sleeper).tasks("running")))
    daemon.stop()
    cluster.assert_nothing_left()


def test_tasks_outlive_their_agent_and_are_reported_once(new_cluster: NewCluster):
    cluster = small(new_cluster(), resources="cpus:4;mem:1024")
    (agent,) = cluster.of("agent")
    ran = cluster.tmp / "ran"
    gates = [cluster.tmp / name for name in ("meanwhile", "after")]
    for gate in gates:
        os.mkfifo(gate)
    jobs = [
        cluster.client().submit(f"echo $BMESOS_ATTEMPT $$ >> {ran}; cat {gate}; exit {code}", retries=3)
        for gate, code in ((gates[0], 0), (gates[1], 0))
    ]
    for job in jobs:
        until("it runs", lambda job=job: list(job.tasks("running")))

    agent.stop()
    pids = [int(line.split()[1]) for line in ran.read_text().splitlines()]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    gates[0].write_text("go")  # one ends while there is no agent
    until("its process is gone", lambda: sum(Path(f"/proc/{pid}").exists() for pid in pids) == 1)
    again = cluster.agent(resources="cpus:4;mem:1024", work_dir=agent.work_dir).ready()

    assert jobs[0].wait(20).state == "finished"
    assert [task.state for task in jobs[1].tasks()] == ["running"]
    gates[1].write_text("go")
    assert jobs[1].wait(20).state == "finished"
    # Once each, at the first attempt, and by the same agent.
    assert [line.split()[0] for line in ran.read_text().splitlines()] == ["1", "1"]
    assert {task.attempt for job in jobs for task in job.tasks()} == {1}
    (view,) = cluster.client().agents()
    assert (view.pid, view.tasks, str(view.used)) == (again.pid, 0, "")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_master_that_goes_under_load_loses_nothing(new_cluster: NewCluster, how: signal.Signals):
    cluster = new_cluster()
    masters = [cluster.master(cells=4), cluster.master(cells=4)]
    for _ in range(2):
        cluster.agent(resources="cpus:8;mem:8192")
    cluster.batch()
    cluster.ready()
    runs = cluster.tmp / "runs"
    runs.mkdir()
    job = cluster.client().submit(f"echo ran >> {runs}/$BMESOS_ARRAY_INDEX", array=400, mem=16)
    until("it is under way", lambda: job.status().counts.get("finished", 0) >= 40)
    if how == signal.SIGTERM:
        masters[0].stop()
    else:
        masters[0].kill()
    cluster.master(cells=4)
    summary = job.wait(40)
    assert (summary.state, summary.counts["finished"]) == ("finished", 400)
    assert counted(runs) == {str(index): 1 for index in range(1, 401)}
    assert {task.attempt for task in job.tasks()} == {1}
    # Nothing stays allocated: what was used is free again.
    until(
        "nothing is used any more",
        lambda: all(not agent.used for agent in cluster.client().agents()),
    )
    cells = cluster.ready().client().cluster().cells
    assert masters[0].pid not in {each.pid for each in cells}


def test_a_worker_that_goes_under_load_loses_nothing(new_cluster: NewCluster):
    cluster = new_cluster()
    cluster.master(cells=2)
    cluster.agent(resources="cpus:8;mem:8192")
    workers = [cluster.batch(), cluster.batch()]
    cluster.ready()
    runs = cluster.tmp / "runs"
    runs.mkdir()
    job = cluster.client().submit(f"echo ran >> {runs}/$BMESOS_ARRAY_INDEX", array=300, mem=16)
    until("it is under way", lambda: job.status().counts.get("finished", 0) >= 30)
    workers[0].stop()
    summary = job.wait(40)
    assert (summary.state, summary.counts["finished"]) == ("finished", 300)
    assert counted(runs) == {str(index): 1 for index in range(1, 301)}
