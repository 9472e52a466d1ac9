"""The command line as people use it: over RabbitMQ, and over the HTTP face."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.client import Job
from tests.e2e.cluster import Cluster
from tests.e2e.waiting import until

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["amqp", "http"])
def url(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """Both ways to the cluster."""
    return cluster.amqp_url if request.param == "amqp" else cluster.of("web")[0].url


@pytest.fixture
def http(cluster: Cluster) -> str:
    """The quicker way, for what does not depend on it."""
    return cluster.of("web")[0].url


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe: ``cat`` on it ends when somebody writes into it."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def value(done: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON value on stdout of a command that succeeded."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def running(job: Job, count: int = 1) -> Job:
    until(f"{count} tasks of {job.id} run", lambda: len(list(job.tasks("running"))) == count)
    return job


def first_line(program: subprocess.Popen[bytes]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().decode().strip()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# -- submit, wait, run ----------------------------------------------------------------------------------


def test_submit_prints_the_job_and_wait_ends_with_its_code(cluster: Cluster, url: str):
    job_id = value(cluster.cli("submit", "-o", "json", "--", "sh", "-c", "exit 7", url=url))["job_id"]
    assert cluster.cli("wait", job_id, url=url).returncode == 7
    plain = cluster.cli("submit", "--", "true", url=url)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert cluster.cli("wait", plain.stdout.strip(), url=url).returncode == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--array", "1-6", "--shell", "exit $((BMESOS_ARRAY_INDEX > 2 ? BMESOS_ARRAY_INDEX : 0))"], 3),
        (["--retries", "1", "--shell", "exit $((2 - BMESOS_ATTEMPT))"], 0),
    ],
)
def test_submit_wait_ends_with_the_first_failing_code(cluster: Cluster, http: str, words: list[str], code: int):
    done = cluster.cli("submit", "--wait", *words, url=http)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_submit_wait_as_json_is_one_value(cluster: Cluster, http: str):
    done = cluster.cli("submit", "--wait", "-o", "json", "--", "sh", "-c", "exit 4", url=http)
    assert done.returncode == 4
    assert json.loads(done.stdout)["exit_code"] == 4


def test_run_passes_both_streams_on_as_they_come(cluster: Cluster, url: str, gate: Path):
    script = f"echo early; echo trouble >&2; cat {gate}; echo late; exit 5"
    program = cluster.cli_start("run", "--shell", script, url=url)
    assert first_line(program) == "early"  # while it runs: nobody has opened the gate
    gate.write_text("through the gate\n")
    out, err = program.communicate(timeout=20)
    assert out.decode() == "through the gate\nlate\n"
    assert err.decode() == "trouble\n"
    assert program.returncode == 5


def test_ctrl_c_at_run_kills_the_whole_tree_of_the_task(cluster: Cluster, url: str):
    # A child, and a grandchild in a session of its own.
    script = "sleep 600 & one=$!; setsid sh -c 'echo $$ > deep; exec sleep 600' & " + (
        "until [ -s deep ]; do sleep 0.01; done; echo $$ $one $(cat deep); wait"
    )
    program = cluster.cli_start("run", "--shell", script, url=url)
    pids = [int(word) for word in first_line(program).split()]
    assert len(pids) == 3 and not any(gone(pid) for pid in pids)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=20)
    assert program.returncode == 128 + signal.SIGTERM  # the command's own end
    assert "killing job" in err.decode()
    until("all of its processes are gone", lambda: all(gone(pid) for pid in pids), 10)


def test_output_that_is_no_text_passes_unchanged(cluster: Cluster, http: str):
    everything = bytes(range(256)) * 1_000  # several chunks
    script = "i=0; while [ $i -lt 1000 ]; do cat block; i=$((i+1)); done"
    prepare = "python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)))' > block; "
    program = cluster.cli_start("run", "--shell", prepare + script, url=http)
    out, err = program.communicate(timeout=20)
    assert (program.returncode, err) == (0, b"")
    assert out == everything


# -- logs, kill -----------------------------------------------------------------------------------------


def test_logs_follow_a_task_to_its_end(cluster: Cluster, url: str, gate: Path):
    job = cluster.client().submit(f"echo one; cat {gate}; echo oops >&2")
    program = cluster.cli_start("logs", "-f", job.id, url=url)
    assert first_line(program) == "one"
    gate.write_text("two\n")
    out, err = program.communicate(timeout=20)
    assert (program.returncode, out, err) == (0, b"two\n", b"")
    assert cluster.cli("logs", job.id, url=url).stdout == "one\ntwo\n"
    assert cluster.cli("logs", "--stderr", job.id, url=url).stdout == "oops\n"
    assert value(cluster.cli("logs", "-o", "json", job.id, url=url))["text"] == "one\ntwo\n"


def test_kill_ends_a_job_with_all_that_runs_and_waits(cluster: Cluster, http: str):
    job = cluster.client().submit(["/bin/sleep", "600"], cpus=3, array=4)
    running(job, 2)  # one on each agent; the others do not fit
    done = cluster.cli("kill", job.id, url=http)
    assert (done.returncode, done.stdout) == (0, f"killing job {job.id}\n")
    summary = job.wait(20)
    assert (summary.state, summary.counts["killed"]) == ("killed", 4)
    assert cluster.cli("wait", job.id, url=http).returncode != 0
    again = cluster.cli("kill", job.id, url=http)
    assert (again.returncode, again.stdout) == (0, f"job {job.id}: the job has ended (killed)\n")


def test_kill_ends_one_task_and_leaves_the_others(cluster: Cluster, http: str):
    job = cluster.client().submit(["/bin/sleep", "600"], cpus=1, array=3)
    running(job, 3)
    tasks = {task.index: task for task in job.tasks()}
    assert cluster.cli("kill", tasks[1].task_id, url=http).returncode == 0  # by its full id
    assert cluster.cli("kill", f"{job.id}.2", url=http).returncode == 0  # by the index
    until("two are killed", lambda: len(list(job.tasks("killed"))) == 2)
    assert [task.index for task in job.tasks("running")] == [3]
    cluster.cli("kill", job.id, url=http)
    assert job.wait(20).counts["killed"] == 3


def test_wait_gives_up_in_time_and_says_that_the_job_goes_on(cluster: Cluster, http: str):
    job = cluster.client().submit(["/bin/sleep", "600"])
    done = cluster.cli("wait", "--for", "0.2", job.id, url=http)
    assert done.returncode == 4
    assert "goes on" in done.stderr
    job.kill()


# -- status and lists -----------------------------------------------------------------------------------


def test_status_shows_masters_cells_resources_and_jobs(cluster: Cluster, url: str):
    job = cluster.client().submit("true", name="shown")
    job.wait(20)
    done = cluster.cli("status", url=url)
    assert (done.returncode, done.stderr) == (0, "")
    for master in cluster.of("master"):
        assert str(master.pid) in done.stdout
    for word in ("Masters", "Cells", "Resources", "Jobs", "cpus", job.id, "shown", "Agents: 2"):
        assert word in done.stdout

    state = value(cluster.cli("status", "-o", "json", url=url))
    cells = state["cluster"]["cells"]
    assert [each["cell"] for each in cells] == [0, 1, 2, 3]
    assert {each["pid"] for each in cells} == {master.pid for master in cluster.of("master")}
    assert all(each["term"] > 0 for each in cells)
    assert state["resources"]["total"] == {"cpus": 8, "mem": 8192}
    assert job.id in [each["job_id"] for each in state["jobs"]]


def test_status_of_a_job_counts_and_lists_its_tasks(cluster: Cluster, http: str):
    job = cluster.client().submit("exit $((BMESOS_ARRAY_INDEX == 2 ? 9 : 0))", array=3)
    job.wait(20)
    done = cluster.cli("status", job.id, url=http)
    assert done.returncode == 0
    assert "2 finished" in done.stdout and "1 failed" in done.stdout and "exit code 9" in done.stdout
    shown = value(cluster.cli("status", job.id, "-o", "json", url=http))
    assert [(task["index"], task["exit_code"]) for task in shown["tasks"]] == [(1, 0), (2, 9), (3, 0)]
    assert all(task["agent_id"] for task in shown["tasks"])
    one = cluster.cli("status", f"{job.id}.2", url=http)
    assert one.returncode == 0 and "failed" in one.stdout


@pytest.mark.parametrize("name", ["frameworks", "tasks", "offers", "roles"])
def test_lists_are_one_json_value(cluster: Cluster, http: str, name: str):
    assert isinstance(value(cluster.cli(name, "-o", "json", url=http)), list)


def test_agents_show_attributes_and_what_is_used(cluster: Cluster):
    job = running(cluster.client().submit(["/bin/sleep", "600"], cpus=1.5, constraints="rack==r2"))
    shown = {each["attributes"]["rack"]: each for each in value(cluster.cli("agents", "-o", "json"))}
    assert shown["r2"]["used"] == "cpus:1.5;mem:128"
    assert shown["r1"]["used"] == ""
    assert "1.5 / 4" in cluster.cli("agents").stdout
    job.kill()
    job.wait(20)


# -- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["status", "nosuchjob"],
        ["logs", "nosuchjob"],
        ["kill", "nosuchjob"],
        ["wait", "nosuchjob"],
    ],
)
def test_an_unknown_id_exits_with_3_in_one_line(cluster: Cluster, http: str, words: list[str]):
    done = cluster.cli(*words, url=http)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("bmesos: ") and done.stderr.count("\n") == 1
    assert "nosuchjob" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "--cpus", "nan", "--", "true"],
        ["submit", "--array", "0-99999999", "--", "true"],
        ["kill", "not an id"],
        ["agent", "--resources", "cpus:-1"],
    ],
)
def test_a_mistake_in_the_command_exits_with_2_in_one_line(cluster: Cluster, http: str, words: list[str]):
    done = cluster.cli(*words, url=http)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("bmesos: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("resources", ["unobtainium:1", "cpus:64", "cpus:1;ports:[1-2]"])
def test_a_job_that_fits_no_agent_is_accepted_and_status_says_why_it_waits(cluster: Cluster, resources: str):
    job_id = value(cluster.cli("submit", "-o", "json", "--resources", resources, "--", "true"))["job_id"]
    job = cluster.client().job(job_id)
    waiting = until("it says why it waits", lambda: job.status().waiting, 10)
    name = resources.partition(":")[0] if resources.count(";") == 0 else "ports"
    assert name in waiting
    assert waiting in cluster.cli("status", job_id).stdout
    job.kill()
    assert job.wait(20).state == "killed"


def test_a_constraint_that_no_agent_meets_is_named_in_the_status(cluster: Cluster):
    job = cluster.client().submit("true", constraints="rack==r9")
    assert "rack" in until("it says why it waits", lambda: job.status().waiting, 10)
    job.kill()


# -- streams --------------------------------------------------------------------------------------------

MANY_LINES = "yes | head -c 10M; exec sleep 600"
"""Writes more than any buffer holds, and then lives on."""


def _shell(cluster: Cluster, url: str, line: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    bmesos = f"{sys.executable} -m broker_mesos"
    variables = {**os.environ, "BMESOS_URL": url, "B": bmesos, **more}
    return subprocess.run(["bash", "-c", line], env=variables, capture_output=True, timeout=60, cwd=cluster.tmp)


def _killed(cluster: Cluster, url: str, name: str) -> None:
    def ended() -> bool:
        (job,) = (each for each in cluster.client(url).jobs() if each.name == name)
        return job.state == "killed"

    until(f"job {name} is killed", ended)


def test_run_ends_quietly_with_its_task_when_its_reader_has_left(cluster: Cluster, http: str):
    done = _shell(cluster, http, f"$B run --name unread -- sh -c '{MANY_LINES}' | head -n 1")
    assert (done.stdout, done.stderr) == (b"y\n", b"")
    _killed(cluster, http, "unread")


def test_run_ends_with_an_error_when_its_output_cannot_be_written(cluster: Cluster, http: str):
    done = _shell(cluster, http, f"$B run --name full -- sh -c '{MANY_LINES}' >/dev/full")
    assert done.returncode == 1
    assert done.stderr == b"bmesos: the output cannot be written: No space left on device\n"
    _killed(cluster, http, "full")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_run_needs_no_stream_that_its_task_does_not_use(cluster: Cluster, http: str, closed: str):
    done = _shell(cluster, http, f"$B run -- echo a {closed}")
    assert (done.returncode, done.stdout) == (0, b"a\n")


def test_a_terminal_that_is_closed_ends_run_and_its_task(cluster: Cluster, http: str):
    command = [sys.executable, "-m", "broker_mesos", "run", "--name", "hup", "--", "sh", "-c", "echo up; sleep 600"]
    variables = {**os.environ, "BMESOS_URL": http}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=variables,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    ) as program:
        assert first_line(program) == "up"
        program.send_signal(signal.SIGHUP)
        assert program.wait(30) != 0
    _killed(cluster, http, "hup")


@pytest.mark.parametrize("command", ["status", "status -o json", "agents", "--help"])
def test_every_command_prints_in_an_encoding_of_few_characters(cluster: Cluster, http: str, command: str):
    assert cluster.cli("submit", "--wait", "--name", "ü…", "--", "true", url=http).returncode == 0
    done = _shell(cluster, http, f"$B {command}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    if command.endswith("json"):
        assert "ü…" in [job["name"] for job in json.loads(done.stdout)["jobs"]]


@pytest.mark.parametrize("command", ["status", "status -o json", "agents"])
def test_every_command_fails_in_one_line_when_its_output_cannot_be_written(cluster: Cluster, http: str, command: str):
    done = _shell(cluster, http, f"$B {command} >/dev/full")
    assert (done.returncode, done.stderr) == (1, b"bmesos: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    "command",
    [
        "agents",
        "dead-letters list",
        "frameworks",
        "history --limit 1000",  # with more jobs than are shown it says so on stderr; earlier tests have made many
        "maintenance show",
        "offers",
        "reservations",
        "roles",
        "tasks",
        "volumes",
    ],
)
def test_whatever_lists_things_prints_a_list_in_json(cluster: Cluster, http: str, command: str):
    done = cluster.cli(*command.split(), "-o", "json", url=http)
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(json.loads(done.stdout), list)


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("echo hi | $B run -- cat", b"hi\n"),
        ("printf 'a\\0b' > bytes; $B run -- cat < bytes", b"a\0b"),
        ("$B run -- cat < /dev/null", b""),
        ("$B run -- cat <&-", b""),
        ("true | $B run -- cat", b""),
        ("echo ours > ours; echo piped | $B run --stdin ours -- cat", b"ours\n"),
    ],
)
def test_run_passes_on_what_is_piped_to_it(cluster: Cluster, http: str, line: str, output: bytes):
    done = _shell(cluster, http, line)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, b"")


def test_more_input_than_goes_along_with_a_job_is_refused_in_one_line(cluster: Cluster, http: str):
    done = _shell(cluster, http, "head -c 131073 /dev/zero | $B run -- wc -c")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"bmesos: stdin has more than 131072 bytes") and done.stderr.count(b"\n") == 1


def test_run_on_a_terminal_does_not_read_from_it(cluster: Cluster, http: str):
    done = _shell(cluster, http, "script -qec '$B run -- wc -c' /dev/null < /dev/null")
    assert (done.returncode, done.stdout.strip()) == (0, b"0")


def test_run_says_why_a_program_cannot_be_started(cluster: Cluster, http: str):
    done = _shell(cluster, http, "$B run -- no-such-prog")
    assert done.returncode != 0
    (line,) = done.stderr.decode().splitlines()
    assert "no-such-prog" in line and "gone" not in line
    done = _shell(cluster, http, "$B run -- /etc/passwd")
    assert done.returncode != 0 and b"/etc/passwd" in done.stderr


@pytest.mark.parametrize("command", ["run", "submit --wait"])
def test_a_job_that_waits_is_said_to_once_and_not_on_stdout(cluster: Cluster, http: str, command: str):
    line = f"timeout -s INT 9 $B {command} --constraint nowhere==x -- true"
    done = _shell(cluster, http, line)
    assert done.stderr.decode().count("waits: ") == 1
    assert b"waits" not in done.stdout
