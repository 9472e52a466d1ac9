"""What a service manager (systemd) is sent, by a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.runtime.service_manager import ServiceManager
from tests.e2e.waiting import until
from tests.servers import RabbitMQServer, RedisServer, free_port
from tests.service import Manager, Service


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@bmesos-{uuid.uuid4().hex}"
    made = Manager(address)
    yield made
    made.socket.close()


async def test_a_daemon_is_ready_once_it_works_and_then_stops(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    ours = ServiceManager(environment)
    assert environment == {}, "a child would report in the name of its parent"
    reporting = asyncio.create_task(ours.report())
    await asyncio.sleep(0)
    assert manager.received() == [
        "WATCHDOG=1",
        "STATUS=connecting to its servers",
        "EXTEND_TIMEOUT_USEC=20000000",
    ]
    ours.status = lambda: "owns 2\n of 4 cells"
    ours.ready()
    assert manager.received() == ["WATCHDOG=1", "STATUS=owns 2 of 4 cells", "READY=1"]
    ours.ready()
    assert manager.received() == ["WATCHDOG=1"]
    ours.stopping()
    assert manager.received() == ["STOPPING=1", "STATUS=stopping"]
    reporting.cancel()
    ours.close()


async def test_the_watchdog_is_fed_by_the_loop_alone_and_more_than_twice_in_its_time(manager: Manager) -> None:
    ours = ServiceManager({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000"})
    assert ours.interval < 0.060 / 2
    ours.ready()
    manager.received()
    reporting = asyncio.create_task(ours.report())
    for _ in range(5):
        assert await asyncio.to_thread(manager.lines) == ["WATCHDOG=1"]
    manager.received()
    blocked = asyncio.get_running_loop().time() + 4 * ours.interval
    while asyncio.get_running_loop().time() < blocked:  # a loop that is stuck in one function
        assert manager.received() == []
    reporting.cancel()
    ours.close()


async def test_a_message_that_could_not_be_sent_is_repeated(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    ours = ServiceManager({"NOTIFY_SOCKET": str(address)})
    ours.status = lambda: "works"
    ours.ready()  # the manager restarts: nobody has this socket
    manager = Manager(str(address))
    ours.ready()
    assert manager.received() == ["STATUS=works", "READY=1"]
    manager.socket.close()
    ours.close()


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
async def test_without_a_manager_nothing_is_sent_and_nothing_fails(environment: dict[str, str]) -> None:
    ours = ServiceManager(environment)
    ours.ready()
    ours.stopping()
    await ours.report()
    ours.close()


@pytest.mark.parametrize("limit", ["", "0", "soon", "-5"])
def test_a_time_limit_that_is_none_means_no_watchdog(limit: str, tmp_path: Path) -> None:
    ours = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": limit})
    assert ours.watchdog == 0 and ours.interval > 0
    ours.close()


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    ours = ServiceManager(
        {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9", "WATCHDOG_PID": str(os.getpid() + 1)}
    )
    assert ours.watchdog == 0
    ours.close()


def test_each_daemon_reports_that_it_works_and_that_it_stops(
    rabbitmq_server: RabbitMQServer, redis_server: RedisServer, cluster_name: str, tmp_path: Path
) -> None:
    env = {
        **{name: value for name, value in os.environ.items() if not name.upper().startswith("BMESOS_")},
        "BMESOS_BROKER_URL": rabbitmq_server.url,
        "BMESOS_STORE_URL": redis_server.url,
        "BMESOS_CLUSTER": cluster_name,
        "TMPDIR": str(tmp_path),
    }
    commands = {
        "agent": ("agent", "--work-dir", "work", "--resources", "cpus:1;mem:64;disk:0;ports:[]"),
        "master": ("master", "--cells", "2"),
        "batch": ("framework", "batch"),
        "web": ("web", "--port", str(free_port())),
    }
    statuses = {"agent": "runs 0 tasks", "master": "of 2 cells", "batch": "batch is subscribed", "web": "http://"}
    health = {name: tmp_path / f"{name}.health" for name in commands}
    services = {
        name: Service(tmp_path, name, words, env | {"BMESOS_HEALTH_FILE": str(health[name])})
        for name, words in commands.items()
    }
    try:
        for name, service in services.items():
            lines = service.manager.until("READY=1")
            status = [line for line in lines if line.startswith("STATUS=")]
            assert status[0] == "STATUS=connecting to its servers"
            assert statuses[name] in status[-1], lines
            until(f"the health file of {name}", health[name].exists)
        for service in services.values():
            service.process.send_signal(signal.SIGTERM)
        for service in services.values():
            service.manager.until("STOPPING=1")
            assert service.process.wait(60) == 0, service.log.read_text()
        assert [name for name in health if health[name].exists()] == []
    finally:
        for service in services.values():
            service.close()


def test_a_daemon_that_the_watchdog_ends_shows_where_it_was_stuck(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"amqp://{silent.getsockname()[0]}:{silent.getsockname()[1]}/"
        env = dict(os.environ) | {"BMESOS_BROKER_URL": url, "BMESOS_CONNECT_TIMEOUT": "600"}
        service = Service(tmp_path, "web", ("web", "--port", "0"), env)
        try:
            with silent.accept()[0]:
                assert "WATCHDOG=1" in service.manager.lines()
                service.process.send_signal(signal.SIGABRT)
                assert service.process.wait(60) == -signal.SIGABRT
        finally:
            service.close()
    log = service.log.read_text()
    assert "Fatal Python error: Aborted" in log and "run_forever" in log
