"""What people do to commands without meaning harm: odd arguments, output that nobody reads, long silence."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.client import jobs
from tests.e2e.cluster import Cluster
from tests.e2e.waiting import until

ODD = (
    "'",
    '"',
    "`id`",
    "$HOME",
    "${x}",
    "\\",
    "\\n",
    "a b",
    " ",
    "",
    "*",
    "~",
    "#no comment",
    "a;b|c&d>e<f",
    "!!",
    "new\nline",
    "tab\t",
    "“ü”",
    "-x",
    "--name=y",
    "--",
    "{a,b}",
    "%s",
    "'\"'\"'",
)


@pytest.fixture
def http(cluster: Cluster) -> str:
    return cluster.of("web")[0].url


@pytest.mark.parametrize("transport", ["amqp", "http"])
def test_arguments_with_every_kind_of_quote_arrive_as_they_are(cluster: Cluster, http: str, transport: str):
    url = http if transport == "http" else cluster.amqp_url
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    done = cluster.cli("run", "--", sys.executable, "-c", program, *ODD, url=url)
    assert (done.returncode, json.loads(done.stdout)) == (0, list(ODD)), done.stderr


@pytest.mark.parametrize("word", ODD[:8])
def test_a_name_of_a_job_with_a_quote_is_shown_as_it_is_or_refused_in_one_line(cluster: Cluster, http: str, word: str):
    done = cluster.cli("submit", f"--name={word}", "-o", "json", "--", "true", url=http)
    if done.returncode:
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
        return
    shown = cluster.cli("status", "-o", "json", json.loads(done.stdout)["job_id"], url=http)
    assert f'"name": {json.dumps(word, ensure_ascii=False)}' in shown.stdout or json.dumps(word) in shown.stdout


def test_a_job_id_that_is_used_again_names_the_same_job_and_never_another_one(cluster: Cluster, http: str):
    words = ("submit", "--job-id", "again-1", "--wait")
    done = [cluster.cli(*words, "--", "sh", "-c", "exit 3", url=http) for _ in range(3)]
    assert [each.returncode for each in done] == [3, 3, 3]
    assert [each.job_id for each in cluster.client(http).jobs()].count("again-1") == 1
    other = cluster.cli(*words, "--", "true", url=http)
    assert other.returncode not in (0, 3) and "again-1" in other.stderr and other.stderr.count("\n") == 1


def test_output_that_nobody_reads_waits_and_ends_with_the_reader(cluster: Cluster, http: str):
    """As in ``bmesos run -- yes | less``: the pipe is full, and the client keeps little of what follows."""
    command = [sys.executable, "-m", "broker_mesos", "run", "--name", "unread-yes", "--", "yes"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "BMESOS_URL": http},
        cwd=cluster.tmp,
    ) as program:
        assert program.stdout is not None and program.stderr is not None
        end = program.stdout.fileno()
        size = fcntl.fcntl(end, fcntl.F_GETPIPE_SZ)
        until("the pipe is full", lambda: waiting(end) >= size - 4096)
        (job,) = (each for each in cluster.client(http).jobs() if each.name == "unread-yes")
        (task,) = cluster.client(http).job(job.job_id).tasks()
        sandbox = next(cluster.tmp.glob(f"**/sandboxes/{task.task_id}/stdout"), None)
        assert sandbox is not None
        until("the task has written much more", lambda: sandbox.stat().st_size > 20 * size)
        assert memory_mb(program.pid) < 200
        program.stdout.close()
        program.wait(20)
        assert program.stderr.read() == b""
    until("its task is killed", lambda: cluster.client(http).job(job.job_id).status().state == "killed")


def waiting(end: int) -> int:
    """Number of bytes in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, b"\0" * 4))[0])


def memory_mb(pid: int) -> float:
    (line,) = (each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("transport", ["amqp", "http"])
def test_logs_follow_a_task_that_is_silent_for_many_turns_at_a_time(
    cluster: Cluster, http: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
):
    """A request waits for 10 s at most; here it is 0.05 s, and the task is silent for five of them."""
    monkeypatch.setattr(jobs, "_WAIT_TURN_SECONDS", 0.05)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    client = cluster.client(http if transport == "http" else cluster.amqp_url)
    job = client.submit(f"for i in 1 2 3; do cat {gate}; done")
    reads: list[Any] = []
    call = client.call

    def counted(kind: str, *arguments: Any, **more: Any) -> Any:
        answer = call(kind, *arguments, **more)
        if kind == "READ_LOG" and not answer.get("data"):
            reads.append(answer)
        return answer

    monkeypatch.setattr(client, "call", counted)
    pieces: queue.Queue[bytes | None] = queue.Queue()

    def follow() -> None:
        for piece in job.logs(follow=True):
            pieces.put(piece)
        pieces.put(None)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    for line in (b"one\n", b"two\n", b"three\n"):
        silent = len(reads)
        until("nothing has come for some turns", lambda: len(reads) >= silent + 5)  # noqa: B023
        gate.write_bytes(line)
        assert pieces.get(timeout=20) == line
    assert pieces.get(timeout=20) is None
    thread.join(20)
