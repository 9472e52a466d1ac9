"""What tasks see, and where, when and how often they run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster

JOB_YAML = """\
name: from-yaml
command: [sh, -c, 'echo "$GREETING $BMESOS_ARRAY_INDEX"']
cpus: 0.5
mem: 64M
array: 3-4
env: {GREETING: hello}
retries: 1
constraints: [rack==r1]
"""
JOB_TOML = """\
name = "from-toml"
command = 'echo "$GREETING $BMESOS_ARRAY_INDEX"'
cpus = 0.5
mem = 64
array = "3-4"
retries = 1
constraints = "rack==r1"
[env]
GREETING = "hello"
"""


def test_a_task_sees_who_it_is_in_its_environment_and_has_a_sandbox_of_its_own(cluster: Cluster):
    job = cluster.client().submit(
        "env; pwd; ls -A; echo kept > file; echo complaint >&2", array="7-7", env={"GREETING": "hello world"}
    )
    assert job.wait(20).state == "finished"

    (task,) = job.tasks()
    output = b"".join(job.logs(7)).decode()
    lines = output.splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert seen["BMESOS_JOB_ID"] == job.id
    assert seen["BMESOS_TASK_ID"] == task.task_id
    assert seen["BMESOS_ARRAY_INDEX"] == "7"
    assert seen["BMESOS_ATTEMPT"] == "1"
    assert seen["BMESOS_AGENT_ID"] == task.agent_id
    assert seen["GREETING"] == "hello world"
    # Where it works, alone.
    sandbox = Path(seen["BMESOS_SANDBOX"])
    assert str(sandbox) in lines
    assert {"stdout", "stderr"} <= set(lines)
    assert "file" not in lines
    assert (sandbox / "file").read_text() == "kept\n"
    assert (sandbox / "stdout").read_text() == output
    assert (sandbox / "stderr").read_text() == "complaint\n"
    # Nothing of the agent's secrets.
    assert not {name for name in seen if name.endswith("_URL")}


def test_a_single_task_has_no_array_index(cluster: Cluster):
    job = cluster.client().submit(["/usr/bin/env"])
    assert job.wait(20).state == "finished"
    assert b"BMESOS_ARRAY_INDEX" not in b"".join(job.logs())


@pytest.mark.parametrize(("name", "text"), [("job.yaml", JOB_YAML), ("job.toml", JOB_TOML)])
def test_a_job_file_says_the_same_as_flags(cluster: Cluster, name: str, text: str):
    (cluster.tmp / name).write_text(text)
    done = cluster.cli("submit", "-o", "json", name)
    assert (done.returncode, done.stderr) == (0, "")
    job = cluster.client().job(json.loads(done.stdout)["job_id"])
    assert job.wait(20).state == "finished"

    view = job.view()
    assert view.summary.name == name.replace("job.", "from-")
    assert str(view.spec.resources) == "cpus:0.5;mem:64"
    assert view.spec.array == (3, 4)
    assert view.spec.retries == 1
    assert [str(each) for each in view.spec.constraints] == ["rack==r1"]
    assert b"".join(job.logs(3)) == b"hello 3\n"
    assert b"".join(job.logs(4)) == b"hello 4\n"


def test_a_flag_goes_before_the_job_file(cluster: Cluster):
    (cluster.tmp / "flags.yaml").write_text(JOB_YAML)
    done = cluster.cli("submit", "-o", "json", "--name", "other", "--array", "2", "flags.yaml")
    job = cluster.client().job(json.loads(done.stdout)["job_id"])
    view = job.view()
    assert (view.summary.name, view.spec.array) == ("other", (1, 2))
    assert job.wait(20).state == "finished"


def test_a_failed_attempt_is_tried_again_with_the_next_number(cluster: Cluster):
    seen = cluster.tmp / "attempts"
    job = cluster.client().submit(f'echo $BMESOS_ATTEMPT >> {seen}; test "$BMESOS_ATTEMPT" = 3', retries=4)
    summary = job.wait(20)
    assert (summary.state, summary.exit_code) == ("finished", 0)
    assert seen.read_text().split() == ["1", "2", "3"]
    (task,) = job.tasks()
    assert (task.attempt, task.state, task.exit_code) == (3, "finished", 0)


def test_retries_that_run_out_fail_with_the_last_exit_code(cluster: Cluster):
    job = cluster.client().submit("exit $((BMESOS_ATTEMPT + 10))", retries=1)
    summary = job.wait(20)
    assert (summary.state, summary.exit_code) == ("failed", 12)


def test_a_signal_that_ends_a_task_is_named(cluster: Cluster):
    job = cluster.client().submit("kill -KILL $$")
    summary = job.wait(20)
    assert (summary.state, summary.exit_code) == ("failed", 137)
    (task,) = job.tasks()
    assert (task.signal, task.exit_code) == (9, None)
    assert "SIGKILL" in cluster.cli("status", job.id).stdout


def test_a_program_that_does_not_exist_fails_and_says_so(cluster: Cluster):
    job = cluster.client().submit(["/no/such/program"])
    assert job.wait(20).state == "failed"
    (task,) = job.tasks()
    assert "/no/such/program" in task.message or "No such file" in task.message


@pytest.mark.parametrize("rack", ["r1", "r2"])
def test_a_constraint_places_tasks_on_the_right_agent(cluster: Cluster, rack: str):
    (wanted,) = [each.agent_id for each in cluster.client().agents() if each.attributes.get("rack") == rack]
    job = cluster.client().submit("true", array=6, constraints=f"rack=={rack}")
    assert job.wait(20).state == "finished"
    assert {task.agent_id for task in job.tasks()} == {wanted}


def test_a_higher_priority_goes_first(new_cluster: NewCluster):
    cluster = new_cluster()
    cluster.master(cells=1)
    cluster.agent(resources="cpus:1;mem:1024;disk:0;ports:[]")
    cluster.batch()
    cluster.ready()
    client = cluster.client()
    order = cluster.tmp / "order"
    gate = cluster.tmp / "gate"
    os.mkfifo(gate)
    # The only CPU is busy while the others queue up.
    first = client.submit(["/bin/cat", str(gate)])
    with gate.open("w"):  # opens once it runs, and ends it at the end of the block
        jobs = [client.submit(f"echo {priority} >> {order}", priority=priority) for priority in (0, 5, -5, 9, 5)]
    assert first.wait(20).state == "finished"
    assert {job.wait(20).state for job in jobs} == {"finished"}
    assert order.read_text().split() == ["9", "5", "5", "0", "-5"]
