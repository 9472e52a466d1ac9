"""Daemons whose log, or whose standard streams, nobody takes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_mesos.client import Client
from broker_mesos.runtime.log_stream import LogStream
from tests.servers import free_port
from tests.wiring.daemon import BMESOS, cleaned, environment, until

FULL = "exec {} >/dev/full 2>&1"
CLOSED = "exec {} <&- >&- 2>&-"
READ_ONCE = "exec {} 2>&1 >/dev/null"
"""Into a pipe whose reader leaves after one line, as with ``| head -n 1``."""


class Running:
    """A daemon, started by a shell that sets its streams up."""

    def __init__(self, folder: Path, streams: str, *words: str, env: dict[str, str] | None = None) -> None:
        command = streams.format(" ".join((BMESOS, *words)))
        self.process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=folder,
            env=environment(folder) | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if streams == READ_ONCE else None,
            process_group=0,
        )
        if self.process.stdout is not None:
            assert self.process.stdout.readline()
            self.process.stdout.close()

    def works(self, ask: Callable[[], object]) -> None:
        def answered() -> object:
            assert self.process.poll() is None, f"it has ended with {self.process.returncode}"
            return ask()

        until("it works", answered)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with cleaned(tmp_path):
        yield tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("streams", [FULL, CLOSED, READ_ONCE])
def test_local_cluster_works_though_its_log_is_not_taken(folder: Path, streams: str) -> None:
    port = free_port()
    daemon = Running(folder, streams, "local", "--port", str(port))
    client = Client(f"http://127.0.0.1:{port}")
    daemon.works(client.cluster)
    assert client.submit("true").wait(30).state == "finished"
    assert daemon.stop() == 0


@pytest.mark.parametrize("streams", [FULL, CLOSED, READ_ONCE])
def test_daemons_on_servers_work_though_their_logs_are_not_taken(
    folder: Path, streams: str, rabbitmq_url: str, redis_url: str, cluster_name: str
) -> None:
    port = free_port()
    env = {"BMESOS_BROKER_URL": rabbitmq_url, "BMESOS_STORE_URL": redis_url, "BMESOS_CLUSTER": cluster_name}
    commands = {
        "master": ("--cells", "1", "--log-level", "debug"),
        "agent": ("--resources", "cpus:1"),
        "framework": ("batch", "--log-level", "debug"),
        "web": ("--port", str(port)),
    }
    # Not each of them has something to log at its start.
    quiet = ("framework",)
    daemons = [
        Running(folder, FULL if streams == READ_ONCE and name in quiet else streams, name, *words, env=env)
        for name, words in commands.items()
    ]
    client = Client(f"http://127.0.0.1:{port}")
    for daemon in daemons:
        daemon.works(lambda: client.agents())
    assert client.submit("true", cpus=0.5).wait(30).state == "finished"
    assert [daemon.stop() for daemon in daemons] == [0] * len(daemons)


def test_lines_that_cannot_be_written_are_counted_and_the_count_is_written_later() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    stream = LogStream(writing, lambda count: f"<{count} dropped>")
    room = 0
    while not stream.dropped:
        stream.write("x" * 1023 + "\n")
        room += 1
    print("a", "b", file=stream, flush=True)
    assert stream.dropped == 2
    while room > 1:
        room -= len(os.read(reading, 1024)) // 1024
    stream.write("half a line, ")
    stream.write("and the rest\n")
    assert stream.dropped == 0
    assert os.read(reading, 65536).decode().splitlines()[-2:] == ["<2 dropped>", "half a line, and the rest"]
    os.close(reading)
    stream.write("nobody reads\n")
    assert stream.dropped == 1
    os.close(writing)
    stream.write("it is closed\n")
    assert stream.dropped == 2


def test_a_line_that_was_written_in_part_is_ended_before_the_next() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    stream = LogStream(ours.fileno(), lambda count: f"<{count} dropped>")
    stream.write("y" * 1_000_000 + "\n")
    assert stream.dropped == 1
    theirs.setblocking(False)
    taken = b""
    while True:
        try:
            taken += theirs.recv(1 << 20)
        except BlockingIOError:
            break
    assert 0 < len(taken) < 1_000_000
    stream.write("next\n")
    assert theirs.recv(4096).decode() == "\n<1 dropped>\nnext\n"
    ours.close()
    theirs.close()


def test_a_line_without_an_end_is_written_when_it_is_flushed() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    stream = LogStream(writing, str)
    print("50%", end="", file=stream)
    print("...", end="", file=stream, flush=True)
    assert os.read(reading, 100) == b"50%..."
    print(" done", file=stream)
    assert os.read(reading, 100) == b" done\n"
    os.close(reading)
    os.close(writing)


def test_what_no_encoding_holds_is_written_all_the_same() -> None:
    reading, writing = os.pipe()
    LogStream(writing, str).write("a\ud800b ü\n")
    assert os.read(reading, 100) == b"a\\ud800b \xc3\xbc\n"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "words",
    [
        ("local", "--data", "/proc/nothing", "--log-format", "json", "--port", "0"),
        ("master", "--log-format", "json"),
        ("agent", "--log-format", "json", "--broker-url", "http://x"),
        ("web", "--log-format", "json", "--broker-url", "amqp://127.0.0.1:1/"),
    ],
)
def test_an_error_at_the_start_is_a_line_of_json_where_the_log_is(folder: Path, words: tuple[str, ...]) -> None:
    env = environment(folder) | {"BMESOS_CONNECT_TIMEOUT": "0.2"}
    done = subprocess.run([BMESOS, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    line = [json.loads(each) for each in done.stderr.splitlines()][-1]
    assert (line["level"], line["exit_code"], done.stdout) == ("error", done.returncode, "")
    assert done.returncode in (2, 4) and "timestamp" in line and line["event"]


def test_lines_of_the_log_have_one_form_whoever_writes_them(folder: Path) -> None:
    env = environment(folder) | {"BMESOS_CONNECT_TIMEOUT": "0.2", "BMESOS_BROKER_URL": "amqp://127.0.0.1:1/"}
    done = subprocess.run([BMESOS, "agent"], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    *lines, error = done.stderr.splitlines()
    assert done.returncode == 4 and error.startswith("bmesos: RabbitMQ at 127.0.0.1:1")
    assert lines
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[[a-z]+ *\] \w", line), line


def test_log_format_of_the_environment_and_the_file_count_for_errors(folder: Path) -> None:
    (folder / "bmesos.toml").write_text('log_format = "json"\n')
    for env in ({}, {"BMESOS_LOG_FORMAT": "json"}):
        done = subprocess.run(
            [sys.executable, "-m", "broker_mesos", "master"],
            cwd=folder,
            env=environment(folder) | env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert json.loads(done.stderr)["exit_code"] == 2
        (folder / "bmesos.toml").unlink(missing_ok=True)
