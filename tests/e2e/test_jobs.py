"""What tasks see, and where, when and how often they run."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

import pytest

from broker_mesos.client import Job
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


def test_a_job_names_its_folder_its_input_and_its_output_files(cluster: Cluster):
    (cluster.tmp / "input.txt").write_text("given\n")
    (cluster.tmp / "files.yaml").write_text(
        f"command: 'pwd; cat; echo oops >&2'\nname: a/b\nchdir: {cluster.tmp}\nstdin: input.txt\narray: 2\n"
        "stdout: out/%n-%a.txt\nstderr: '%j.err'\n"
    )
    done = cluster.cli("submit", "--wait", "-o", "json", "files.yaml")
    assert done.returncode == 0, done.stderr
    job = cluster.client().job(json.loads(done.stdout)["job_id"])
    assert b"".join(job.logs(2)) == f"{cluster.tmp}\ngiven\n".encode()
    assert b"".join(job.logs(2, "stderr")) == b"oops\n"
    (task,) = (each for each in job.tasks() if each.index == 2)
    (sandbox,) = cluster.tmp.glob(f"work-*/sandboxes/{task.task_id}")
    assert (sandbox / "out" / "a_b-2.txt").read_bytes() == (sandbox / "stdout").read_bytes()
    assert (sandbox / f"{job.id}.err").read_text() == "oops\n"
    shown = cluster.cli("status", job.id).stdout
    assert f"Runs in:     {cluster.tmp}\nStdin:       6 bytes\nStdout:      out/%n-%a.txt" in shown


def test_a_task_whose_folder_is_missing_fails_and_says_so(cluster: Cluster):
    done = cluster.cli("run", "--chdir", "/no/such/folder", "--", "true")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == (
        "bmesos: cannot start 'true': its working directory /no/such/folder: No such file or directory\n"
    )


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


def test_what_a_task_has_used_is_kept_and_marked_where_its_agent_does_not_count_all_of_it(cluster: Cluster):
    eats = f"exec {sys.executable} -I -S -c 'bytearray(150 << 20); sum(range(3_000_000))'"
    done = cluster.cli("submit", "--wait", "--array", "2", "--shell", eats)
    assert done.returncode == 0, done
    job_id = done.stdout.split()[0]
    for task in json.loads(cluster.cli("status", job_id, "-o", "json").stdout)["tasks"]:
        assert task["measured_by"] == "wait" and task["cpu_seconds"] > 0 and task["memory_peak"] > 150 << 20, task
        assert task["io_read"] is not None and task["io_written"] is not None
    shown = cluster.cli("status", job_id).stdout
    assert "Memory peak: min ~" in shown and "\n~: without cgroups an agent counts the main process and" in shown
    assert "as far as its agents can count without cgroups\n" in cluster.cli("status", job_id, "--suggest").stdout


def test_a_job_names_the_size_of_its_output_which_is_cut_and_followed_across_the_cut(cluster: Cluster):
    cut = "until [ $(stat -c %b stdout) -le 2048 ]; do sleep 0.1; done"
    text = f"head -c 6000000 /dev/zero | tr '\\0' '\\n'; {cut}; echo the end"
    job = cluster.client().submit(text, max_output=1)
    followed = cluster.cli("logs", "-f", job.id).stdout
    assert followed.endswith("the end\n")
    read = cluster.cli("logs", job.id).stdout
    assert "[bmesos: output was cut out here: a file keeps its head and its latest part, 1 MB in all]" in read
    assert read.endswith("the end\n") and len(read) < 1 << 20
    assert "output files of 1 MB" in cluster.cli("status", job.id).stdout


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


def submitted(cluster: Cluster, *words: str) -> Job:
    """The job that a command line submits."""
    done = cluster.cli("submit", "-o", "json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return cluster.client().job(json.loads(done.stdout)["job_id"])


def test_a_time_limit_ends_a_task_which_has_failed_then(cluster: Cluster):
    job = submitted(cluster, "--time-limit", "0.5", "--", "sleep", "600")
    summary = job.wait(30)
    assert (summary.state, summary.exit_code) == ("failed", 143)
    (task,) = job.tasks()
    assert "time limit" in task.message
    assert "Time limit:  0.5 s" in cluster.cli("status", job.id).stdout


def test_an_array_that_says_so_never_runs_more_than_n_tasks_at_once(cluster: Cluster):
    log = cluster.tmp / "at-once"
    script = f"echo + $BMESOS_ARRAY_INDEX >> {log}; sleep 0.2; echo - >> {log}"
    job = submitted(cluster, "--cpus", "0.1", "--array", "1-10:3,20-22%2", "--shell", script)
    assert job.wait(60).state == "finished"
    lines = log.read_text().splitlines()
    assert sorted(int(line[2:]) for line in lines if line[0] == "+") == [1, 4, 7, 10, 20, 21, 22]
    at_once = list(itertools.accumulate(1 if line[0] == "+" else -1 for line in lines))
    assert max(at_once) <= 2


def test_a_dependent_job_begins_when_those_before_it_have_ended(cluster: Cluster):
    order, gate = cluster.tmp / "after-order", cluster.tmp / "after-gate"
    os.mkfifo(gate)
    first = submitted(cluster, "--shell", f"cat {gate}; echo first >> {order}")
    with gate.open("w"):  # opens once it runs, and ends it at the end of the block
        failing = submitted(cluster, "--after", first.id, "--shell", f"echo second >> {order}; exit 3")
        anyhow = submitted(cluster, "--after", f"{first.id},any:{failing.id}", "--shell", f"echo third >> {order}")
        never = submitted(cluster, "--after", failing.id, "--", "true")
        assert failing.status().waits_for == (first.id,)
        assert first.id in failing.status().waiting
    assert anyhow.wait(30).state == "finished"
    assert order.read_text().split() == ["first", "second", "third"]
    assert never.wait(30).state == "killed"
    done = cluster.cli("wait", never.id)
    assert done.returncode != 0 and f"job {failing.id}, after which it runs, ended with exit code 3" in done.stderr
    assert failing.id in cluster.cli("status", never.id).stdout
    done = cluster.cli("submit", "--after", "nowhere", "--", "true")
    assert done.returncode == 3 and "nowhere" in done.stderr


def test_a_retry_is_used_after_the_exit_codes_that_are_named_alone(cluster: Cluster):
    words = ["--retries", "3", "--retry-on", "75", "--shell", "exit $((BMESOS_ATTEMPT + 73))"]
    job = submitted(cluster, *words)
    summary = job.wait(30)
    assert (summary.state, summary.exit_code) == ("failed", 74)
    (task,) = job.tasks()
    assert task.attempt == 1
    job = submitted(cluster, *words[:-1], "exit $((BMESOS_ATTEMPT + 74))")
    assert job.wait(30).exit_code == 76
    (task,) = job.tasks()
    assert task.attempt == 2


def test_failed_indices_alone_run_again_under_the_same_job(cluster: Cluster):
    seen, mended = cluster.tmp / "retried", cluster.tmp / "mended"
    script = f"echo $BMESOS_ARRAY_INDEX >> {seen}; test $((BMESOS_ARRAY_INDEX % 2)) = 0 || test -e {mended}"
    job = submitted(cluster, "--cpus", "0.1", "--array", "4", "--shell", script)
    assert job.wait(30).counts["failed"] == 2
    assert job.id in cluster.cli("history", "--state", "failed", "--since", "1h").stdout
    mended.touch()
    done = cluster.cli("retry", "--wait", job.id)
    assert (done.returncode, done.stdout) == (0, f"job {job.id} runs 2 failed tasks again\n")
    assert sorted(seen.read_text().split()) == ["1", "1", "2", "3", "3", "4"]
    assert [task.attempt for task in job.tasks()] == [2, 1, 2, 1]


def test_jobs_are_killed_by_a_filter(cluster: Cluster):
    waiting = [submitted(cluster, "--name", f"sweep-{n}", "--cpus", "900", "--", "true") for n in range(3)]
    gate = cluster.tmp / "sweep-gate"
    os.mkfifo(gate)
    running = submitted(cluster, "--name", "sweep-runs", "--", "cat", str(gate))
    with gate.open("w"):  # opens once it runs
        done = cluster.cli("kill", "--name", "sweep-*", "--state", "pending", "--user", "me")
        assert (done.returncode, done.stdout) == (0, "killing 3 jobs\n")
        assert {job.wait(30).state for job in waiting} == {"killed"}
        assert running.status().state == "running"
        assert cluster.cli("kill", "--name", "sweep-*").stdout == "killing 1 job\n"
        assert running.wait(30).state == "killed"
