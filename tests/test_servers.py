"""The harness itself: what the fault tests and the benchmarks take for granted about their servers."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pika
import pika.exceptions
import pytest
import redis

from tests.servers import RabbitMQServer, RedisServer, ServerFailed, ServerMissing

pytestmark = pytest.mark.servers


def processes_about(folder: Path) -> list[int]:
    """Live processes that name the folder in their command line or environment."""
    needle = str(folder).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if needle in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def wait_gone(pids: list[int], timeout: float = 10) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                assert select.select([handle], [], [], timeout)[0], f"process {pid} is still there"
            finally:
                os.close(handle)


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextlib.contextmanager
def amqp(server: RabbitMQServer) -> Iterator[pika.BlockingConnection]:
    connection = pika.BlockingConnection(pika.URLParameters(server.url))
    try:
        yield connection
    finally:
        # the server may have been killed meanwhile
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()


def greets(server: RabbitMQServer, timeout: float) -> bool:
    """Whether the server answers to a protocol header in time (seconds)."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        try:
            return bool(connection.recv(1))
        except TimeoutError:
            return False


def test_rabbitmq_keeps_confirmed_messages_over_a_kill_and_ends_without_a_trace() -> None:
    with RabbitMQServer() as server:
        port, folder = server.port, server.data_dir
        with amqp(server) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare("q", durable=True)
            channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))
            # A definition younger than RabbitMQ's own delayed write is not what this test is about.
            assert server.ctl("eval", "mnesia:sync_log().").strip() == "ok"
            server.kill()
        assert not server.running
        assert refuses(port)

        server.start()
        assert server.port == port
        with amqp(server) as connection:
            assert connection.channel().basic_get("q")[2] == b"kept"
        processes = processes_about(folder)
        assert processes
    wait_gone(processes)
    assert processes_about(folder) == []
    assert refuses(port)
    assert not folder.exists()


def test_rabbitmq_answers_nobody_while_paused_and_goes_on_afterwards(
    private_rabbitmq: RabbitMQServer,
) -> None:
    with amqp(private_rabbitmq) as connection:
        channel = connection.channel()
        private_rabbitmq.pause()
        try:
            assert not greets(private_rabbitmq, timeout=0.3)
        finally:
            private_rabbitmq.resume()
        assert greets(private_rabbitmq, timeout=10)
        assert channel.queue_declare("", exclusive=True).method.queue


def test_redis_keeps_what_it_answered_over_a_kill_and_ends_without_a_trace() -> None:
    with RedisServer() as server:
        port, folder = server.port, server.data_dir
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("appendfsync") == {"appendfsync": "always"}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            run_id = client.info("server")["run_id"]
            client.set("fact", "kept")
            server.kill()
            assert refuses(port)
            server.start()
            assert server.port == port
            assert client.get("fact") == b"kept"
            assert client.info("server")["run_id"] != run_id
    assert processes_about(folder) == []
    assert refuses(port)
    assert not folder.exists()


def test_redis_answers_nobody_while_paused_and_goes_on_afterwards(private_redis: RedisServer) -> None:
    with redis.Redis.from_url(private_redis.url, socket_timeout=0.3, retry=None) as client:
        client.ping()
        private_redis.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.ping()
        finally:
            private_redis.resume()
        assert client.ping()


def test_a_paused_server_can_be_closed() -> None:
    server = RedisServer().start()
    server.pause()
    server.close()
    assert not server.running


def test_a_folder_that_was_given_outlives_the_server(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "data") as server, redis.Redis.from_url(server.url) as client:
        client.set("fact", "kept")
    with RedisServer(tmp_path / "data") as server, redis.Redis.from_url(server.url) as client:
        assert client.get("fact") == b"kept"


def test_settings_reach_the_server() -> None:
    with (
        RedisServer(config={"appendfsync": "everysec", "maxmemory-policy": "allkeys-lru"}) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


def test_a_server_that_cannot_start_says_why() -> None:
    server = RedisServer(config={"no-such-setting": "1"})
    with pytest.raises(ServerFailed, match="no-such-setting"):
        server.start()
    server.close()


def test_a_missing_server_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr("tests.servers.shutil.which", nothing)
    server = RedisServer()
    with pytest.raises(ServerMissing, match="make servers"):
        server.start()
    server.close()


def test_servers_end_when_the_process_that_started_them_is_killed() -> None:
    script = (
        "import sys\n"
        "from tests.servers import RedisServer\n"
        "server = RedisServer().start()\n"
        "print(server.pid, server.data_dir, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        everything = processes_about(Path(folder))
        owner.send_signal(signal.SIGKILL)
        wait_gone([int(pid), *everything])
    assert processes_about(Path(folder)) == []
    assert not Path(folder).exists()


def test_two_tests_never_share_a_cluster_name(cluster_name: str, request: pytest.FixtureRequest) -> None:
    assert cluster_name.isalnum()
    assert request.getfixturevalue("cluster_name") == cluster_name


def test_the_shared_servers_answer(rabbitmq_url: str, redis_url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    connection.close()
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
