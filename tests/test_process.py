"""A daemon that is told to end while it still looks for its servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_daemon_that_looks_for_its_servers_ends_when_it_is_told_to(
    silent: socket.socket, tmp_path: Path, daemon: str, number: signal.Signals, code: int
) -> None:
    host, port = silent.getsockname()
    env = dict(os.environ) | {
        "BMESOS_BROKER_URL": f"amqp://{host}:{port}/",
        "BMESOS_STORE_URL": f"redis://{host}:{port}/0",
        "BMESOS_CONNECT_TIMEOUT": "600",
        "BMESOS_STORE_SILENCE": "600",
    }
    words = [sys.executable, "-m", "broker_mesos", *DAEMONS[daemon]]
    with subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            with silent.accept()[0]:
                process.send_signal(number)
                _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in errors
