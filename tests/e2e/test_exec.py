"""`bmesos exec`, from a terminal to the task and back, over RabbitMQ and over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.probe import probe
from tests.containerizer.cgroups.conftest import emptied, was_not_run
from tests.e2e.cluster import BMESOS, Cluster
from tests.e2e.conftest import NewCluster
from tests.e2e.terminal import Terminal
from tests.e2e.waiting import until, until_none, until_running

WAYS = ("amqp", "http")


def url_of(cluster: Cluster, way: str) -> str:
    return cluster.amqp_url if way == "amqp" else cluster.of("web")[0].url


@pytest.fixture(scope="module")
def job(cluster: Cluster) -> Iterator[str]:
    """A job that runs as long as the tests of this file."""
    made = cluster.client().submit("exec sleep 100000", env={"COLOUR": "blue"})
    until_running(cluster.client(), made.id)
    yield made.id
    made.kill()


def living(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def peak(pid: int) -> int:
    """The most memory that a process has had, in KB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_command_beside_a_task_has_its_environment_and_its_exit_code_is_that_of_exec(
    cluster: Cluster, job: str, way: str
) -> None:
    url = url_of(cluster, way)
    done = cluster.cli("exec", job, "--", "sh", "-c", "echo $COLOUR; echo oops >&2; pwd; exit 7", url=url)
    assert (done.returncode, done.stderr) == (7, "oops\n"), done
    colour, folder = done.stdout.splitlines()
    assert colour == "blue" and folder.endswith(f"/sandboxes/{job}.0.1")
    done = cluster.cli("exec", f"{job}.0", "--", "sh", "-c", "kill -KILL $$", url=url)
    assert (done.returncode, done.stderr) == (128 + signal.SIGKILL, "")


@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_beside_a_task_has_this_size_and_ctrl_c_interrupts_what_runs_there(
    cluster: Cluster, job: str, way: str
) -> None:
    env = {**cluster.env, "BMESOS_URL": url_of(cluster, way), "BMESOS_LOG_FORMAT": "text", "TERM": "vt100"}
    with Terminal([BMESOS, "exec", "-it", job, "--", "sh"], env, rows=31, columns=99) as terminal:
        terminal.type("stty size; echo $TERM $COLOUR\r")
        terminal.until("31 99\r\nvt100 blue\r\n")
        terminal.resize(40, 120)
        terminal.type("while [ \"$(stty size)\" != '40 120' ]; do sleep 0.05; done; echo resi''zed\r")
        terminal.until("resized\r\n")
        sleeps = "import time; print(6 * 7, flush=True); [time.sleep(0.05) for _ in range(99999)]"
        terminal.type(f"python3 -c '{sleeps}'\r")
        terminal.until("\n42\r\n")
        terminal.type("\x03")
        terminal.until("KeyboardInterrupt")
        terminal.type("exit 9\r")
        assert terminal.wait() == 9
        assert terminal.attributes() == terminal.modes


def test_enter_tilde_dot_leaves_a_session_restores_the_terminal_and_ends_the_command(
    cluster: Cluster, job: str
) -> None:
    env = {**cluster.env, "BMESOS_LOG_FORMAT": "text"}
    with Terminal(["env", "--ignore-signal=HUP", BMESOS, "exec", "-it", job], env) as terminal:
        terminal.type("PS1='> '; echo pi''d=$$.\r")
        terminal.until("pid=")
        terminal.until(".\r\n")
        pid = int(terminal.shown.rpartition(b"pid=")[2].partition(b".")[0])
        terminal.type("\r~.")
        assert terminal.wait() == 1
        assert b"left the session" in terminal.shown and terminal.attributes() == terminal.modes
    until_none("the shell ends", lambda: living(pid))


