"""A cluster whose settings can no longer be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos.client import Client
from tests.e2e.waiting import until
from tests.servers import RabbitMQServer, RedisServer, free_port
from tests.service import Service
from tests.wiring.daemon import cleaned, environment


@pytest.mark.timeout(240)
def test_a_running_cluster_goes_on_without_its_settings_and_starts_again_with_them(
    private_rabbitmq: RabbitMQServer, redis_server: RedisServer, cluster_name: str, tmp_path: Path
) -> None:
    settings, broker, store = tmp_path / "bmesos.toml", tmp_path / "broker", tmp_path / "store"

    def write() -> None:
        settings.write_text(f'cluster = "{cluster_name}"\nlog_format = "json"\n')
        broker.write_text(private_rabbitmq.url)
        store.write_text(redis_server.url)

    write()
    files = {"BMESOS_BROKER_URL_FILE": str(broker), "BMESOS_STORE_URL_FILE": str(store)}
    env = environment(tmp_path) | files
    port = free_port()
    commands = {
        "master": ("master", "--cells", "1"),
        "agent": ("agent", "--work-dir", "work", "--resources", "cpus:1;mem:1024;disk:0;ports:[]"),
        "batch": ("framework", "batch"),
        "web": ("web", "--port", str(port)),
    }
    services: list[Service] = []
    with cleaned(tmp_path):
        try:
            services += [Service(tmp_path, name, words, env) for name, words in commands.items()]
            for service in services:
                service.manager.until("READY=1")
            settings.unlink()
            settings.mkdir()  # which not even root can read
            broker.unlink()
            store.write_bytes(b"\xff")
            private_rabbitmq.stop()
            private_rabbitmq.restart()
            with Client(f"http://127.0.0.1:{port}", timeout=10) as client:
                job = until("a job is accepted", lambda: client.submit("true", job_id="j1", cpus=0.5), 60)
                assert job.wait(60).state == "finished"
            assert [service.process.poll() for service in services] == [None] * len(services)

            words = [sys.executable, "-m", "broker_mesos", "master"]
            refused = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
            assert (refused.returncode, refused.stderr.splitlines()) == (
                2,
                ["bmesos: cannot read bmesos.toml: Is a directory"],
            )
            settings.rmdir()
            write()
            services.append(Service(tmp_path, "another", ("master",), env))
            services[-1].manager.until("READY=1")
        finally:
            for service in services:
                service.close()
