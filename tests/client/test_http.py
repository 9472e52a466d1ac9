"""The transport over HTTP, and that a command which needs no more loads no more."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.client.connect import connect
from broker_mesos.client.http import HttpTransport
from broker_mesos.client.jobs import JobClient
from broker_mesos.client.names import new_job_id, user_name
from broker_mesos.client.spec import build_spec, describe
from broker_mesos.client.transport import REQUEST_MAX_BYTES
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import InvalidInput, Unavailable
from tests.operator.fakes import FakeCluster, serving


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BMESOS_URL", "BMESOS_CLUSTER", "BMESOS_URL_FILE", "BMESOS_TOKEN", "BMESOS_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_job_is_submitted_and_waited_for_in_json() -> None:
    cluster = FakeCluster()
    cluster.exit_codes = {0: 3}
    with serving(cluster) as url, JobClient(url, timeout=10) as client:
        job_id, spec = new_job_id(), describe(["true"], user_name())
        client.store(job_id, spec)
        client.store(job_id, spec)
        assert client.end_of(job_id)["exit_code"] == 3
        assert b"".join(client.read(job_id, follow=True)) == b"out\n"
    assert cluster.specs == {job_id: build_spec(["true"], user_name())}


def test_what_the_server_finds_wrong_is_named_as_the_option_is() -> None:
    with serving(FakeCluster()) as url, JobClient(url, timeout=10) as client:
        with pytest.raises(InvalidInput, match=r"^retries: "):
            client.store("mine", describe("true", retries=-1))


@contextlib.contextmanager
def _answering(*answers: bytes) -> Iterator[str]:
    """Something that answers whatever it is asked with these bytes, one after the other, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        for answer in answers:
                            if connection.recv(1 << 16):
                                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "lost the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak the operator API"),
        (b"HTTP/1.1 abc\r\n\r\n", "does not speak the operator API"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}", "HTTP status 503"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "does not speak the operator API"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "lost the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", "does not speak the operator API"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "does not speak the operator API"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "does not speak the operator API"),
        (b"x" * 70_000, "does not speak the operator API"),
    ],
)
def test_an_odd_answer_is_an_error_in_one_line(answer: bytes, message: str) -> None:
    with _answering(answer) as url, JobClient(url, timeout=5) as client:
        with pytest.raises(Unavailable, match=message) as caught:
            client.call("GET_JOBS", {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"data": {"a": 1}}',
        b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:18\r\n\r\n{"data": {"a": 1}}',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'5;a=b\r\n{"dat\r\nD\r\na": {"a": 1}}\r\n0\r\nX: y\r\n\r\n',
    ],
)
def test_every_form_of_an_answer_is_read_over_one_connection(answer: bytes) -> None:
    with _answering(answer, answer) as url, JobClient(url, timeout=5) as client:
        assert client.call("GET_JOBS", {}) == {"a": 1}
        assert client.call("GET_JOBS", {}) == {"a": 1}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_answer_may_end_with_its_connection(version: str) -> None:
    answer = f"HTTP/{version} 200 OK\r\nConnection: close\r\n\r\n".encode() + b'{"data": {"a": 1}}'
    with _answering(answer) as url:
        with JobClient(url, timeout=5) as client:
            assert client.call("GET_JOBS", {}) == {"a": 1}
            assert client.call("GET_JOBS", {}) == {"a": 1}


def test_a_request_that_no_server_takes_is_not_sent() -> None:
    assert REQUEST_MAX_BYTES == MAX_BODY
    with pytest.raises(InvalidInput, match="at most"):
        JobClient("http://127.0.0.1:1").store("mine", describe("x" * MAX_BODY))


@pytest.mark.parametrize(
    ("url", "host", "port", "head"),
    [
        ("http://127.0.0.1", "127.0.0.1", 80, "POST /api/v1 "),
        ("http://localhost:65535/a/b/", "localhost", 65535, "POST /a/b/api/v1 "),
        ("http://[::1]:7/", "::1", 7, "POST /api/v1 "),
        ("https://h/x", "h", 443, "POST /x/api/v1 "),
    ],
)
def test_an_address_names_host_port_and_path(url: str, host: str, port: int, head: str) -> None:
    made = connect(url, None)
    assert isinstance(made, HttpTransport)
    assert (made._host, made._port) == (host, port) and made._head.startswith(head)


@pytest.mark.parametrize("url", ["x", "http://", "http://h:x", "http://h:0", "http://h:65536", "ftp://h", "http://:1"])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="--url"):
        connect(url, None)


def test_an_address_comes_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def port() -> int:
        made = connect(None, None)
        assert isinstance(made, HttpTransport)
        return made._port

    assert port() == 5050
    (tmp_path / "url").write_text("http://localhost:1\n")
    monkeypatch.setenv("BMESOS_URL_FILE", str(tmp_path / "url"))
    assert port() == 1
    monkeypatch.delenv("BMESOS_URL_FILE")
    (tmp_path / "bmesos.toml").write_text('url = "http://localhost:2"\n')
    assert port() == 2
    monkeypatch.setenv("bmesos_url", "http://localhost:3")
    assert port() == 3
    monkeypatch.setenv("BMESOS_CLUSTER", "a/b")
    with pytest.raises(InvalidInput, match="BMESOS_CLUSTER"):
        connect(None, None)


@pytest.mark.parametrize("line", ["submit --wait -- true", "run -- true"])
def test_a_command_about_a_job_loads_no_models(line: str) -> None:
    program = (
        f"import sys\nfrom broker_mesos.cli import main\nmain({line.split()!r})\n"
        "print('loaded:', *sorted({'typer', 'click', 'pydantic', 'http.client', 'asyncio', 'ssl', 'inspect'} "
        "& set(sys.modules)))"
    )
    with serving(FakeCluster()) as url:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"BMESOS_URL": url})
    assert done.stdout.splitlines()[-1] == "loaded:", done.stdout + done.stderr


@pytest.mark.parametrize("way", ["variable", "file", "settings"])
def test_a_token_goes_along_with_every_request(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "bm1_aaaaaaaa_" + "a" * 43
    if way == "variable":
        monkeypatch.setenv("BMESOS_TOKEN", token)
    elif way == "file":
        (tmp_path / "token").write_text(f"{token}\n")
        monkeypatch.setenv("BMESOS_TOKEN_FILE", str(tmp_path / "token"))
    else:
        (tmp_path / "bmesos.toml").write_text(f'token = "{token}"\n')
    made = connect("http://127.0.0.1:1", None)
    assert isinstance(made, HttpTransport)
    assert f"\r\nAuthorization: Bearer {token}\r\n" in made._head


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ä", "a\x00"])
def test_a_token_that_would_be_another_header_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="BMESOS_TOKEN is not a token") as caught:
        HttpTransport("h", 1, "", token=token)
    assert token not in str(caught.value)
