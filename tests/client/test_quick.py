"""The quick way of a command: the same jobs, and the long way wherever something is odd."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.client import quick
from broker_mesos.client.names import new_job_id, user_name
from broker_mesos.client.spec import build_spec
from broker_mesos.core.model.job import JobSpec
from tests.client.test_bus import batch as batch
from tests.operator.fakes import FakeCluster, serving


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BMESOS_URL", "BMESOS_CLUSTER", "BMESOS_URL_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "words",
    [
        {"command": ["true"]},
        {"command": ["/bin/echo", "a b", "ü"], "name": "n", "cpus": 0.125, "mem": "2G"},
        {"command": "  echo $A\nexit 3", "env": {"A": "1", "_b": ""}, "retries": 3, "priority": -2},
        {"command": ["x" * 90], "array": "50", "rerun": True, "revocable": True},
        {"command": ["true"], "array": "0-9", "cpus": 2.0, "mem": "512M"},
    ],
)
def test_a_plain_job_is_described_as_the_client_does(words: dict[str, Any]) -> None:
    spec = quick.plain_spec(words)
    assert JobSpec.model_validate(spec) == build_spec(words.pop("command"), user=user_name(), **words)


@pytest.mark.parametrize(
    "words",
    [
        {"cpus": 0.0},
        {"cpus": -1.0},
        {"cpus": 0.0001},
        {"cpus": float("nan")},
        {"mem": "lots"},
        {"mem": "1.5G"},
        {"array": "9-1"},
        {"array": "0"},
        {"array": "x"},
        {"env": {"1": "x"}},
        {"env": {"A": "\0"}},
        {"retries": -1},
        {"priority": 10_000},
        {"name": "n" * 201},
        {"command": [""]},
        {"command": ["a\0"]},
        {"disk": "1G"},
        {"prefer": ["rack==r1"]},
        {"gang": True},
    ],
)
def test_whatever_is_not_plain_is_left_to_the_client(words: dict[str, Any]) -> None:
    assert quick.plain_spec({"command": ["true"], **words}) is None


def _end(url: str, cluster: str | None = None) -> quick.Summary | None:
    client = quick.connect(url, cluster, 10)
    assert client is not None
    with contextlib.closing(client):
        spec, job_id = quick.plain_spec({"command": ["true"]}), new_job_id()
        assert spec is not None
        assert client.submit(job_id, spec) and client.submit(job_id, spec)
        return client.wait(job_id)


def test_a_job_is_submitted_and_waited_for_over_http() -> None:
    cluster = FakeCluster()
    cluster.exit_codes = {0: 3}
    with serving(cluster) as url:
        ended = _end(url)
        client = quick.connect(url, None, 10)
        assert client is not None and client.wait("nope") is None
        client.close()
    assert ended is not None and ended.exit_code == 3 and list(cluster.specs) == [ended.job_id]


async def test_a_job_is_submitted_and_waited_for_over_rabbitmq(
    batch: FakeCluster, rabbitmq_url: str, cluster_name: str
) -> None:
    ended = await asyncio.to_thread(_end, rabbitmq_url, cluster_name)
    assert ended is not None and ended.exit_code == 0 and list(batch.specs) == [ended.job_id]


async def test_without_a_framework_the_client_is_left_to_say_so(rabbitmq_url: str, cluster_name: str) -> None:
    def use() -> None:
        client = quick.connect(rabbitmq_url, cluster_name, 10)
        # No exchange yet, or nobody who reads: either is an error that the client has words for.
        assert client is not None and client.wait("nope") is None
        client.close()

    await asyncio.to_thread(use)


@contextlib.contextmanager
def _answering(answer: bytes) -> Iterator[str]:
    """Something that answers whatever it is asked with these bytes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data": 1}',
    ],
)
def test_an_odd_answer_is_left_to_the_client(answer: bytes) -> None:
    with _answering(answer) as url:
        client = quick.connect(url, None, 5)
        assert client is not None and client.wait("a") is None
        client.close()


@pytest.mark.parametrize("url", ["https://h/", "http://[::1]:1", "http://127.0.0.1:1", "amqp://127.0.0.1:1", "x"])
def test_an_address_that_is_odd_or_dead_is_left_to_the_client(url: str) -> None:
    assert quick.connect(url, None, 1) is None


def test_files_with_a_word_in_it_are_left_to_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _answering(b"") as url:
        assert quick.connect(url, None, 1) is not None
        monkeypatch.setenv("bmesos_cluster", "lab")
        assert quick.connect(url, None, 1) is None
        monkeypatch.delenv("bmesos_cluster")
        assert quick.connect(url, "a/b", 1) is None
        (tmp_path / "bmesos.toml").write_text("")
        assert quick.connect(url, None, 1) is None
