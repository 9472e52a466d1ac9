"""One HTTP request: whatever a server does, the caller gets an answer or one line in bounded time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker_mesos.errors import Unavailable
from broker_mesos.runtime.http_call import ANSWER_MAX_BYTES, Reply, call
from broker_mesos.runtime.tls import NO_FILES


@contextmanager
def answering(answer: bytes, *, closing: bool = True) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends this to its first client, and its URL; what it has received is in the list."""
    received: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                request = b""
                while not request.endswith(b"{}"):
                    request += connection.recv(65_536)
                received.append(request)
                try:
                    connection.sendall(answer)
                except OSError:
                    return
                if not closing:
                    done.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        finally:
            done.set()
            thread.join()


def ask(url: str, timeout: float = 30.0) -> Reply:
    return call(url, "POST", "/enroll", b"{}", headers={"X-One": "1"}, tls=NO_FILES, timeout=timeout)


def test_a_request_gets_its_answer() -> None:
    with answering(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", closing=False) as (url, received):
        assert ask(f"{url}/below/") == Reply(403, b"no")
    assert received[0].startswith(b"POST /below/enroll HTTP/1.1\r\n") and b"X-One: 1" in received[0]


def test_a_redirect_is_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with answering(answer) as (url, _):
        assert ask(url).status == 302


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "cannot reach 127.0.0.1"),
        (b"AMQP\x00\x00\x09\x01 hush-hush\r\n\r\n", "cannot reach 127.0.0.1"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "cannot reach 127.0.0.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nno", "cannot reach 127.0.0.1"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (ANSWER_MAX_BYTES + 1), "sent an answer of more than"),
    ],
)
def test_what_is_no_answer_is_one_line(answer: bytes, reason: str) -> None:
    with answering(answer) as (url, _), pytest.raises(Unavailable) as found:
        ask(url)
    assert reason in str(found.value) and "\n" not in str(found.value) and "hush" not in str(found.value)


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nno"])
def test_a_server_that_does_not_go_on_is_given_up(begin: bytes) -> None:
    with answering(begin, closing=False) as (url, _), pytest.raises(Unavailable, match=r"did not answer within 0\.2 s"):
        ask(url, 0.2)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "nothing listens at 127.0.0.1:1"),
        ("http://no-such-host.invalid:5055", "no-such-host.invalid:5055: no such host"),
    ],
)
def test_a_server_that_is_not_there_is_named(url: str, reason: str) -> None:
    with pytest.raises(Unavailable, match=reason):
        ask(url)
