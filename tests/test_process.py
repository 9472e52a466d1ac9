"""The signals of a process: while it loads, while it looks for its servers, and when it is told to end twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.cluster import BMESOS
from tests.e2e.waiting import until

DAEMONS = {
    "web": ("web", "--port", "0"),
    "agent": ("agent", "--work-dir", "work"),
    "master": ("master",),
    "batch": ("framework", "batch"),
}


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


def environment(silent: socket.socket) -> dict[str, str]:
    host, port = silent.getsockname()
    return dict(os.environ) | {
        "BMESOS_BROKER_URL": f"amqp://{host}:{port}/",
        "BMESOS_STORE_URL": f"redis://{host}:{port}/0",
        "BMESOS_CONNECT_TIMEOUT": "600",
        "BMESOS_STORE_SILENCE": "600",
    }


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_daemon_that_looks_for_its_servers_ends_when_it_is_told_to(
    silent: socket.socket, tmp_path: Path, daemon: str, number: signal.Signals, code: int
) -> None:
    words = [sys.executable, "-m", "broker_mesos", *DAEMONS[daemon]]
    with subprocess.Popen(words, cwd=tmp_path, env=environment(silent), stderr=subprocess.PIPE, text=True) as process:
        try:
            with silent.accept()[0]:
                process.send_signal(number)
                _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in errors


@pytest.mark.parametrize("daemon", DAEMONS)
def test_sighup_does_not_end_a_daemon_that_looks_for_its_servers(
    silent: socket.socket, tmp_path: Path, daemon: str
) -> None:
    words = [sys.executable, "-m", "broker_mesos", *DAEMONS[daemon]]
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment(silent), stderr=subprocess.PIPE, text=True, preexec_fn=_default_hangup
    ) as process:
        try:
            with silent.accept()[0]:
                process.send_signal(signal.SIGHUP)
                assert process.stderr is not None
                assert any("SIGHUP" in line for line in process.stderr)
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0


def _default_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup


def loading(number: signal.Signals, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that receives a signal when it has only begun to load."""
    program = (
        "import os, sys, broker_mesos.cli as cli\nopen_streams = cli.open_standard_streams\n"
        f"def interrupted():\n    os.kill(os.getpid(), {number.value})\n    open_streams()\n"
        f"cli.open_standard_streams = interrupted\nsys.argv = ['bmesos', *{words!r}]\nsys.exit(cli.main())"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("BMESOS_")}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=_default_hangup,
    )


def test_ctrl_c_while_a_command_loads_ends_it_without_a_word() -> None:
    for words in (("version",), ("web", "--port", "0")):
        done = loading(signal.SIGINT, *words)
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_sighup_while_a_daemon_loads_does_not_end_it() -> None:
    for daemon, words in DAEMONS.items():
        done = loading(signal.SIGHUP, *words)
        assert done.returncode == 2 and "no broker is named" in done.stderr, daemon
    # A command ends with its terminal, as before.
    assert loading(signal.SIGHUP, "version").returncode == -signal.SIGHUP


def test_a_second_ctrl_c_to_a_local_cluster_leaves_nothing_behind(tmp_path: Path) -> None:
    told, started = tmp_path / "told", tmp_path / "started"
    stubborn = f"trap 'touch {told}' TERM; echo $$ > {started}; while :; do sleep 0.1; done"
    env = {name: value for name, value in os.environ.items() if not name.startswith("BMESOS_")}
    folder = tmp_path / "temporary"
    folder.mkdir()
    words = [BMESOS, "local", "--port", "0"]
    with subprocess.Popen(
        words, cwd=tmp_path, env={**env, "TMPDIR": str(folder)}, stderr=subprocess.PIPE, text=True
    ) as local:
        try:
            assert local.stderr is not None
            url = next(line.split(" at ")[1].strip() for line in local.stderr if line.startswith("cluster default"))
            submit = [BMESOS, "--url", url, "submit", "--shell", stubborn]
            subprocess.run(submit, env=env, check=True, capture_output=True, timeout=60)
            until("the task runs", lambda: started.exists() and started.read_text().strip())
            local.send_signal(signal.SIGINT)
            until("the task is told to end", told.exists)
            local.send_signal(signal.SIGINT)
            assert local.wait(30) == 1
        finally:
            local.kill()
    assert list(folder.iterdir()) == []
    until("the task has ended", lambda: not psutil.pid_exists(int(started.read_text())))