@pytest.mark.parametrize("way", WAYS)
def test_input_and_50_mb_of_output_are_complete_although_the_reader_is_slow(
    cluster: Cluster, job: str, way: str
) -> None:
    size, seed = 50 << 20, os.urandom(1 << 16)
    program = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data * 800)"
    agents = [each.pid for each in cluster.of("agent")]
    before = [peak(pid) for pid in agents]
    exec_ = subprocess.Popen(
        [BMESOS, "exec", "-i", job, "--", "python3", "-c", program],
        env={**cluster.env, "BMESOS_URL": url_of(cluster, way)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert exec_.stdin is not None and exec_.stdout is not None
    with exec_:
        exec_.stdin.write(seed)
        exec_.stdin.close()
        got, digest, of_client = 0, hashlib.sha256(), 0
        while data := exec_.stdout.read(4096):  # slow: a system call for each 4 KB
            got += len(data)
            digest.update(data)
            if got >= size // 2 and not of_client:
                of_client = peak(exec_.pid)
    assert (exec_.returncode, got) == (0, size)
    assert digest.digest() == hashlib.sha256(seed * 800).digest()
    assert of_client < 100_000 and all(peak(pid) < each + 10_000 for pid, each in zip(agents, before, strict=True))


def test_a_command_without_a_terminal_is_interrupted_by_ctrl_c_of_its_client(cluster: Cluster, job: str) -> None:
    program = cluster.cli_start("exec", job, "--", "sh", "-c", "echo ready; exec sleep 1000")
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    program.send_signal(signal.SIGINT)
    assert program.wait(60) == 130


def test_the_command_of_a_client_that_is_killed_ends_within_the_time_that_a_client_may_be_silent(
    cluster: Cluster, job: str
) -> None:
    program = cluster.cli_start("exec", job, "--", "sh", "-c", "trap '' HUP; (setsid sleep 1000 & echo $!); sleep 1000")
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    program.kill()
    until_none("the command ends", lambda: living(pid), timeout=60)


def test_a_session_ends_with_its_task_and_with_its_agent_and_each_is_told_in_one_line(
    new_cluster: NewCluster,
) -> None:
    cluster = new_cluster()
    cluster.master(cells=1)
    agent = cluster.agent()
    cluster.batch()
    cluster.ready()
    one, two = (cluster.client().submit("exec sleep 100000") for _ in range(2))
    programs, pids = [], []
    for each in (one, two):
        until_running(cluster.client(), each.id)
        program = cluster.cli_start("exec", each.id, "--", "sh", "-c", "echo $$; exec sleep 1000")
        assert program.stdout is not None
        pids.append(int(program.stdout.readline()))
        programs.append(program)
    one.kill()
    _, err = programs[0].communicate(timeout=60)
    told = f"bmesos: task {one.id}.0.1 has ended, and its sessions with it\n"
    assert (programs[0].returncode, err.decode()) == (4, told)
    agent.kill()
    until_none("the processes end", lambda: [pid for pid in pids if living(pid)])
    cluster.agent(work_dir=agent.work_dir).ready()
    _, err = programs[1].communicate(timeout=60)
    assert programs[1].returncode == 3 and len(err.splitlines()) == 1
    assert b"is gone" in err and b"the agent was restarted" in err
    done = cluster.cli("exec", two.id, "--", "echo", "again")
    assert done.stdout == "again\n", done


def test_what_cannot_be_entered_is_told_in_one_line(cluster: Cluster, job: str, tmp_path: Path) -> None:
    def refused(code: int, *words: str) -> str:
        done = cluster.cli("exec", *words)
        assert done.returncode == code and len(done.stderr.splitlines()) == 1 and not done.stdout, done
        return done.stderr

    assert "no job or task nothing" in refused(3, "nothing", "--", "true")
    assert "cannot start 'no-such-program': No such program in PATH" in refused(2, job, "--", "no-such-program")
    assert "give a command after --, or -t for a shell" in refused(2, job)
    assert "-t needs a terminal" in refused(2, "-it", job)
    ended = cluster.client().run("true").job_id
    assert f"job {ended} does not run: it is finished since 20" in refused(1, ended, "--", "true")
    assert f"task {ended}.0.1 does not run: it is finished since 20" in refused(1, f"{ended}.0", "--", "true")
    array = cluster.client().submit("exec sleep 1000", array=3, cpus=0.1)
    for index in (1, 2, 3):
        until_running(cluster.client(), f"{array.id}.{index}")
    text = refused(1, array.id, "--", "true")
    assert f"job {array.id} has several running tasks: name one of {array.id}.1, {array.id}.2, {array.id}.3\n" in text
    array.kill()


def test_a_task_has_four_sessions_at_most(cluster: Cluster, job: str) -> None:
    programs = [cluster.cli_start("exec", job, "--", "sh", "-c", "echo ready; exec sleep 1000") for _ in range(4)]
    for program in programs:
        assert program.stdout is not None and program.stdout.readline() == b"ready\n"
    done = cluster.cli("exec", job, "--", "true")
    assert done.returncode == 1 and f"task {job}.0.1 has 4 sessions already" in done.stderr
    for program in programs:
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 128 + signal.SIGTERM
    until("there is room again", lambda: cluster.cli("exec", job, "--", "true").returncode == 0)


def test_an_agent_with_exec_switched_off_refuses_it_and_says_so(new_cluster: NewCluster) -> None:
    cluster = new_cluster(exec_enabled="false")
    cluster.master(cells=1)
    cluster.agent()
    cluster.batch()
    cluster.ready()
    job = cluster.client().submit("exec sleep 100000")
    until_running(cluster.client(), job.id)
    done = cluster.cli("exec", job.id, "--", "true")
    assert done.returncode == 5 and "exec_enabled is false there" in done.stderr


def test_a_command_beside_a_task_with_limits_is_in_its_cgroup(new_cluster: NewCluster, tmp_path: Path) -> None:
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
    job = cluster.client().submit("cat /proc/self/cgroup; exec sleep 100000", mem=64)
    until_running(cluster.client(), job.id)
    until("it has printed", lambda: b"".join(job.logs()))
    done = cluster.cli("exec", job.id, "--", "cat", "/proc/self/cgroup")
    assert done.stdout == b"".join(job.logs()).decode(), done
    done = cluster.cli("exec", job.id, "--", "python3", "-I", "-S", "-c", "bytearray(200 << 20)")
    # Its own end is reported first, or that of the task.
    assert done.returncode == 137 or (done.returncode == 4 and f"task {job.id}.0.1 has ended" in done.stderr), done
    job.wait(90)
    (task,) = json.loads(cluster.cli("status", job.id, "-o", "json").stdout)["tasks"]
    assert "used more than its mem:64 MB" in task["message"]
